//! The elements that reductions take.

use std::fmt::Debug;

use super::accumulate::{Accumulator, Compensated};
use crate::element::Element;

/// An element that is a number: what [`sum`](crate::BigArray::sum), [`mean`](crate::BigArray::mean) and the other
/// reductions take.
///
/// Implemented for integers of 1 to 8 bytes, `f32`, `f64` and, behind the feature `half`, `f16` and `bf16`. Not for complex
/// numbers, and not for integers of 16 bytes, whose sum has no wider type. The trait is sealed.
///
/// ```
/// use bigarray::{BigArray1, Number, Result};
///
/// fn spread<T: Number>(a: &BigArray1<T>) -> Result<f64> {
///     Ok(a.std(0.0)? / a.mean()?.unwrap_or(f64::NAN))
/// }
/// ```
pub trait Number: Element + PartialOrd + Sealed {
    /// What sums are: `f64` of floats, `i128` and `u128` of integers, which are exact.
    type Sum: Copy + Debug + Default + PartialEq + PartialOrd + Send + Sync + 'static;
}

/// What reductions need of a number.
pub trait Sealed: Copy {
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
    fn sum(total: Self::Total) -> Self::Sum
    where
        Self: Number;
    fn sum_to_f64(sum: Self::Sum) -> f64
    where
        Self: Number;
}

macro_rules! integers {
    ($sum:ty: $($t:ty)*) => {$(
        impl Number for $t {
            type Sum = $sum;
        }

        impl Sealed for $t {
            type Total = $sum;
            const LEAST: $t = <$t>::MIN;
            const GREATEST: $t = <$t>::MAX;
            const OF_NONE: $t = 0;
            const HAS_NAN: bool = false;

            fn to_f64(self) -> f64 {
                self as f64
            }

            fn is_nan(self) -> bool {
                false
            }

            fn sum(total: $sum) -> $sum {
                total
            }

            fn sum_to_f64(sum: $sum) -> f64 {
                sum as f64
            }
        }
    )*};
}

integers!(i128: i8 i16 i32 i64 isize);
integers!(u128: u8 u16 u32 u64 usize);

macro_rules! floats {
    ($($t:ty)*) => {$(
        impl Number for $t {
            type Sum = f64;
        }

        impl Sealed for $t {
            type Total = Compensated;
            const LEAST: $t = <$t>::NEG_INFINITY;
            const GREATEST: $t = <$t>::INFINITY;
            const OF_NONE: $t = <$t>::NAN;
            const HAS_NAN: bool = true;

            fn to_f64(self) -> f64 {
                self.into()
            }

            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }

            fn sum(total: Compensated) -> f64 {
                total.value()
            }

            fn sum_to_f64(sum: f64) -> f64 {
                sum
            }
        }
    )*};
}

floats!(f32 f64);
#[cfg(feature = "half")]
floats!(half::f16 half::bf16);
