//! Reads NumPy's names of types, as [`Descriptor::dtype`](bigarray_core::Descriptor::dtype) has them.

use super::{DataType, UNITS};

/// How deep structs may be nested: deeper ones are stored as raw bytes.
const MAX_DEPTH: usize = 16;

/// As what elements of that name are stored. `None` for names that say nothing that Zarr could.
pub(super) fn parse(dtype: &str) -> Option<DataType> {
    if !dtype.starts_with('[') {
        return stored_scalar(dtype);
    }
    let mut rest = Rest(dtype);
    let parsed = rest.fields(0)?;
    rest.0.is_empty().then_some(parsed)
}

/// A type without fields, as raw bytes if Zarr does not have it.
fn stored_scalar(name: &str) -> Option<DataType> {
    scalar(name).or_else(|| opaque_bytes(name).map(DataType::Raw))
}

/// A type without fields that Zarr has.
fn scalar(name: &str) -> Option<DataType> {
    let count = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok().filter(|count| *count > 0);
    let time = |prefix: &str, is_point| {
        let rest = name.strip_prefix(prefix)?;
        let Some(inside) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
            return rest.is_empty().then(|| DataType::Time { is_point, unit: "generic".to_owned(), scale: 1 });
        };
        let unit = inside.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = &inside[..inside.len() - unit.len()];
        let scale = if digits.is_empty() { 1 } else { digits.parse().ok()? };
        UNITS.contains(&unit).then(|| DataType::Time { is_point, unit: unit.to_owned(), scale })
    };
    DataType::number(name)
        .or_else(|| count("|V").map(DataType::Raw))
        .or_else(|| count("|S").map(DataType::Bytes))
        .or_else(|| count("<U").map(DataType::Utf32))
        .or_else(|| time("<M8", true))
        .or_else(|| time("<m8", false))
}

/// Bytes of a number that Zarr does not have.
fn opaque_bytes(name: &str) -> Option<usize> {
    match name.get(1..)? {
        "bfloat16" => Some(2),
        rest => rest.strip_prefix(|kind| "iufc".contains(kind))?.parse().ok(),
    }
}

/// What is not read yet of a list of fields.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Takes `text` off, if it comes next.
    fn take(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// `[('price', '<f8'), ('at', '<f4', (3,))]`
    fn fields(&mut self, depth: usize) -> Option<DataType> {
        if depth == MAX_DEPTH {
            return None;
        }
        self.take("[")?;
        let mut fields: Vec<(String, DataType)> = Vec::new();
        loop {
            let (name, of) = self.field(depth)?;
            // Padding has no name, but Zarr wants one, and each only once.
            let name = if name.is_empty() { format!("__padding_{}", fields.len()) } else { name };
            if fields.iter().any(|(other, _)| *other == name) {
                return None;
            }
            fields.push((name, of));
            if self.take(", ").is_none() {
                self.take("]")?;
                return Some(DataType::Struct(fields));
            }
        }
    }

    fn field(&mut self, depth: usize) -> Option<(String, DataType)> {
        self.take("(")?;
        let name = self.quoted()?.to_owned();
        self.take(", ")?;
        let of = if self.0.starts_with('[') { self.fields(depth + 1)? } else { stored_scalar(self.quoted()?)? };
        let of = match self.take(", (") {
            // zarr-python has no fields that are arrays.
            Some(()) => DataType::Raw(self.lengths()?.checked_mul(of.size()?)?),
            None => of,
        };
        self.take(")")?;
        Some((name, of))
    }

    /// A string without escapes.
    fn quoted(&mut self) -> Option<&'a str> {
        self.take("'")?;
        let (text, rest) = self.0.split_once('\'')?;
        self.0 = rest;
        (!text.contains('\\')).then_some(text)
    }

    /// The product of `3,)` or `2, 3)`.
    fn lengths(&mut self) -> Option<usize> {
        let (lengths, rest) = self.0.split_once(')')?;
        self.0 = rest;
        let lengths = lengths.strip_suffix(',').unwrap_or(lengths).split(", ").map(str::parse);
        lengths.into_iter().try_fold(1_usize, |product, len| product.checked_mul(len.ok()?))
    }
}
