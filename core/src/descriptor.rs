//! What an array is: its type, shape, order, codec and versions. Stores keep a descriptor, and conflicts compare two.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, BlockSize};

/// Identifies an array for ever: never given to another. It is kept through a rename where the store can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArrayId(pub u64);

impl ArrayId {
    /// The database itself, which has attributes as arrays have. No array is given this id.
    pub const DATABASE: ArrayId = ArrayId(0);
}

/// Tells whether something was changed: equal versions of one thing mean that it is the same, a block's bytes for
/// instance. Which of two is later they do not tell, but for the number of a state
/// ([`Snapshot::version`](crate::store::Snapshot::version)), which grows; a store may take that for all of them.
/// `Version(0)` says *not stored*, so what is absent has a version too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

/// Order of elements in memory and storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Last axis fastest; grows along axis 0.
    #[serde(rename = "C")]
    RowMajor,
    /// First axis fastest; grows along the last axis.
    #[serde(rename = "F")]
    ColumnMajor,
}

/// How the blocks of an array are stored. A block that does not shrink by an eighth is stored as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// As they are: mapped, not copied, when they are read.
    #[default]
    None,
    /// Compressed by LZ4: the fastest to read.
    Lz4 {
        /// Bytes are sorted first by their place in the element, which suits numbers that change slowly.
        shuffle: bool,
    },
    /// Compressed by Zstandard: the smallest.
    Zstd {
        /// 1 (fast) to 22 (small); 3 is common.
        level: i32,
        /// As of [`Lz4`](Codec::Lz4).
        shuffle: bool,
    },
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shuffled = |shuffle| if shuffle { " after byte shuffle" } else { "" };
        match *self {
            Codec::None => write!(f, "none"),
            Codec::Lz4 { shuffle } => write!(f, "LZ4{}", shuffled(shuffle)),
            Codec::Zstd { level, shuffle } => write!(f, "Zstandard level {level}{}", shuffled(shuffle)),
        }
    }
}

/// The bytes of an element that blocks consist of before anything is stored to them. Never zero, so that arrays of equal
/// elements have equal descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FillValue(Arc<[u8]>);

impl FillValue {
    /// The element that consists of `bytes`; `None` if it is zero, which takes no fill value.
    pub fn new(bytes: &[u8]) -> Option<FillValue> {
        bytes.iter().any(|byte| *byte != 0).then(|| FillValue(bytes.into()))
    }

    /// The bytes of one element.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Fills `buffer`, the bytes of an array from byte `at` on.
    pub fn write(&self, at: usize, buffer: &mut [u8]) {
        let size = self.0.len();
        let (lead, first) = (at % size, buffer.len().min(size));
        for (n, byte) in buffer[..first].iter_mut().enumerate() {
            *byte = self.0[(lead + n) % size];
        }
        let mut done = first;
        while done < buffer.len() {
            let next = done.min(buffer.len() - done);
            buffer.copy_within(..next, done);
            done += next;
        }
    }
}

/// What an array is, its elements aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The array; in a [`Change`](crate::store::Change) that creates it not yet known, and ignored.
    pub id: ArrayId,
    /// NumPy's name of the element type, as `<f8`.
    pub dtype: String,
    /// Bytes of an element, at least 1.
    pub item_size: usize,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Order of the elements.
    pub order: Order,
    /// Unit of loading and of conflict.
    pub block_size: BlockSize,
    /// Bytes of rows that were dropped at the front, a multiple of `item_size`: blocks are counted from the first of
    /// them on. 0 for an array of no bytes.
    pub skip: usize,
    /// How its blocks are stored.
    pub codec: Codec,
    /// What its elements are before anything is stored to their block; `None`: zero. It never changes.
    pub fill: Option<FillValue>,
    /// Another one after each commit that changed any block of the array (created, wrote or deleted one). It lets a
    /// refresh skip an array that no commit touched.
    pub changed: Version,
    /// Another one after each commit that gave the array a shape which is more than a growth of the one before: created,
    /// shrank or reshaped it, if only for a while.
    pub reshaped: Version,
    /// Another one after each commit that gave the array a name: created or renamed it.
    pub named: Version,
}

