//! Element types: NumPy's names, by which bigarray knows them, and Zarr's data types.
//!
//! What Zarr, or zarr-python, does not have becomes raw bytes of the same length: fields that are arrays, `bfloat16`, 128-bit
//! integers, padding. The NumPy name is kept beside the array then, so that bigarray opens it as what it is, and others open
//! all that they know.

mod fill;
mod numpy;

use serde_json::{Value, json};

use super::json::named;

/// Largest element that is read, in bytes.
const MAX_ITEM_BYTES: usize = 1 << 30;

/// How deep structs may be nested.
const MAX_DEPTH: usize = 32;

/// An element type as Zarr has it, of a fixed size of at least 1 byte.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum DataType {
    /// A number.
    Number(&'static Number),
    /// A point or a span of time: a 64-bit count of `scale` times `unit`.
    Time {
        /// A point in time, not a span.
        is_point: bool,
        unit: String,
        scale: u64,
    },
    /// Bytes without a meaning.
    Raw(usize),
    /// Text, padded by zero bytes.
    Bytes(usize),
    /// So many code points, padded by zeros.
    Utf32(usize),
    /// Named fields, one after the other without padding.
    Struct(Vec<(String, DataType)>),
}

/// A type of number.
#[derive(Debug, PartialEq)]
pub(super) struct Number {
    /// Zarr's name.
    zarr: &'static str,
    /// NumPy's name.
    numpy: &'static str,
    kind: Kind,
    bytes: usize,
}

/// How a number is made of its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    /// A float with the exponent of a 32-bit one.
    Bfloat,
    Complex,
}

const fn number(zarr: &'static str, numpy: &'static str, kind: Kind, bytes: usize) -> Number {
    Number { zarr, numpy, kind, bytes }
}

/// NumPy's units of time.
const UNITS: &[&str] = &["generic", "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "μs", "ns", "ps", "fs", "as"];

static NUMBERS: &[Number] = &[
    number("bool", "|b1", Kind::Bool, 1),
    number("int8", "|i1", Kind::Int, 1),
    number("int16", "<i2", Kind::Int, 2),
    number("int32", "<i4", Kind::Int, 4),
    number("int64", "<i8", Kind::Int, 8),
    number("uint8", "|u1", Kind::Uint, 1),
    number("uint16", "<u2", Kind::Uint, 2),
    number("uint32", "<u4", Kind::Uint, 4),
    number("uint64", "<u8", Kind::Uint, 8),
    number("float16", "<f2", Kind::Float, 2),
    number("float32", "<f4", Kind::Float, 4),
    number("float64", "<f8", Kind::Float, 8),
    number("complex64", "<c8", Kind::Complex, 8),
    number("complex128", "<c16", Kind::Complex, 16),
    // Not in zarr-python: read, never written.
    number("bfloat16", "<bfloat16", Kind::Bfloat, 2),
];

/// Words of the same size in an element, which follow each other: what a change of the byte order turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// Where the first is in the element.
    pub(super) offset: usize,
    /// Bytes of each, more than 1.
    pub(super) bytes: usize,
    pub(super) count: usize,
}

impl DataType {
    /// As what elements of that NumPy name are stored, and whether that says all of the name.
    pub(super) fn storing(dtype: &str, item_size: usize) -> (DataType, bool) {
        match numpy::parse(dtype) {
            Some(stored) if stored.size() == Some(item_size) => {
                let says_all = stored.numpy() == dtype;
                (stored, says_all)
            }
            _ => (DataType::Raw(item_size), false),
        }
    }

    /// The number with that NumPy name, if zarr-python has it.
    fn number(numpy: &str) -> Option<DataType> {
        NUMBERS.iter().find(|n| n.numpy == numpy && n.kind != Kind::Bfloat).map(DataType::Number)
    }

    /// Reads a `data_type`.
    ///
    /// # Errors
    /// What cannot be read, in words.
    pub(super) fn parse(data_type: &Value) -> Result<DataType, String> {
        let parsed = Self::parse_at(data_type, 0)?;
        match parsed.size() {
            Some(0) => Err(format!("its elements, of the type {}, have no bytes", parsed.numpy())),
            Some(1..=MAX_ITEM_BYTES) => Ok(parsed),
            _ => Err(format!("its elements have more than {MAX_ITEM_BYTES} bytes")),
        }
    }

