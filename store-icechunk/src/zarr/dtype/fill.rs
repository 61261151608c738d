//! Fill values: what the elements of chunks are that are stored nowhere.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{DataType, Kind, Number};

impl DataType {
    /// The `fill_value` of Zarr's metadata for elements of zero bytes.
    pub(in crate::zarr) fn zero(&self) -> Value {
        match self {
            DataType::Number(Number { kind: Kind::Bool, .. }) => json!(false),
            DataType::Number(Number { kind: Kind::Int | Kind::Uint, .. }) | DataType::Time { .. } => json!(0),
            DataType::Number(Number { kind: Kind::Complex, .. }) => json!([0.0, 0.0]),
            DataType::Number(_) => json!(0.0),
            DataType::Raw(bytes) => json!(BASE64_STANDARD.encode(vec![0; *bytes])),
            DataType::Bytes(_) | DataType::Utf32(_) => json!(""),
            DataType::Struct(fields) => {
                Value::Object(fields.iter().map(|(name, of)| (name.clone(), of.zero())).collect::<Map<_, _>>())
            }
        }
    }

    /// The `fill_value` of Zarr's metadata for elements of `bytes`, in little-endian words; `None` where Zarr has none, as for
    /// text with zeros in the midst.
    pub(in crate::zarr) fn spelled(&self, bytes: &[u8]) -> Option<Value> {
        let value = match self {
            DataType::Number(number) => number.spelled(bytes)?,
            DataType::Time { .. } => match i64::from_le_bytes(bytes.try_into().ok()?) {
                i64::MIN => json!("NaT"),
                count => json!(count),
            },
            DataType::Raw(_) => json!(BASE64_STANDARD.encode(bytes)),
            DataType::Bytes(_) => json!(BASE64_STANDARD.encode(&bytes[..end_of(bytes)])),
            DataType::Utf32(_) => {
                let points = bytes.chunks_exact(4).map(|point| Some(u32::from_le_bytes(point.try_into().ok()?)));
                let points: Vec<u32> = points.collect::<Option<_>>()?;
                let len = points.iter().rposition(|point| *point != 0).map_or(0, |last| last + 1);
                json!(points[..len].iter().map(|point| char::from_u32(*point)).collect::<Option<String>>()?)
            }
            DataType::Struct(fields) => {
                let mut rest = bytes;
                let mut spelled = Map::new();
                for (name, of) in fields {
                    let (field, behind) = rest.split_at_checked(of.size()?)?;
                    spelled.insert(name.clone(), of.spelled(field)?);
                    rest = behind;
                }
                Value::Object(spelled)
            }
        };
        (self.bytes_of(&value)? == bytes).then_some(value)
    }

    /// The bytes of an element that is `fill_value`, in little-endian words.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(in crate::zarr) fn fill(&self, fill_value: &Value) -> Result<Vec<u8>, String> {
        self.bytes_of(fill_value)
            .ok_or_else(|| format!("the fill value {fill_value} is none of the type {}", self.numpy()))
    }

    fn bytes_of(&self, value: &Value) -> Option<Vec<u8>> {
        let padded = |mut bytes: Vec<u8>, size: usize| {
            (bytes.len() <= size).then(|| {
                bytes.resize(size, 0);
                bytes
            })
        };
        match self {
            DataType::Number(number) => number.bytes_of(value),
            DataType::Time { .. } => {
                let count = if value == "NaT" { i64::MIN } else { value.as_i64()? };
                Some(count.to_le_bytes().to_vec())
            }
            DataType::Raw(size) => raw(value).filter(|bytes| bytes.len() == *size),
            DataType::Bytes(size) => padded(raw(value)?, *size),
            DataType::Utf32(points) => {
                let text = value.as_str()?.chars().flat_map(|c| u32::from(c).to_le_bytes());
                padded(text.collect(), points.checked_mul(4)?)
            }
            DataType::Struct(fields) => match value {
                Value::Object(members) => {
                    let zero = |of: &DataType| of.size().map(|size| vec![0; size]);
                    let each =
                        fields.iter().map(|(name, of)| members.get(name).map_or_else(|| zero(of), |v| of.bytes_of(v)));
                    Some(each.collect::<Option<Vec<_>>>()?.concat())
                }
                _ => raw(value).filter(|bytes| Some(bytes.len()) == self.size()),
            },
        }
    }
}

