//! What is known of numbers that were looked at once: counts, extremes, moments in 64 bits, and a sketch of quantiles.

use std::fmt::Display;

use bigarray::half::{bf16, f16};
use bigarray::{Bool, Element};

use crate::sketch::Sketch;

/// A number that can be summed up.
pub(crate) trait Value: Element + PartialOrd {
    /// The nearest number of 64 bits.
    fn to_f64(self) -> f64;

    /// As it is printed.
    fn text(self) -> String;

    /// Whether it is an integer, so that quantiles are, too.
    const IS_INTEGER: bool;
}

macro_rules! values {
    ($is_integer:literal: $($t:ty)*) => {$(
        impl Value for $t {
            fn to_f64(self) -> f64 {
                self as f64
            }

            fn text(self) -> String {
                shown(self)
            }

            const IS_INTEGER: bool = $is_integer;
        }
    )*};
}

values!(true: i8 i16 i32 i64 u8 u16 u32 u64);
values!(false: f32 f64);

fn shown(value: impl Display) -> String {
    value.to_string()
}

macro_rules! halves {
    ($($t:ty)*) => {$(
        impl Value for $t {
            fn to_f64(self) -> f64 {
                self.into()
            }

            fn text(self) -> String {
                shown(self)
            }

            const IS_INTEGER: bool = false;
        }
    )*};
}

halves!(f16 bf16);

impl Value for Bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self.byte() != 0))
    }

    fn text(self) -> String {
        shown(self.byte() != 0)
    }

    const IS_INTEGER: bool = true;
}

/// Numbers that are looked at together: they stay in the nearest cache for the second look.
const CHUNK: usize = 1024;

/// What is known of numbers.
#[derive(Clone)]
pub(crate) struct Summary<T> {
    /// Of numbers that are not NaN.
    count: u64,
    nan: u64,
    zeros: u64,
    extremes: Option<(T, T)>,
    /// Sum, and what rounding took from it.
    sum: f64,
    lost: f64,
    mean: f64,
    /// Sum of the squares of the distances from the mean.
    squares: f64,
    sketch: Sketch,
}

impl<T> Default for Summary<T> {
    fn default() -> Summary<T> {
        let sketch = Sketch::default();
        Summary { count: 0, nan: 0, zeros: 0, extremes: None, sum: 0.0, lost: 0.0, mean: 0.0, squares: 0.0, sketch }
    }
}

impl<T: Value> Summary<T> {
    /// Adds numbers.
    pub(crate) fn add(&mut self, numbers: &[T]) {
        numbers.chunks(CHUNK).for_each(|chunk| self.add_chunk(chunk));
    }

    fn add_chunk(&mut self, numbers: &[T]) {
        let mut buffer = [0.0; CHUNK];
        let values = &mut buffer[..numbers.len()];
        values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number.to_f64());
        let nan = values.iter().filter(|value| value.is_nan()).count();
        let (mut len, mut picked) = (values.len(), Vec::new());
        if nan > 0 {
            // What is left moves to the front.
            len = 0;
            for n in 0..values.len() {
                if !values[n].is_nan() {
                    values[len] = values[n];
                    picked.push(numbers[n]);
                    len += 1;
                }
            }
        }
        let (values, numbers) = (&values[..len], if nan > 0 { &picked[..] } else { numbers });
        self.nan += nan as u64;
        let Some(first) = numbers.first() else { return };
        self.zeros += values.iter().filter(|value| **value == 0.0).count() as u64;
        let less = |a: T, b: T| if b < a { b } else { a };
        let greater = |a: T, b: T| if b > a { b } else { a };
        let least = numbers.iter().fold(*first, |a, b| less(a, *b));
        let greatest = numbers.iter().fold(*first, |a, b| greater(a, *b));
        self.extremes = Some(self.extremes.map_or((least, greatest), |(l, g)| (less(l, least), greater(g, greatest))));
        let total = lanes(values, |value| value);
        let mean = total / len as f64;
        let squares = lanes(values, |value| (value - mean) * (value - mean));
        self.add_moments(len as u64, total, 0.0, mean, squares);
        self.sketch.add(values);
    }

    /// Chan's way to put two means and sums of squares together, and Neumaier's to sum.
    fn add_moments(&mut self, count: u64, sum: f64, lost: f64, mean: f64, squares: f64) {
        let together = self.sum + sum;
        self.lost +=
            lost + if self.sum.abs() >= sum.abs() { (self.sum - together) + sum } else { (sum - together) + self.sum };
        self.sum = together;
        let (before, added) = (self.count as f64, count as f64);
        let distance = mean - self.mean;
        self.squares += squares + distance * distance * before * added / (before + added);
        self.mean += distance * added / (before + added);
        self.count += count;
    }

    /// What is known of both.
    pub(crate) fn merged(mut self, other: Summary<T>) -> Summary<T> {
        if other.count > 0 {
            self.add_moments(other.count, other.sum, other.lost, other.mean, other.squares);
        }
        self.nan += other.nan;
        self.zeros += other.zeros;
        self.extremes = match (self.extremes, other.extremes) {
            (Some((a, b)), Some((c, d))) => Some((if c < a { c } else { a }, if d > b { d } else { b })),
            (a, b) => a.or(b),
        };
        self.sketch.merge(&other.sketch);
        self
    }

    /// How many numbers there are, NaN included.
    pub(crate) fn count(&self) -> u64 {
        self.count + self.nan
    }

    /// How many of them are NaN, which count nowhere else.
    pub(crate) fn nan(&self) -> u64 {
        self.nan
    }

    /// How many of them are 0.
    pub(crate) fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The least and the greatest.
    pub(crate) fn extremes(&self) -> Option<(T, T)> {
        self.extremes
    }

    /// The sum.
    pub(crate) fn sum(&self) -> f64 {
        let sum = self.sum + self.lost;
        // Infinite numbers make the correction NaN.
        if sum.is_nan() { self.sum } else { sum }
    }

    /// The mean: `None` of no numbers.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() / self.count as f64)
    }

    /// The standard deviation of all numbers, divided by their count.
    pub(crate) fn std(&self) -> Option<f64> {
        (self.count > 0).then(|| (self.squares / self.count as f64).sqrt())
    }

    /// The number of which the part `q` is less or equal, within 1 part in 256.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let (least, greatest) = self.extremes?;
        let value = self.sketch.quantile(q)?;
        let value = if T::IS_INTEGER { value.trunc() } else { value };
        Some(value.clamp(least.to_f64(), greatest.to_f64()))
    }
}