    fn parse_at(data_type: &Value, depth: usize) -> Result<DataType, String> {
        let unknown = || Err(format!("the data type {data_type} is not one of bigarray's"));
        let (name, configuration) = match named(data_type) {
            Some(named) if depth < MAX_DEPTH => named,
            _ => return unknown(),
        };
        if let Some(number) = NUMBERS.iter().find(|number| number.zarr == name) {
            return Ok(DataType::Number(number));
        }
        let size = |key: &str| configuration?.get(key)?.as_u64().and_then(|size| usize::try_from(size).ok());
        let parsed = match name {
            "raw_bytes" => size("length_bytes").map(DataType::Raw),
            "null_terminated_bytes" => size("length_bytes").map(DataType::Bytes),
            "fixed_length_utf32" => size("length_bytes").filter(|size| size % 4 == 0).map(|n| DataType::Utf32(n / 4)),
            "numpy.datetime64" | "numpy.timedelta64" => {
                let unit = configuration.and_then(|c| c.get("unit")?.as_str()).filter(|unit| UNITS.contains(unit));
                let scale = configuration.and_then(|c| c.get("scale_factor")?.as_u64());
                let time = |(unit, scale): (&str, u64)| DataType::Time {
                    is_point: name == "numpy.datetime64",
                    unit: unit.to_owned(),
                    scale,
                };
                unit.zip(scale).map(time)
            }
            "struct" | "structured" => {
                let Some(fields) = configuration.and_then(|c| c.get("fields")?.as_array()) else { return unknown() };
                let fields = fields.iter().map(|field| {
                    // The second form is what zarr-python wrote before 3.2.
                    let name = field.get("name").or_else(|| field.get(0)).and_then(Value::as_str);
                    let of = field.get("data_type").or_else(|| field.get(1));
                    let (Some(name), Some(of)) = (name, of) else {
                        return Err(format!("{field} is no field of a struct"));
                    };
                    Ok((name.to_owned(), Self::parse_at(of, depth + 1)?))
                });
                Some(DataType::Struct(fields.collect::<Result<_, _>>()?))
            }
            _ => {
                let bits = name.strip_prefix('r').and_then(|bits| bits.parse::<usize>().ok());
                bits.filter(|bits| bits % 8 == 0).map(|bits| DataType::Raw(bits / 8))
            }
        };
        parsed.map_or_else(unknown, Ok)
    }

    /// The `data_type` of Zarr's metadata.
    pub(super) fn to_json(&self) -> Value {
        let sized = |name: &str, bytes: usize| json!({"name": name, "configuration": {"length_bytes": bytes}});
        match self {
            DataType::Number(number) => json!(number.zarr),
            DataType::Time { is_point, unit, scale } => {
                let name = if *is_point { "numpy.datetime64" } else { "numpy.timedelta64" };
                json!({"name": name, "configuration": {"unit": unit, "scale_factor": scale}})
            }
            DataType::Raw(bytes) => sized("raw_bytes", *bytes),
            DataType::Bytes(bytes) => sized("null_terminated_bytes", *bytes),
            DataType::Utf32(points) => sized("fixed_length_utf32", points * 4),
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|(name, of)| json!({"name": name, "data_type": of.to_json()}));
                json!({"name": "struct", "configuration": {"fields": fields.collect::<Vec<_>>()}})
            }
        }
    }

    /// NumPy's name of the type.
    pub(super) fn numpy(&self) -> String {
        match self {
            DataType::Number(number) => number.numpy.to_owned(),
            DataType::Time { is_point, unit, scale } => {
                let kind = if *is_point { 'M' } else { 'm' };
                match (unit.as_str(), scale) {
                    ("generic", _) => format!("<{kind}8"),
                    (unit, 1) => format!("<{kind}8[{unit}]"),
                    (unit, scale) => format!("<{kind}8[{scale}{unit}]"),
                }
            }
            DataType::Raw(bytes) => format!("|V{bytes}"),
            DataType::Bytes(bytes) => format!("|S{bytes}"),
            DataType::Utf32(points) => format!("<U{points}"),
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|(name, of)| {
                    let name = name.replace('\\', "\\\\").replace('\'', "\\'");
                    match of {
                        DataType::Struct(_) => format!("('{name}', {})", of.numpy()),
                        _ => format!("('{name}', '{}')", of.numpy()),
                    }
                });
                format!("[{}]", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Bytes of an element; `None` if there is no such number.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            DataType::Number(number) => Some(number.bytes),
            DataType::Time { .. } => Some(8),
            DataType::Raw(bytes) | DataType::Bytes(bytes) => Some(*bytes),
            DataType::Utf32(points) => points.checked_mul(4),
            DataType::Struct(fields) => fields.iter().try_fold(0_usize, |sum, (_, of)| sum.checked_add(of.size()?)),
        }
    }

    /// The words of an element, in order. Types from [`parse`](DataType::parse) or [`storing`](DataType::storing) only.
    pub(super) fn words(&self) -> Vec<Words> {
        let words = |bytes, count| if bytes > 1 { vec![Words { offset: 0, bytes, count }] } else { Vec::new() };
        match self {
            DataType::Number(Number { kind: Kind::Complex, bytes, .. }) => words(bytes / 2, 2),
            DataType::Number(number) => words(number.bytes, 1),
            DataType::Time { .. } => words(8, 1),
            DataType::Raw(_) | DataType::Bytes(_) => Vec::new(),
            DataType::Utf32(points) => words(4, *points),
            DataType::Struct(fields) => {
                let mut all = Vec::new();
                let mut start = 0;
                for (_, of) in fields {
                    all.extend(of.words().into_iter().map(|words| Words { offset: start + words.offset, ..words }));
                    start += of.size().unwrap_or(0);
                }
                all
            }
        }
    }
}
