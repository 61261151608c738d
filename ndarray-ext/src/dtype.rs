//! Element types by the names that storage has for them.

use std::collections::HashSet;

use bigarray_core::{Error, ErrorKind, Result};

use crate::python::{Literal, parse};

/// A field of a struct element, as [`dtype_fields`] tells it.
///
/// ```
/// for field in bigarray::dtype_fields("[('time', '<i8'), ('at', '<f4', (3,))]")? {
///     println!("byte {}: {} of {} {:?}", field.offset, field.name, field.dtype, field.shape);
/// }
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DtypeField {
    /// Its name.
    pub name: String,
    /// NumPy's name of its type, which may be a struct again.
    pub dtype: String,
    /// Its lengths if it is an array; else none.
    pub shape: Vec<usize>,
    /// The byte of the element at which it begins.
    pub offset: usize,
}

/// The fields of the element type that is called `dtype`, in order; none if it is a number.
///
/// ```
/// let fields = bigarray::dtype_fields("[('time', '<i8'), ('at', '<f4', (3,))]")?;
/// assert_eq!((fields[1].name.as_str(), fields[1].dtype.as_str()), ("at", "<f4"));
/// assert_eq!((fields[1].offset, fields[1].shape.as_slice()), (8, &[3][..]));
/// assert!(bigarray::dtype_fields("<f8")?.is_empty());
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) for a name that is none.
pub fn dtype_fields(dtype: &str) -> Result<Vec<DtypeField>> {
    let unknown = || Error::new(ErrorKind::Invalid, format!("{dtype:?} is no name of an element type"));
    if !dtype.starts_with('[') {
        return size_of_number(dtype).map(|_| Vec::new()).ok_or_else(unknown);
    }
    let literal = parse(dtype).map_err(|_| unknown())?;
    let Literal::Sequence(fields) = &literal else { return Err(unknown()) };
    let mut offset = 0;
    let all = fields.iter().map(|literal| {
        let field = field(literal, offset)?;
        offset = offset.checked_add(size_of_field(literal)?)?;
        Some(field)
    });
    all.collect::<Option<Vec<_>>>().ok_or_else(unknown)
}

fn field(literal: &Literal, offset: usize) -> Option<DtypeField> {
    let Literal::Sequence(parts) = literal else { return None };
    let [Literal::Text(name), dtype, shape @ ..] = &parts[..] else { return None };
    let shape = shape.first().map_or(Some(Vec::new()), Literal::numbers)?;
    Some(DtypeField { name: name.clone(), dtype: dtype.dtype()?, shape, offset })
}

fn size_of_field(literal: &Literal) -> Option<usize> {
    let Literal::Sequence(parts) = literal else { return None };
    let lengths = parts.get(2).map_or(Some(Vec::new()), Literal::numbers)?;
    lengths.into_iter().try_fold(size_of_type(parts.get(1)?)?, usize::checked_mul)
}

fn size_of_type(dtype: &Literal) -> Option<usize> {
    match dtype {
        Literal::Text(name) => size_of_number(name),
        Literal::Sequence(fields) => {
            fields.iter().try_fold(0usize, |size, field| size.checked_add(size_of_field(field)?))
        }
        _ => None,
    }
}

/// A type that elements can have: its name as [`Element::dtype`](crate::Element::dtype) spells it, and its bytes.
pub(crate) fn element_type(dtype: &str) -> Result<(String, usize)> {
    let literal = if dtype.starts_with('[') { parse(dtype).ok() } else { Some(Literal::Text(dtype.to_owned())) };
    let known = literal.and_then(|literal| {
        let (name, size) = (literal.dtype()?, size_of_type(&literal)?);
        (size > 0 && is_element(&literal)).then_some((name, size))
    });
    known.ok_or_else(|| {
        let why = format!(
            "{dtype:?} is no element type: it takes one of {}, or a struct of these as \"[('time', '<i8'), ('at', '<f4', \
             (3,))]\" with a name of its own for each field",
            ELEMENTS.join(", ")
        );
        Error::new(ErrorKind::Invalid, why)
    })
}

/// The types of numbers.
const ELEMENTS: [&str; 17] = [
    "|b1",
    "|i1",
    "|u1",
    "<i2",
    "<u2",
    "<i4",
    "<u4",
    "<i8",
    "<u8",
    "<i16",
    "<u16",
    "<f2",
    "<bfloat16",
    "<f4",
    "<f8",
    "<c8",
    "<c16",
];

