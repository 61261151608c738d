//! Numbers of one type as numbers of another, where there is one.

use bigarray::half::{bf16, f16};
use bigarray::num_complex::Complex;

use crate::dtype::Kind;

/// A number of any type, without loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Integer(i128),
    /// Of the type `u128`, beyond `i128`.
    Large(u128),
    Float(f64),
    Complex(f64, f64),
}

fn read<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(&bytes[..size_of::<T>()])
}

impl Number {
    /// The number whose bytes these are.
    pub(crate) fn of(kind: Kind, bytes: &[u8]) -> Number {
        let integer = |number: i128| Number::Integer(number);
        match kind {
            Kind::Bool => integer((bytes[0] != 0).into()),
            Kind::I8 => integer(read::<i8>(bytes).into()),
            Kind::I16 => integer(read::<i16>(bytes).into()),
            Kind::I32 => integer(read::<i32>(bytes).into()),
            Kind::I64 => integer(read::<i64>(bytes).into()),
            Kind::I128 => integer(read(bytes)),
            Kind::U8 => integer(bytes[0].into()),
            Kind::U16 => integer(read::<u16>(bytes).into()),
            Kind::U32 => integer(read::<u32>(bytes).into()),
            Kind::U64 => integer(read::<u64>(bytes).into()),
            Kind::U128 => {
                let number: u128 = read(bytes);
                i128::try_from(number).map_or(Number::Large(number), Number::Integer)
            }
            Kind::F16 => Number::Float(read::<f16>(bytes).into()),
            Kind::Bf16 => Number::Float(read::<bf16>(bytes).into()),
            Kind::F32 => Number::Float(read::<f32>(bytes).into()),
            Kind::F64 => Number::Float(read(bytes)),
            Kind::C32 => {
                let number: Complex<f32> = read(bytes);
                Number::Complex(number.re.into(), number.im.into())
            }
            Kind::C64 => {
                let number: Complex<f64> = read(bytes);
                Number::Complex(number.re, number.im)
            }
        }
    }

    /// Whether it is NaN.
    pub(crate) fn is_nan(self) -> bool {
        match self {
            Number::Float(x) => x.is_nan(),
            Number::Complex(re, im) => re.is_nan() || im.is_nan(),
            _ => false,
        }
    }

