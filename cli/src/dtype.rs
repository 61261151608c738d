//! Element types by their NumPy names: their parts, their bytes as text, and the other byte order.

use std::fmt::Write;

use bigarray::half::{bf16, f16};
use bigarray::serde_json::{Map, Number, Value};
use bigarray::{dtype_fields, num_complex::Complex};

use crate::failure::{Failure, Result};

/// A number, as it lies in an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    F16,
    Bf16,
    F32,
    F64,
    C32,
    C64,
}

/// An element type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dtype {
    /// Bytes of an element.
    pub(crate) size: usize,
    parts: Parts,
    /// Its numbers whose bytes are in the other order: where, how wide, and how many of them follow each other.
    swapped: Vec<(usize, usize, usize)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Parts {
    Number(Kind),
    Struct(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: String,
    dtype: Dtype,
    offset: usize,
    /// Where the field is an array: the number of its elements.
    count: Option<usize>,
}

impl Dtype {
    /// The type of NumPy's name `name`, also of the other byte order.
    ///
    /// # Errors
    /// A type that arrays cannot have, and why.
    pub(crate) fn parse(name: &str) -> Result<Dtype> {
        if let Some(kind) = kind(name) {
            let size = kind.size();
            let width = if matches!(kind, Kind::C32 | Kind::C64) { size / 2 } else { size };
            let swapped = if name.starts_with('>') && width > 1 { vec![(0, width, size / width)] } else { Vec::new() };
            return Ok(Dtype { size, parts: Parts::Number(kind), swapped });
        }
        if !name.starts_with('[') {
            return Err(Failure::new(refusal(name)));
        }
        let fields = dtype_fields(name).map_err(|_| Failure::new(refusal(name)))?;
        let (mut all, mut end, mut swapped) = (Vec::new(), 0usize, Vec::new());
        for field in fields {
            let dtype = Dtype::parse(&field.dtype)?;
            let count = field.shape.iter().try_fold(1usize, |n, len| n.checked_mul(*len));
            let bytes = count.and_then(|count| count.checked_mul(dtype.size)).and_then(|bytes| end.checked_add(bytes));
            let (Some(count), Some(next)) = (count, bytes.filter(|next| *next <= LARGEST_ELEMENT)) else {
                return Err(Failure::new(format!("an element of {name:.200} is larger than {LARGEST_ELEMENT} bytes")));
            };
            // A run of one number is one entry; arrays of structs have their entries once for each.
            match dtype.swapped[..] {
                [] => {}
                [(0, width, n)] if width * n == dtype.size => swapped.push((end, width, n * count)),
                _ => swapped.extend((0..count).flat_map(|nth| {
                    let at = end + nth * dtype.size;
                    dtype.swapped.iter().map(move |(offset, width, n)| (at + offset, *width, *n)).collect::<Vec<_>>()
                })),
            }
            let count = (!field.shape.is_empty()).then_some(count);
            all.push(Field { name: field.name, dtype, offset: end, count });
            end = next;
        }
        if end == 0 {
            return Err(Failure::new(refusal(name)));
        }
        Ok(Dtype { size: end, parts: Parts::Struct(all), swapped })
    }

    /// The number that an element is; `None` for a struct.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if let Parts::Number(kind) = self.parts { Some(kind) } else { None }
    }

    /// Turns the bytes of whole elements round where they are in the other order.
    pub(crate) fn turn_round(&self, elements: &mut [u8]) {
        fn each<const WIDTH: usize>(bytes: &mut [u8]) {
            bytes.as_chunks_mut::<WIDTH>().0.iter_mut().for_each(|number| number.reverse());
        }
        let run = |bytes: &mut [u8], width| match width {
            2 => each::<2>(bytes),
            4 => each::<4>(bytes),
            8 => each::<8>(bytes),
            _ => bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse),
        };
        match self.swapped[..] {
            [] => {}
            [(0, width, n)] if width * n == self.size => run(elements, width),
            _ => elements.chunks_exact_mut(self.size).for_each(|element| {
                self.swapped.iter().for_each(|(at, width, n)| run(&mut element[*at..at + width * n], *width));
            }),
        }
    }

    /// Writes an element as text: a number, or its fields in brackets.
    pub(crate) fn write(&self, element: &[u8], out: &mut String) {
        match &self.parts {
            Parts::Number(kind) => kind.write(element, out),
            Parts::Struct(fields) => {
                out.push('{');
                for (n, field) in fields.iter().enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    out.push_str(&field.name);
                    out.push_str(": ");
                    let bytes = &element[field.offset..];
                    match field.count {
                        None => field.dtype.write(&bytes[..field.dtype.size], out),
                        Some(count) => {
                            out.push('[');
                            for (n, one) in bytes.chunks_exact(field.dtype.size).take(count).enumerate() {
                                out.push_str(if n > 0 { ", " } else { "" });
                                field.dtype.write(one, out);
                            }
                            out.push(']');
                        }
                    }
                }
                out.push('}');
            }
        }
    }

    /// The element as JSON, which has no NaN and no infinity: those are null.
    pub(crate) fn json(&self, element: &[u8]) -> Value {
        match &self.parts {
            Parts::Number(kind) => kind.json(element),
            Parts::Struct(fields) => {
                let all = fields.iter().map(|field| {
                    let bytes = &element[field.offset..];
                    let value = match field.count {
                        None => field.dtype.json(&bytes[..field.dtype.size]),
                        Some(count) => {
                            bytes.chunks_exact(field.dtype.size).take(count).map(|one| field.dtype.json(one)).collect()
                        }
                    };
                    (field.name.clone(), value)
                });
                Value::Object(all.collect::<Map<_, _>>())
            }
        }
    }

    /// The bytes of an element that is written as `text`.
    ///
    /// # Errors
    /// What does not fit, and a struct, which has no text.
    pub(crate) fn read(&self, text: &str) -> Result<Vec<u8>, String> {
        match &self.parts {
            Parts::Number(kind) => kind.read(text),
            Parts::Struct(_) => Err("a struct cannot be given as text".to_owned()),
        }
    }
}

