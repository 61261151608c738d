//! What becomes of many elements: their sum, their mean and spread, the least and the greatest, how many are NaN.
//!
//! Each is made of short runs, and put together from parts. Floats are added in 64 bits: within a run plainly, between runs
//! with what rounding lost.

/// Most elements that are added up plainly.
pub(super) const RUN: usize = 2048;

/// Most lanes that are added up side by side.
pub(super) const LANES: usize = 256;

/// Rows of elements, as many lanes wide as it is told, some elements apart.
pub struct Tile<'a, T> {
    elements: &'a [T],
    stride: usize,
    width: usize,
}

impl<'a, T> Tile<'a, T> {
    /// Rows that begin `stride` elements apart; the last may end with its last lane.
    pub(super) fn new(elements: &'a [T], stride: usize, width: usize) -> Tile<'a, T> {
        Tile { elements, stride, width }
    }

    fn rows(&self) -> impl Iterator<Item = &'a [T]> {
        let width = self.width;
        self.elements.chunks(self.stride).map(move |row| &row[..width])
    }

    fn height(&self) -> usize {
        self.elements.len().div_ceil(self.stride)
    }
}

/// What reductions need of an element.
pub trait Operand: Copy + PartialOrd + Send + Sync {
    /// How it is added up.
    type Total: Accumulator<Self>;
    /// Every number is at least this.
    const LEAST: Self;
    /// Every number is at most this.
    const GREATEST: Self;
    /// The least and the greatest of no number.
    const OF_NONE: Self;
    /// Whether there are NaN.
    const HAS_NAN: bool;

    fn to_f64(self) -> f64;
    fn is_nan(self) -> bool;
    fn total_to_f64(total: Self::Total) -> f64;
}

/// What becomes of many elements, one after the other.
pub trait Accumulator<T>: Copy + Send + Sync {
    /// Of none.
    const EMPTY: Self;

    /// Takes in what became of the elements behind.
    fn merge(&mut self, behind: Self);

    /// Of [`RUN`] elements at most.
    fn of_run(run: &[T]) -> Self;

    /// Takes in the rows of a tile, each lane for itself. There are [`LANES`] at most.
    fn merge_tile(lanes: &mut [Self], tile: &Tile<'_, T>);
}

/// A sum in 64 bits, and beside it what rounding lost of it.
#[derive(Clone, Copy, Debug)]
pub struct Compensated {
    sum: f64,
    lost: f64,
}

impl From<Compensated> for f64 {
    fn from(Compensated { sum, lost }: Compensated) -> f64 {
        // Nothing is lost of a sum that is infinite or NaN, but the difference of two infinities is NaN.
        if sum.is_finite() { sum + lost } else { sum }
    }
}

impl<T: Operand> Accumulator<T> for Compensated {
    const EMPTY: Compensated = Compensated { sum: 0.0, lost: 0.0 };

    fn merge(&mut self, behind: Compensated) {
        let (a, b) = (self.sum, behind.sum);
        let sum = a + b;
        let of_b = sum - a;
        self.lost += behind.lost + ((a - (sum - of_b)) + (b - of_b));
        self.sum = sum;
    }

    fn of_run(run: &[T]) -> Compensated {
        Compensated { sum: sum_of(run, |x| x), lost: 0.0 }
    }

    fn merge_tile(lanes: &mut [Compensated], tile: &Tile<'_, T>) {
        let sums = sums_of_lanes(tile, |_, x| x);
        for (lane, sum) in lanes.iter_mut().zip(sums) {
            Accumulator::<T>::merge(lane, Compensated { sum, lost: 0.0 });
        }
    }
}

/// How many sums of a run are made side by side.
const SUMS: usize = 16;

/// The sum of `f` of all elements of a run, by several sums side by side.
fn sum_of<T: Operand>(run: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let (pieces, rest) = run.as_chunks::<SUMS>();
    let mut sums = [0.0; SUMS];
    for piece in pieces {
        for (sum, x) in sums.iter_mut().zip(piece) {
            *sum += f(x.to_f64());
        }
    }
    // Halves are added up: sums of neighbours would have the compiler sort the elements anew in each turn of the loop.
    let mut half = SUMS / 2;
    while half > 0 {
        let (front, back) = sums.split_at_mut(half);
        for (sum, x) in front.iter_mut().zip(back) {
            *sum += *x;
        }
        half /= 2;
    }
    sums[0] + rest.iter().map(|x| f(x.to_f64())).sum::<f64>()
}

/// The sum of `f` of all elements, lane by lane.
fn sums_of_lanes<T: Operand>(tile: &Tile<'_, T>, f: impl Fn(usize, f64) -> f64) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for row in tile.rows() {
        for (lane, (sum, x)) in sums.iter_mut().zip(row).enumerate() {
            *sum += f(lane, x.to_f64());
        }
    }
    sums
}