    /// How far two numbers of one type are apart; `None` where one is NaN.
    pub(crate) fn distance(self, other: Number) -> Option<f64> {
        let distance = match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => {
                a.checked_sub(b).map_or(f64::INFINITY, |d| d.unsigned_abs() as f64)
            }
            (Number::Float(a), Number::Float(b)) => (a - b).abs(),
            (Number::Complex(a, b), Number::Complex(c, d)) => (a - c).hypot(b - d),
            _ => f64::INFINITY,
        };
        (!distance.is_nan()).then_some(distance)
    }

    /// The number as bytes of the type `kind`; `None` where that has none: it is out of range, has a fraction, or another part.
    /// Floats are rounded to the nearest; an integer never is.
    pub(crate) fn bytes(self, kind: Kind, out: &mut Vec<u8>) -> Option<()> {
        macro_rules! integer {
            ($t:ty) => {{
                let number = match self {
                    Number::Integer(number) => <$t>::try_from(number).ok()?,
                    Number::Large(number) => <$t>::try_from(number).ok()?,
                    Number::Float(x) | Number::Complex(x, 0.0) => {
                        // 2¹²⁷ and beyond are no `i128`.
                        let fits = x.fract() == 0.0 && (-1.7014118346046923e38..1.7014118346046923e38).contains(&x);
                        fits.then(|| <$t>::try_from(x as i128).ok())??
                    }
                    Number::Complex(..) => return None,
                };
                out.extend_from_slice(bytemuck::bytes_of(&number));
            }};
        }
        match kind {
            Kind::Bool => match self {
                Number::Integer(number @ 0..=1) => out.push(number as u8),
                Number::Float(x) | Number::Complex(x, 0.0) if x == 0.0 || x == 1.0 => out.push(x as u8),
                _ => return None,
            },
            Kind::I8 => integer!(i8),
            Kind::I16 => integer!(i16),
            Kind::I32 => integer!(i32),
            Kind::I64 => integer!(i64),
            Kind::I128 => integer!(i128),
            Kind::U8 => integer!(u8),
            Kind::U16 => integer!(u16),
            Kind::U32 => integer!(u32),
            Kind::U64 => integer!(u64),
            Kind::U128 => integer!(u128),
            Kind::F64 => out.extend(self.float()?.to_ne_bytes()),
            Kind::F32 => out.extend(self.rounded(|x| x as f32, f64::from)?.to_ne_bytes()),
            Kind::F16 => out.extend(self.rounded(f16::from_f64, f64::from)?.to_ne_bytes()),
            Kind::Bf16 => out.extend(self.rounded(bf16::from_f64, f64::from)?.to_ne_bytes()),
            Kind::C32 | Kind::C64 => {
                let (re, im) = if let Number::Complex(re, im) = self { (re, im) } else { (self.float()?, 0.0) };
                let part = if kind == Kind::C32 { Kind::F32 } else { Kind::F64 };
                match self {
                    Number::Complex(..) => Number::Float(re).bytes(part, out)?,
                    real => real.bytes(part, out)?,
                }
                Number::Float(im).bytes(part, out)?;
            }
        }
        Some(())
    }

    /// The float that it is.
    fn float(self) -> Option<f64> {
        match self {
            Number::Float(x) | Number::Complex(x, 0.0) => Some(x),
            Number::Complex(..) => None,
            // The greatest numbers are rounded up to a power of two, which is none of the type.
            Number::Integer(number) => Some(number as f64).filter(|x| *x < 2_f64.powi(127) && (*x as i128) == number),
            Number::Large(number) => Some(number as f64).filter(|x| *x < 2_f64.powi(128) && (*x as u128) == number),
        }
    }

    /// The float as a shorter one: rounded to the nearest, unless that is infinite, or the number is an integer.
    fn rounded<T: Copy>(self, round: impl Fn(f64) -> T, back: impl Fn(T) -> f64) -> Option<T> {
        let exact = self.float()?;
        let rounded = round(exact);
        let is_right = match self {
            Number::Integer(_) | Number::Large(_) => back(rounded) == exact,
            _ => back(rounded).is_finite() || !exact.is_finite(),
        };
        is_right.then_some(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(number: Number, kind: Kind) -> Option<Number> {
        let mut bytes = Vec::new();
        number.bytes(kind, &mut bytes)?;
        assert_eq!(bytes.len(), kind.size());
        Some(Number::of(kind, &bytes))
    }

    #[test]
    fn numbers_that_a_type_has_are_converted_and_others_are_not() {
        let (int, float) = (Number::Integer, Number::Float);
        assert_eq!(converted(float(3.0), Kind::U8), Some(int(3)));
        assert_eq!(converted(int(255), Kind::U8), Some(int(255)));
        assert_eq!(converted(int(255), Kind::F16), Some(float(255.0)));
        assert_eq!(converted(float(0.1), Kind::F32), Some(float(f64::from(0.1_f32))));
        assert_eq!(converted(float(f64::INFINITY), Kind::F32), Some(float(f64::INFINITY)));
        assert!(converted(float(f64::NAN), Kind::F16).unwrap().is_nan());
        assert_eq!(converted(int(1), Kind::Bool), Some(int(1)));
        assert_eq!(converted(float(1.0), Kind::Bool), Some(int(1)));
        assert_eq!(converted(int(1 << 24), Kind::C32), Some(Number::Complex(16_777_216.0, 0.0)));
        assert_eq!(converted(float(2.5), Kind::C64), Some(Number::Complex(2.5, 0.0)));
        assert_eq!(converted(Number::Complex(2.5, 0.0), Kind::F64), Some(float(2.5)));
        assert_eq!(converted(Number::Large(u128::MAX), Kind::U128), Some(Number::Large(u128::MAX)));
        for (number, kind) in [
            (int(256), Kind::U8),
            (int(-1), Kind::U64),
            (float(0.5), Kind::I32),
            (float(f64::NAN), Kind::I64),
            (float(1e40), Kind::I128),
            (float(1e300), Kind::F32),
            (float(1e10), Kind::F16),
            (int(2), Kind::Bool),
            (int((1 << 53) + 1), Kind::F64),
            (int(i128::MAX), Kind::F64),
            (Number::Large(u128::MAX), Kind::F64),
            (int((1 << 24) + 1), Kind::F32),
            (int((1 << 24) + 1), Kind::C32),
            (int(2049), Kind::F16),
            (Number::Complex(1.0, 1.0), Kind::F64),
            (Number::Large(u128::MAX), Kind::I128),
        ] {
            assert_eq!(converted(number, kind), None, "{number:?} {kind:?}");
        }
    }
}