/// Far more than any element has: a number of a file's header is not believed beyond.
const LARGEST_ELEMENT: usize = 1 << 20;

/// Why an array cannot have elements of the type `name`.
fn refusal(name: &str) -> String {
    let short: String = name.chars().take(200).collect();
    let kind = name.trim_start_matches(['<', '>', '|', '=']);
    match kind.chars().next() {
        Some('O') => format!("{short:?} are Python objects, which only Python can read; convert them to numbers there"),
        Some('U' | 'S' | 'a') => format!("{short:?} are texts, and arrays hold numbers; convert them to numbers first"),
        Some('M' | 'm') => format!("{short:?} are dates, and arrays hold numbers; convert them by .view('<i8') first"),
        Some('V') => format!("{short:?} are bytes without a type; convert them by .view(...) first"),
        _ => format!(
            "{short:?} is no element type; it takes |b1, |i1, |u1, <i2, <i4, <i8, <u2, <u4, <u8, <f2, <f4, <f8, <c8, <c16"
        ),
    }
}

fn kind(name: &str) -> Option<Kind> {
    let (order, kind) = name.split_at_checked(1)?;
    if !matches!(order, "<" | ">" | "|") {
        return None;
    }
    Some(match kind {
        "b1" => Kind::Bool,
        "i1" => Kind::I8,
        "i2" => Kind::I16,
        "i4" => Kind::I32,
        "i8" => Kind::I64,
        "i16" => Kind::I128,
        "u1" => Kind::U8,
        "u2" => Kind::U16,
        "u4" => Kind::U32,
        "u8" => Kind::U64,
        "u16" => Kind::U128,
        "f2" => Kind::F16,
        "bfloat16" => Kind::Bf16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        "c8" => Kind::C32,
        "c16" => Kind::C64,
        _ => return None,
    })
}

/// The number at the head of `bytes`, in the order of this machine.
fn number<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(&bytes[..size_of::<T>()])
}

impl Kind {
    pub(crate) fn size(self) -> usize {
        match self {
            Kind::Bool | Kind::I8 | Kind::U8 => 1,
            Kind::I16 | Kind::U16 | Kind::F16 | Kind::Bf16 => 2,
            Kind::I32 | Kind::U32 | Kind::F32 => 4,
            Kind::I64 | Kind::U64 | Kind::F64 | Kind::C32 => 8,
            Kind::I128 | Kind::U128 | Kind::C64 => 16,
        }
    }