/// A sum in eight lanes, which a processor adds at once.
fn lanes(values: &[f64], part: impl Fn(f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    let (eights, rest) = values.as_chunks::<8>();
    eights.iter().for_each(|eight| sums.iter_mut().zip(eight).for_each(|(sum, value)| *sum += part(*value)));
    sums.iter().sum::<f64>() + rest.iter().map(|value| part(*value)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_to_what_the_whole_is() {
        let mut rng = fastrand::Rng::with_seed(3);
        let numbers: Vec<f32> = (0..10_000).map(|_| 1000.0 + rng.f32() * 10.0 - f32::from(rng.u8(..)) * 10.0).collect();
        let mut whole = Summary::default();
        whole.add(&numbers);
        let parts = numbers.chunks(777).map(|part| {
            let mut summary = Summary::default();
            summary.add(part);
            summary
        });
        let parts = parts.fold(Summary::default(), Summary::merged);
        let exact: f64 = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / 10_000.0;
        let spread = numbers.iter().map(|x| (f64::from(*x) - exact).powi(2)).sum::<f64>() / 10_000.0;
        let mut sorted = numbers.clone();
        sorted.sort_by(f32::total_cmp);
        for summary in [whole, parts] {
            assert!(
                (summary.mean().unwrap() - exact).abs() < 1e-9 && (summary.std().unwrap() - spread.sqrt()).abs() < 1e-9
            );
            assert_eq!(summary.extremes().unwrap(), (sorted[0], sorted[9999]));
            for q in [0.01, 0.25, 0.5, 0.75, 0.99] {
                let (found, right) = (summary.quantile(q).unwrap(), f64::from(sorted[(q * 9999.0) as usize]));
                assert!((found - right).abs() <= right.abs() / 100.0, "{q}: {found} {right}");
            }
        }
    }

    #[test]
    fn nan_are_counted_and_left_out() {
        let mut summary = Summary::default();
        summary.add(&[f64::NAN, 2.0, 0.0, f64::NAN, -0.0, 4.0]);
        assert_eq!((summary.count(), summary.nan(), summary.zeros()), (6, 2, 2));
        assert_eq!((summary.mean(), summary.extremes()), (Some(1.5), Some((0.0, 4.0))));
        assert_eq!(summary.quantile(1.0), Some(4.0));
        let none = Summary::<f64>::default();
        assert_eq!((none.mean(), none.std(), none.quantile(0.5), none.sum()), (None, None, None, 0.0));
        let mut huge = Summary::default();
        huge.add(&[f64::INFINITY, 1.0]);
        assert_eq!(huge.sum(), f64::INFINITY);
    }

    #[test]
    fn quantiles_of_small_integers_are_exact() {
        let mut summary = Summary::default();
        summary.add(&(-100..=100_i64).collect::<Vec<_>>());
        for (q, right) in [(0.0, -100.0), (0.25, -50.0), (0.5, 0.0), (0.75, 50.0), (1.0, 100.0)] {
            assert_eq!(summary.quantile(q), Some(right));
        }
    }
}