/// Where the zeros at the end begin.
fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

impl Number {
    fn spelled(&self, bytes: &[u8]) -> Option<Value> {
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        };
        Some(match self.kind {
            Kind::Bool => json!(bytes[0] == 1),
            Kind::Int => {
                let unused = 64 - 8 * self.bytes as u32;
                json!(word(bytes).cast_signed() << unused >> unused)
            }
            Kind::Uint => json!(word(bytes)),
            Kind::Float | Kind::Bfloat => spelled_float(bytes, self.kind),
            Kind::Complex => {
                let (re, im) = bytes.split_at(self.bytes / 2);
                json!([spelled_float(re, Kind::Float), spelled_float(im, Kind::Float)])
            }
        })
    }

    fn bytes_of(&self, value: &Value) -> Option<Vec<u8>> {
        let integer = |bytes: [u8; 8]| Some(bytes[..self.bytes].to_vec());
        let bits = 8 * self.bytes as u32;
        match self.kind {
            Kind::Bool => Some(vec![u8::from(value.as_bool()?)]),
            Kind::Int => {
                let number = value.as_i64()?;
                let fits = bits == 64 || (-(1_i64 << (bits - 1))..1 << (bits - 1)).contains(&number);
                fits.then_some(number.to_le_bytes()).and_then(integer)
            }
            Kind::Uint => {
                let number = value.as_u64()?;
                let fits = bits == 64 || number < 1 << bits;
                fits.then_some(number.to_le_bytes()).and_then(integer)
            }
            Kind::Float | Kind::Bfloat => float(value, self.kind, self.bytes),
            Kind::Complex => {
                let [re, im] = value.as_array()?.as_slice() else { return None };
                let part = |value| float(value, Kind::Float, self.bytes / 2);
                Some([part(re)?, part(im)?].concat())
            }
        }
    }
}

/// A float: a JSON number, a name, or its bits in hexadecimal, from the highest on.
fn float(value: &Value, kind: Kind, bytes: usize) -> Option<Vec<u8>> {
    let number = match value.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        Some(text) => {
            let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 2 * bytes)?;
            return Some(u64::from_str_radix(digits, 16).ok()?.to_le_bytes()[..bytes].to_vec());
        }
        None => value.as_f64()?,
    };
    match (bytes, kind) {
        (8, _) => Some(number.to_le_bytes().to_vec()),
        (4, _) => Some((number as f32).to_le_bytes().to_vec()),
        (_, Kind::Bfloat) => sixteen_bits(number, 0x7fc0, |bits| f64::from(f32::from_bits(u32::from(bits) << 16))),
        _ => sixteen_bits(number, 0x7e00, from_half),
    }
}

/// A float as [`float`] reads it: by its bits where that is a NaN of another kind.
fn spelled_float(bytes: &[u8], kind: Kind) -> Value {
    let number = match (bytes, kind) {
        (&[a, b, c, d, e, f, g, h], _) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        (&[a, b, c, d], _) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (&[a, b], Kind::Bfloat) => f64::from(f32::from_le_bytes([0, 0, a, b])),
        (&[a, b], _) => from_half(u16::from_le_bytes([a, b])),
        _ => f64::NAN,
    };
    let value = match number {
        _ if number.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        _ => json!(number),
    };
    if float(&value, kind, bytes.len()).as_deref() == Some(bytes) {
        return value;
    }
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    json!(format!("0x{digits}"))
}

/// The bits that mean `number`, if there are any. The search is short, and needs no rounding.
fn sixteen_bits(number: f64, nan: u16, meaning: impl Fn(u16) -> f64) -> Option<Vec<u8>> {
    let means_it = |bits: &u16| meaning(*bits).to_bits() == number.to_bits();
    let bits = if number.is_nan() { Some(nan) } else { (0..=u16::MAX).find(means_it) };
    bits.map(|bits| bits.to_le_bytes().to_vec())
}

/// The value of an IEEE 754 number of 16 bits.
fn from_half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// Bytes in Base64, or as numbers.
fn raw(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => BASE64_STANDARD.decode(text).ok(),
        Value::Array(numbers) => numbers.iter().map(|n| u8::try_from(n.as_u64()?).ok()).collect(),
        _ => None,
    }
}