    /// Writes the number as text.
    pub(crate) fn write(self, bytes: &[u8], out: &mut String) {
        // Writing to a text never fails.
        let _ = match self {
            Kind::Bool => write!(out, "{}", bytes[0] != 0),
            Kind::I8 => write!(out, "{}", number::<i8>(bytes)),
            Kind::I16 => write!(out, "{}", number::<i16>(bytes)),
            Kind::I32 => write!(out, "{}", number::<i32>(bytes)),
            Kind::I64 => write!(out, "{}", number::<i64>(bytes)),
            Kind::I128 => write!(out, "{}", number::<i128>(bytes)),
            Kind::U8 => write!(out, "{}", bytes[0]),
            Kind::U16 => write!(out, "{}", number::<u16>(bytes)),
            Kind::U32 => write!(out, "{}", number::<u32>(bytes)),
            Kind::U64 => write!(out, "{}", number::<u64>(bytes)),
            Kind::U128 => write!(out, "{}", number::<u128>(bytes)),
            Kind::F16 => write!(out, "{}", number::<f16>(bytes)),
            Kind::Bf16 => write!(out, "{}", number::<bf16>(bytes)),
            Kind::F32 => float(out, f64::from(number::<f32>(bytes)), number::<f32>(bytes)),
            Kind::F64 => float(out, number::<f64>(bytes), number::<f64>(bytes)),
            Kind::C32 => write!(out, "{}", number::<Complex<f32>>(bytes)),
            Kind::C64 => write!(out, "{}", number::<Complex<f64>>(bytes)),
        };
    }

    fn json(self, bytes: &[u8]) -> Value {
        let float = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
        let mut text = String::new();
        match self {
            Kind::Bool => Value::Bool(bytes[0] != 0),
            Kind::F64 => float(number(bytes)),
            // The shortest decimal of 32 bits, not the digits of 64 that it stands for.
            Kind::F32 => float(number::<f32>(bytes).to_string().parse().unwrap_or(f64::NAN)),
            Kind::F16 => float(number::<f16>(bytes).into()),
            Kind::Bf16 => float(number::<bf16>(bytes).into()),
            Kind::C32 | Kind::C64 => {
                let part = if self == Kind::C32 { Kind::F32 } else { Kind::F64 };
                bytes.chunks_exact(part.size()).take(2).map(|half| part.json(half)).collect()
            }
            _ => {
                self.write(bytes, &mut text);
                let small = text.parse().map(i64::into).or_else(|_| text.parse().map(u64::into));
                small.map_or(Value::String(text), Value::Number)
            }
        }
    }

    /// The bytes of the number that `text` is.
    pub(crate) fn read(self, text: &str) -> Result<Vec<u8>, String> {
        fn parsed<T: std::str::FromStr + bytemuck::NoUninit>(text: &str) -> Option<Vec<u8>> {
            text.parse::<T>().ok().map(|number| bytemuck::bytes_of(&number).to_vec())
        }
        let bytes = match self {
            Kind::Bool => match text {
                "true" | "True" | "1" => Some(vec![1]),
                "false" | "False" | "0" => Some(vec![0]),
                _ => None,
            },
            Kind::I8 => parsed::<i8>(text),
            Kind::I16 => parsed::<i16>(text),
            Kind::I32 => parsed::<i32>(text),
            Kind::I64 => parsed::<i64>(text),
            Kind::I128 => parsed::<i128>(text),
            Kind::U8 => parsed::<u8>(text),
            Kind::U16 => parsed::<u16>(text),
            Kind::U32 => parsed::<u32>(text),
            Kind::U64 => parsed::<u64>(text),
            Kind::U128 => parsed::<u128>(text),
            Kind::F16 => parsed::<f16>(text),
            Kind::Bf16 => parsed::<bf16>(text),
            Kind::F32 => parsed::<f32>(text),
            Kind::F64 => parsed::<f64>(text),
            Kind::C32 => parsed::<Complex<f32>>(text),
            Kind::C64 => parsed::<Complex<f64>>(text),
        };
        bytes.ok_or_else(|| format!("{text:?} is no {}", format!("{self:?}").to_lowercase()))
    }
}