fn is_element(dtype: &Literal) -> bool {
    let Literal::Sequence(fields) = dtype else {
        return dtype.dtype().is_some_and(|name| ELEMENTS.contains(&name.as_str()));
    };
    let mut names = HashSet::new();
    fields.iter().all(|field| {
        let Literal::Sequence(parts) = field else { return false };
        let (Some(Literal::Text(name)), Some(dtype), 2..=3) = (parts.first(), parts.get(1), parts.len()) else {
            return false;
        };
        !name.is_empty() && names.insert(name) && is_element(dtype)
    })
}

/// The name in storage, with that of Rust where there is one: `<f4 (f32)`.
pub(crate) fn in_rust(dtype: &str) -> String {
    let kind = dtype.strip_prefix(['<', '>', '|']).unwrap_or(dtype);
    let name = match kind {
        "bfloat16" => "bf16".to_owned(),
        "c8" => "Complex<f32>".to_owned(),
        "c16" => "Complex<f64>".to_owned(),
        _ => match (kind.split_at_checked(1), size_of_number(dtype)) {
            (Some((kind @ ("i" | "u" | "f"), _)), Some(size)) => format!("{kind}{}", size.saturating_mul(8)),
            _ => return dtype.to_owned(),
        },
    };
    format!("{dtype} ({name})")
}

/// `<f8` has eight bytes: an order, a kind, and how many.
fn size_of_number(name: &str) -> Option<usize> {
    let kind = name.strip_prefix(['<', '>', '|'])?;
    if kind == "bfloat16" {
        return Some(2);
    }
    kind.strip_prefix(['b', 'i', 'u', 'f', 'c'])?.parse().ok().filter(|&size| size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(dtype: &str) -> Vec<usize> {
        dtype_fields(dtype).unwrap().iter().map(|field| field.offset).collect()
    }

    #[test]
    fn fields_follow_each_other() {
        assert!(offsets("<f8").is_empty());
        assert!(offsets("|b1").is_empty());
        assert!(offsets("<bfloat16").is_empty());
        let inner = "[('x', '<f4'), ('y', '|u1')]";
        let outer = format!("[('id', '|u1'), ('inner', {inner}), ('grid', '<i2', (2, 3)), ('many', {inner}, (4,))]");
        assert_eq!(offsets(&outer), [0, 1, 6, 18]);
        let many = &dtype_fields(&outer).unwrap()[3];
        assert_eq!((many.dtype.as_str(), many.shape.as_slice()), (inner, &[4][..]));
    }

    #[test]
    fn element_types_are_spelled_as_elements_spell_them() {
        for (given, name, size) in [
            ("<f8", "<f8", 8),
            ("<u1", "|u1", 1),
            ("<bfloat16", "<bfloat16", 2),
            ("[(\"a\",'<u1'),('b', '<c8', (2,3)),]", "[('a', '|u1'), ('b', '<c8', (2, 3))]", 49),
            ("[('a', [('b', '<i2')], (3,))]", "[('a', [('b', '<i2')], (3,))]", 6),
        ] {
            assert_eq!(element_type(given).unwrap(), (name.to_owned(), size));
        }
        let twice = "[('a', '<f8'), ('a', '<f4')]";
        let huge = "[('a', '<f8', (9223372036854775807, 9))]";
        for given in [
            "",
            ">f8",
            "<f3",
            "f8",
            "<U4",
            "[]",
            twice,
            huge,
            "[('a', '<f8', (0,))]",
            "[('', '<f8')]",
            "[('a', '>f8')]",
        ] {
            let error = element_type(given).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("is no element type"), "{given}: {error}");
        }
    }

    #[test]
    fn numbers_have_names_in_rust() {
        for (name, known) in
            [("<f4", "<f4 (f32)"), ("|u1", "|u1 (u8)"), (">i16", ">i16 (i128)"), ("<c8", "<c8 (Complex<f32>)")]
        {
            assert_eq!(in_rust(name), known);
        }
        for name in ["", "é", "[('a', '<f4')]"] {
            assert_eq!(in_rust(name), name);
        }
    }

    #[test]
    fn other_names_are_refused() {
        let huge = "[('a', '<f8', (9223372036854775807, 9)), ('b', '<f8')]";
        for name in ["", "f8", "<f", "<f0", "<x8", "<f8 ", "[", "[('a',)]", "[('a', 'f8')]", "(1, 2)", huge] {
            let error = dtype_fields(name).unwrap_err();
            assert!(error.is_invalid() && error.to_string().contains("no name of an element type"), "{error}");
        }
    }
}
