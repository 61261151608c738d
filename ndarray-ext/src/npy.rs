//! The headers of NumPy's files.
//!
//! The format is that of [NEP 1](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): a magic number, a
//! version, the length of a header, the header, which is a literal of Python, and the elements.

use std::io::{self, Read};

use bigarray_core::{Descriptor, Error, ErrorKind, Result};
use ndarray::Order;

use crate::python::{Literal, parse};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The elements begin at a multiple of this, as NumPy has it, so that they can be mapped.
const ALIGNMENT: usize = 64;

/// A longer header is none that any array has.
const LONGEST_HEADER: usize = 1 << 20;

/// Most axes of an array, as NumPy has it.
const MOST_AXES: usize = 64;

/// Types that NumPy does not have, as headers would have them: the quotes tell them from names of fields.
const NOT_IN_NUMPY: [&str; 6] = ["'<i16'", "'>i16'", "'<u16'", "'>u16'", "'<bfloat16'", "'>bfloat16'"];

/// What a header says.
pub(crate) struct Header {
    pub(crate) dtype: String,
    pub(crate) order: Order,
    pub(crate) shape: Vec<usize>,
}

/// The header of the array `name`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for elements that NumPy does not have.
pub(crate) fn header_of(name: &str, array: &Descriptor) -> Result<Vec<u8>> {
    let dtype = &array.dtype;
    let descr = if dtype.starts_with('[') { dtype.clone() } else { format!("'{dtype}'") };
    if NOT_IN_NUMPY.iter().any(|absent| descr.contains(absent)) {
        let text = format!("array {name:?}: NumPy has no elements of the type {dtype}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let fortran = if array.order == bigarray_core::Order::ColumnMajor { "True" } else { "False" };
    let shape: Vec<_> = array.shape.iter().map(|length| format!("{length},")).collect();
    let mut literal = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': ({}), }}", shape.join(" "));
    // Version 1 counts its bytes by two bytes, version 3 by four and has any characters.
    let is_long = literal.len() + ALIGNMENT > usize::from(u16::MAX) || !literal.is_ascii();
    let before = MAGIC.len() + 2 + if is_long { 4 } else { 2 };
    let length = (before + literal.len() + 1).next_multiple_of(ALIGNMENT) - before;
    literal.extend(std::iter::repeat_n(' ', length - 1 - literal.len()));
    literal.push('\n');
    let mut header = MAGIC.to_vec();
    if is_long {
        header.extend([3, 0]);
        header.extend((length as u32).to_le_bytes());
    } else {
        header.extend([1, 0]);
        header.extend((length as u16).to_le_bytes());
    }
    header.extend(literal.as_bytes());
    Ok(header)
}

/// Reads a header, and leaves `from` at the first element.
///
/// # Errors
/// [`ErrorKind::Invalid`] for another format, [`ErrorKind::Io`].
pub(crate) fn read_header(from: &mut (impl Read + ?Sized)) -> Result<Header> {
    let short = |e: io::Error| Error::io("reading the header of NumPy's format", e);
    let invalid = |what: &str| Error::new(ErrorKind::Invalid, format!("no file of NumPy's format (.npy): {what}"));
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => invalid("it is shorter than a header"),
        _ => short(e),
    })?;
    if start[..6] != *MAGIC {
        return Err(invalid("it begins with other bytes"));
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            from.read_exact(&mut length).map_err(short)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 | 3 => {
            let mut length = [0; 4];
            from.read_exact(&mut length).map_err(short)?;
            u32::from_le_bytes(length) as usize
        }
        version => return Err(invalid(&format!("its version is {version}, and 1 to 3 are known"))),
    };
    if length > LONGEST_HEADER {
        return Err(invalid(&format!("its header has {length} bytes")));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).map_err(short)?;
    // Version 1 has Latin-1, in which no name of ours is anything but ASCII.
    let text = String::from_utf8(bytes).map_err(|_| invalid("its header is no text"))?;
    let header = parse(&text).map_err(|what| invalid(&what))?;
    let member = |name: &str| header.member(name).ok_or_else(|| invalid(&format!("its header has no {name:?}")));
    let order = match member("fortran_order")? {
        Literal::Bool(is_fortran) => Order::row_major(!is_fortran),
        _ => return Err(invalid("its fortran_order is neither True nor False")),
    };
    let shape = member("shape")?.numbers().ok_or_else(|| invalid("its shape is no tuple of numbers"))?;
    if shape.len() > MOST_AXES {
        return Err(invalid(&format!("its shape has {} axes, and {MOST_AXES} is the most", shape.len())));
    }
    let dtype = member("descr")?.dtype().ok_or_else(|| invalid("its descr is no type that is known"))?;
    Ok(Header { dtype, order, shape })
}