/// A float as people write it: with an exponent where it is very large or small.
fn float(out: &mut String, size: f64, value: impl std::fmt::Display + std::fmt::LowerExp) -> std::fmt::Result {
    if size != 0.0 && size.is_finite() && !(1e-5..1e16).contains(&size.abs()) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(dtype: &str, bytes: &[u8]) -> String {
        let mut text = String::new();
        Dtype::parse(dtype).unwrap().write(bytes, &mut text);
        text
    }

    #[test]
    fn elements_are_written_and_read_back() {
        for (dtype, written) in [
            ("<f8", "20.5"),
            ("<f8", "NaN"),
            ("<f8", "1e-30"),
            ("<f8", "-inf"),
            ("<f4", "0.1"),
            ("<f2", "0.5"),
            ("|u1", "255"),
            ("<i8", "-9223372036854775808"),
            ("<u16", "340282366920938463463374607431768211455"),
            ("|b1", "true"),
            ("<c16", "1+2i"),
            ("<bfloat16", "1.5"),
        ] {
            let bytes = Dtype::parse(dtype).unwrap().read(written).unwrap();
            assert_eq!(text(dtype, &bytes), written);
        }
        assert!(Dtype::parse("|u1").unwrap().read("256").is_err());
        assert!(Dtype::parse("<i4").unwrap().read("1.5").is_err());
    }

    #[test]
    fn structs_have_fields() {
        let dtype = "[('t', '<i2'), ('at', '|u1', (2,))]";
        assert_eq!(text(dtype, &[1, 0, 2, 3]), "{t: 1, at: [2, 3]}");
        assert_eq!(Dtype::parse(dtype).unwrap().json(&[1, 0, 2, 3]).to_string(), r#"{"at":[2,3],"t":1}"#);
    }

    #[test]
    fn json_has_no_nan_and_the_shortest_digits() {
        let json = |dtype: &str, bytes: &[u8]| Dtype::parse(dtype).unwrap().json(bytes).to_string();
        assert_eq!(json("<f8", &f64::NAN.to_ne_bytes()), "null");
        assert_eq!(json("<f4", &0.1_f32.to_ne_bytes()), "0.1");
        assert_eq!(json("<u16", &u128::MAX.to_ne_bytes()), format!("\"{}\"", u128::MAX));
        assert_eq!(json("<u8", &u64::MAX.to_ne_bytes()), u64::MAX.to_string());
    }

    #[test]
    fn bytes_are_turned_round_number_by_number() {
        let turned = |dtype: &str, mut bytes: Vec<u8>| {
            Dtype::parse(dtype).unwrap().turn_round(&mut bytes);
            bytes
        };
        assert_eq!(turned(">u2", vec![1, 2, 3, 4]), [2, 1, 4, 3]);
        assert_eq!(turned(">c8", vec![1, 2, 3, 4, 5, 6, 7, 8]), [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(turned("<u2", vec![1, 2]), [1, 2]);
        assert_eq!(turned("|u1", vec![1, 2]), [1, 2]);
        let mixed = "[('a', '|u1'), ('b', '>u2', (2,)), ('c', [('d', '<u2'), ('e', '>u2')], (2,))]";
        let bytes: Vec<u8> = (0..13).collect();
        assert_eq!(turned(mixed, bytes), [0, 2, 1, 4, 3, 5, 6, 8, 7, 9, 10, 12, 11]);
    }

    #[test]
    fn types_that_arrays_cannot_have_say_what_to_do() {
        for (name, why) in [
            ("|O", "Python objects"),
            ("<U12", "texts"),
            ("<M8[ns]", "dates"),
            ("|V4", "without a type"),
            ("<f16", "no element type"),
            ("", "no element type"),
            ("é", "no element type"),
            ("[]", "no element type"),
            ("[('a', '|O')]", "no element type"),
            ("[('a', '<f8', (99999999999, 9))]", "larger"),
            ("[('a', '<f8', (0,))]", "no element type"),
        ] {
            let line = Dtype::parse(name).unwrap_err().line().unwrap();
            assert!(line.contains(why), "{name}: {line}");
        }
    }
}
