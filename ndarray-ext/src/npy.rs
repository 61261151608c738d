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

/// What the header of a file of NumPy's format (`.npy`) says: for programs that read and write such files without knowing
/// the type of their elements. [`read_npy`](crate::Transaction::read_npy) and [`write_npy`](crate::BigArray::write_npy) do
/// all of it where the type is known.
///
/// ```
/// use bigarray::{NpyHeader, ndarray::Order};
///
/// let header = NpyHeader::new("<f8", Order::RowMajor, &[2, 3]);
/// let mut file = header.to_bytes()?;
/// file.extend([0; 2 * 3 * 8]);
///
/// let mut rest = &file[..];
/// assert_eq!(NpyHeader::read(&mut rest)?, header);
/// assert_eq!(rest.len(), 48); // the elements
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NpyHeader {
    /// NumPy's name of the element type, or a list of fields. It may be one that arrays here cannot have: `>f8` of the other
    /// byte order, `<U12` of text, `|O` of Python's objects.
    pub dtype: String,
    /// Order of the elements.
    pub order: Order,
    /// Length of each axis. It is what the file says: nothing is known of how many elements follow.
    pub shape: Vec<usize>,
}

impl NpyHeader {
    /// The header of a file of elements `dtype`, which is not checked.
    ///
    /// ```
    /// use bigarray::{NpyHeader, ndarray::Order};
    ///
    /// assert_eq!(NpyHeader::new("<f4", Order::ColumnMajor, &[5]).shape, [5]);
    /// ```
    pub fn new(dtype: impl Into<String>, order: Order, shape: &[usize]) -> NpyHeader {
        NpyHeader { dtype: dtype.into(), order, shape: shape.to_vec() }
    }

    /// Reads a header of version 1 to 3, and leaves `from` at the first element. A header of more than 1 MiB is refused before
    /// it is read.
    ///
    /// ```
    /// use bigarray::NpyHeader;
    ///
    /// assert!(NpyHeader::read(&mut &b"no such file"[..]).unwrap_err().is_invalid());
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for another format, a later version, and a header that is cut short or not
    /// understood; [`Io`](ErrorKind::Io) for what `from` reports.
    pub fn read(from: &mut (impl Read + ?Sized)) -> Result<NpyHeader> {
        let short = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => invalid("it ends within its header"),
            _ => Error::io("reading the header of NumPy's format", e),
        };
        let mut start = [0; 8];
        from.read_exact(&mut start).map_err(short)?;
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
        Ok(NpyHeader { dtype, order, shape })
    }

    /// The header as it stands in a file: elements that follow it begin at a multiple of 64 bytes.
    ///
    /// ```
    /// use bigarray::{NpyHeader, ndarray::Order};
    ///
    /// let header = NpyHeader::new("<f8", Order::RowMajor, &[2, 3]).to_bytes()?;
    /// assert!(header.starts_with(b"\x93NUMPY\x01\x00") && header.len() % 64 == 0);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) for elements that NumPy does not have, as `<bfloat16`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let NpyHeader { dtype, order, shape } = self;
        // As a literal of Python.
        let descr = if dtype.starts_with('[') { dtype.clone() } else { format!("'{dtype}'") };
        if NOT_IN_NUMPY.iter().any(|absent| descr.contains(absent)) {
            return Err(Error::new(ErrorKind::Unsupported, format!("NumPy has no elements of the type {dtype}")));
        }
        let fortran = if order.is_column_major() { "True" } else { "False" };
        let shape: Vec<_> = shape.iter().map(|length| format!("{length},")).collect();
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
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("no file of NumPy's format (.npy): {what}"))
}

/// The header of the array `name`.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for elements that NumPy does not have.
pub(crate) fn header_of(name: &str, array: &Descriptor) -> Result<Vec<u8>> {
    let order = crate::info::to_ndarray(array.order);
    let header = NpyHeader::new(&array.dtype, order, &array.shape).to_bytes();
    header.map_err(|e| e.context(format_args!("array {name:?}")))
}