impl Descriptor {
    /// Bytes of all elements. [`check_size`](Descriptor::check_size) sees that this does not overflow.
    pub fn nbytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.item_size
    }

    /// Where its bytes end, counted as blocks are.
    pub fn end(&self) -> usize {
        self.skip + self.nbytes()
    }

    /// Where `bytes` of its elements are, counted as blocks are.
    pub fn placed(&self, bytes: &Range<usize>) -> Range<usize> {
        self.skip + bytes.start..self.skip + bytes.end
    }

    /// The block with the first element.
    pub fn first_block(&self) -> BlockNo {
        self.block_size.block_at(self.skip)
    }

    /// Refuses an array whose bytes, with those dropped at the front, and with axes of no length counted as 1 since they
    /// may grow, are more than `isize::MAX`, the most that a slice may have.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) naming `name`, the array's name or what is known of it.
    pub fn check_size(&self, name: &str) -> Result<()> {
        let bytes = self.shape.iter().try_fold(self.item_size, |bytes, &len| bytes.checked_mul(len.max(1)));
        let bytes = bytes.and_then(|bytes| bytes.checked_add(self.skip));
        if bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok()) {
            return Ok(());
        }
        let (Descriptor { shape, item_size, skip, .. }, most) = (self, isize::MAX);
        let dropped = if *skip == 0 {
            String::new()
        } else {
            format!(" behind {skip} bytes that were dropped, which a copy has not,")
        };
        let why = format!(
            "array {name:?}: shape {shape:?} of {item_size}-byte elements{dropped} is more than the {most} bytes an array \
             can have"
        );
        Err(Error::new(ErrorKind::TooLarge, why))
    }

    /// Refuses a fill value that is no element.
    ///
    /// # Errors
    /// [`DtypeMismatch`](ErrorKind::DtypeMismatch) naming `name`, the array's name.
    pub fn check_fill(&self, name: &str) -> Result<()> {
        match &self.fill {
            Some(fill) if fill.bytes().len() != self.item_size => {
                let (Descriptor { dtype, item_size, .. }, has) = (self, fill.bytes().len());
                let why = format!("array {name:?}: a fill value of {has} bytes, and elements of {item_size} ({dtype})");
                Err(Error::new(ErrorKind::DtypeMismatch, why))
            }
            _ => Ok(()),
        }
    }

    /// The axis along which the array grows; `None` for an array of dimension 0.
    pub fn growth_axis(&self) -> Option<usize> {
        match self.order {
            _ if self.shape.is_empty() => None,
            Order::RowMajor => Some(0),
            Order::ColumnMajor => Some(self.shape.len() - 1),
        }
    }

    /// Which axis can change in length, in words for messages.
    pub fn growth(&self) -> String {
        match self.growth_axis() {
            Some(axis) => format!("in its order ({:?}) it grows along axis {axis} only", self.order),
            None => "an array of dimension 0 does not grow".to_owned(),
        }
    }

    /// Length of the growth axis. An array of dimension 0 is one row.
    pub fn rows(&self) -> usize {
        self.growth_axis().map_or(1, |axis| self.shape[axis])
    }

    /// Bytes from one row to the next.
    pub fn row_bytes(&self) -> usize {
        let growth = self.growth_axis();
        let lengths = self.shape.iter().enumerate().filter(|(axis, _)| Some(*axis) != growth);
        lengths.map(|(_, len)| len).product::<usize>() * self.item_size
    }

    /// Whether the array became what it is by growing, or not at all: every element of `before` is where it was.
    pub fn grew_from(&self, before: &Descriptor) -> bool {
        let grows = self.growth_axis();
        let axes = self.shape.iter().zip(&before.shape).enumerate();
        self.shape.len() == before.shape.len()
            && self.skip == before.skip
            && axes.fold(true, |same, (axis, (new, old))| same && (new == old || Some(axis) == grows && new > old))
    }

    /// Whether a transaction that wrote to the array may land on top of `other`: the same array, type, shape, order.
    pub fn same_layout(&self, other: &Descriptor) -> bool {
        let Descriptor { changed, reshaped, named, .. } = *self;
        *self == Descriptor { changed, reshaped, named, ..other.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_beyond_isize_are_too_large_and_named() {
        let array = |shape: &[usize], item_size| Descriptor {
            id: ArrayId(1),
            dtype: "<f8".into(),
            item_size,
            shape: shape.into(),
            order: Order::RowMajor,
            block_size: BlockSize::MAX,
            skip: 0,
            codec: Codec::None,
            fill: None,
            changed: Version(0),
            reshaped: Version(0),
            named: Version(0),
        };
        let error = array(&[1 << 40, 1 << 30], 8).check_size("big").unwrap_err();
        assert!(error.is_too_large());
        assert!(error.to_string().contains("\"big\"") && error.to_string().contains("1099511627776"), "{error}");
        assert!(array(&[usize::MAX], 1).check_size("n").unwrap_err().is_too_large());
        assert!(array(&[isize::MAX as usize], 1).check_size("n").is_ok());
        let dropped = Descriptor { skip: 1, ..array(&[isize::MAX as usize], 1) };
        assert!(dropped.check_size("n").unwrap_err().to_string().contains("behind 1 bytes that were dropped"));
        // A zero elsewhere does not excuse the others: ndarray refuses such a shape.
        assert!(array(&[0, usize::MAX, 2], 1).check_size("n").unwrap_err().is_too_large());
    }

    #[test]
    fn a_fill_value_goes_on_wherever_a_buffer_begins() {
        for size in [1, 3, 8, 24, 5000] {
            let item: Vec<u8> = (0..size).map(|n| (n % 251 + 1) as u8).collect();
            let fill = FillValue::new(&item).unwrap();
            for (at, len) in [(0, 0), (0, 1), (7, 2), (65536, 65536), (131_072, 8191), (3, size)] {
                let mut buffer = vec![0; len];
                fill.write(at, &mut buffer);
                let expected: Vec<u8> = (at..at + len).map(|byte| item[byte % size]).collect();
                assert_eq!(buffer, expected, "{len} bytes from {at} on, of elements of {size}");
            }
        }
        assert_eq!(FillValue::new(&[0; 8]), None);
    }
}