/// Sums of integers, which are exact: of [`RUN`] elements in `narrow`, and of more than memory can hold in `sum`.
macro_rules! exact {
    ($sum:ty: $($narrow:ty: $($t:ty)*;)*) => {$($(
        impl Accumulator<$t> for $sum {
            const EMPTY: $sum = 0;

            fn merge(&mut self, behind: $sum) {
                *self += behind;
            }

            fn of_run(run: &[$t]) -> $sum {
                run.iter().map(|&x| x as $narrow).sum::<$narrow>() as $sum
            }

            fn merge_tile(lanes: &mut [$sum], tile: &Tile<'_, $t>) {
                let mut sums: [$narrow; LANES] = [0; LANES];
                for row in tile.rows() {
                    for (sum, &x) in sums.iter_mut().zip(row) {
                        *sum += x as $narrow;
                    }
                }
                for (lane, sum) in lanes.iter_mut().zip(sums) {
                    *lane += sum as $sum;
                }
            }
        }
    )*)*};
}

exact!(i128: i64: i8 i16 i32; i128: i64 isize;);
exact!(u128: u64: u8 u16 u32; u128: u64 usize;);

/// The mean, and the squares of what elements differ from it by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    /// The variance, with so many degrees of freedom less than there are elements.
    pub(super) fn var(self, ddof: f64) -> f64 {
        self.squares / (self.count - ddof)
    }
}

impl<T: Operand> Accumulator<T> for Moments {
    const EMPTY: Moments = Moments { count: 0.0, mean: 0.0, squares: 0.0 };

    /// By the rule of Chan, Golub and LeVeque.
    fn merge(&mut self, behind: Moments) {
        if behind.count == 0.0 {
            return;
        }
        let count = self.count + behind.count;
        let apart = behind.mean - self.mean;
        let part = behind.count / count;
        self.mean += apart * part;
        self.squares += behind.squares + apart * apart * self.count * part;
        self.count = count;
    }

    /// Once for the mean, and once more, from the processor's cache, for the squares.
    fn of_run(run: &[T]) -> Moments {
        let count = run.len() as f64;
        let mean = sum_of(run, |x| x) / count.max(1.0);
        Moments { count, mean, squares: sum_of(run, |x| (x - mean) * (x - mean)) }
    }

    fn merge_tile(lanes: &mut [Moments], tile: &Tile<'_, T>) {
        let count = tile.height() as f64;
        let means = sums_of_lanes(tile, |_, x| x).map(|sum| sum / count);
        let squares = sums_of_lanes(tile, |lane, x| (x - means[lane]) * (x - means[lane]));
        for (lane, (mean, squares)) in lanes.iter_mut().zip(means.into_iter().zip(squares)) {
            Accumulator::<T>::merge(lane, Moments { count, mean, squares });
        }
    }
}

/// The least and the greatest of all that are not NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extremes<T> {
    least: T,
    greatest: T,
}

impl<T: Operand> Extremes<T> {
    /// Of no number there are none.
    pub(super) fn value(self) -> Option<(T, T)> {
        (self.least <= self.greatest).then_some((self.least, self.greatest))
    }
}

fn lesser<T: Operand>(a: T, b: T) -> T {
    if b < a { b } else { a }
}

fn greater<T: Operand>(a: T, b: T) -> T {
    if b > a { b } else { a }
}

impl<T: Operand> Accumulator<T> for Extremes<T> {
    const EMPTY: Extremes<T> = Extremes { least: T::GREATEST, greatest: T::LEAST };

    fn merge(&mut self, behind: Extremes<T>) {
        self.least = lesser(self.least, behind.least);
        self.greatest = greater(self.greatest, behind.greatest);
    }

    fn of_run(run: &[T]) -> Extremes<T> {
        let (mut least, mut greatest) = ([T::GREATEST; 16], [T::LEAST; 16]);
        let (pieces, rest) = run.as_chunks::<16>();
        for piece in pieces.iter().map(|piece| &piece[..]).chain(std::iter::once(rest)) {
            for ((least, greatest), &x) in least.iter_mut().zip(&mut greatest).zip(piece) {
                *least = lesser(*least, x);
                *greatest = greater(*greatest, x);
            }
        }
        let (least, greatest) = (least.into_iter(), greatest.into_iter());
        Extremes { least: least.fold(T::GREATEST, lesser), greatest: greatest.fold(T::LEAST, greater) }
    }

    fn merge_tile(lanes: &mut [Extremes<T>], tile: &Tile<'_, T>) {
        for row in tile.rows() {
            for (lane, &x) in lanes.iter_mut().zip(row) {
                lane.least = lesser(lane.least, x);
                lane.greatest = greater(lane.greatest, x);
            }
        }
    }
}

/// How many elements are NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct NanCount(pub(super) usize);

impl<T: Operand> Accumulator<T> for NanCount {
    const EMPTY: NanCount = NanCount(0);

    fn merge(&mut self, behind: NanCount) {
        self.0 += behind.0;
    }

    fn of_run(run: &[T]) -> NanCount {
        NanCount(run.iter().filter(|x| x.is_nan()).count())
    }

    fn merge_tile(lanes: &mut [NanCount], tile: &Tile<'_, T>) {
        for row in tile.rows() {
            for (lane, x) in lanes.iter_mut().zip(row) {
                lane.0 += usize::from(x.is_nan());
            }
        }
    }
}
