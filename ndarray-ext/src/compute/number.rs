//! The elements that reductions take.

use std::fmt::Debug;

use super::accumulate::{Compensated, Operand};
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
pub trait Number: Element + Operand {
    /// What sums are: `f64` of floats, `i128` and `u128` of integers, which are exact.
    type Sum: From<Self::Total> + Copy + Debug + Default + PartialEq + PartialOrd + Send + Sync + 'static;
}

macro_rules! integers {
    ($sum:ty: $($t:ty)*) => {$(
        impl Number for $t {
            type Sum = $sum;
        }

        impl Operand for $t {
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

            fn total_to_f64(total: $sum) -> f64 {
                total as f64
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

        impl Operand for $t {
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

            fn total_to_f64(total: Compensated) -> f64 {
                total.into()
            }
        }
    )*};
}

floats!(f32 f64);
#[cfg(feature = "half")]
floats!(half::f16 half::bf16);
