//! How often which values occur.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Result};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::number::Number;
use super::walk::Walk;
use crate::process::OfProcess;
use crate::view::{Source, elements, here};

/// The most bins there can be.
const MOST_BINS: usize = 1 << 24;

/// How often which values occur, in bins of equal width. Made by [`histogram`](crate::BigArray::histogram).
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| {
/// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
/// #     Ok(())
/// # })?;
/// use bigarray::ndarray::Ix2;
///
/// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
/// let histogram = a.histogram(2.0..6.0, 2)?;
/// assert_eq!((histogram.below, histogram.counts), (1, vec![2, 3]));
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Histogram {
    /// Elements in each bin. Its least value belongs to a bin, its greatest to the next; that of the last bin to the last.
    pub counts: Vec<u64>,
    /// Elements less than the range.
    pub below: u64,
    /// Elements greater than the range.
    pub above: u64,
    /// Elements that are NaN.
    pub nan: u64,
    from: f64,
    to: f64,
}

impl Histogram {
    fn new(bins: usize, range: &Range<f64>) -> Histogram {
        Histogram { counts: vec![0; bins], below: 0, above: 0, nan: 0, from: range.start, to: range.end }
    }

    /// Where bins begin, and where the last one ends: one number more than there are bins.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| txn.create::<f32, _>("a", 10).map(drop))?;
    /// let a = db.array::<f32, bigarray::ndarray::Ix1>("a")?;
    /// assert_eq!(a.histogram(0.0..1.0, 4)?.edges(), [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn edges(&self) -> Vec<f64> {
        (0..=self.counts.len()).map(|bin| self.edge(bin)).collect()
    }

    fn edge(&self, bin: usize) -> f64 {
        let bins = self.counts.len();
        // What rounding makes of the last one is not where the range ends.
        if bin == bins { self.to } else { self.from + (self.to - self.from) * (bin as f64 / bins as f64) }
    }

    fn count(&mut self, x: f64) {
        let last = self.counts.len() - 1;
        if x < self.from {
            self.below += 1;
        } else if x > self.to {
            self.above += 1;
        } else if x.is_nan() {
            self.nan += 1;
        } else {
            let bin = (x - self.from) / (self.to - self.from) * self.counts.len() as f64;
            let mut bin = (bin as usize).min(last);
            // Edges are what they are said to be, whatever the division was rounded to.
            if x < self.edge(bin) {
                bin -= 1;
            } else if bin < last && x >= self.edge(bin + 1) {
                bin += 1;
            }
            self.counts[bin] += 1;
        }
    }

    fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.below += other.below;
        self.above += other.above;
        self.nan += other.nan;
    }
}

/// The histogram of all elements.
pub(super) fn histogram<T: Number>(
    source: &OfProcess<impl Source>,
    range: &Range<f64>,
    bins: usize,
) -> Result<Histogram> {
    let bytes = here(source)?.descriptor().nbytes();
    let width = range.end - range.start;
    if !(width > 0.0 && width.is_finite() && (1..=MOST_BINS).contains(&bins)) {
        let name = source.name();
        let why = format!(
            "array {name:?}: no histogram has {bins} bins from {} to {}: there are 1 to {MOST_BINS}, over a finite range",
            range.start, range.end
        );
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    let none = || Histogram::new(bins, range);
    Walk::go(source, |walk| {
        let step = walk.step;
        let counted = (0..bytes.div_ceil(step)).into_par_iter().fold(none, |mut counted, n| {
            let piece = n * step..bytes.min((n + 1) * step);
            if walk.load(piece.clone()) {
                match elements::<T>(source, piece.start / size_of::<T>()..piece.end / size_of::<T>()) {
                    Ok(elements) => elements.iter().for_each(|x| counted.count(x.to_f64())),
                    Err(error) => walk.fail(error),
                }
            }
            counted
        });
        counted.reduce(none, |mut front, back| {
            front.add(&back);
            front
        })
    })
}
