//! What arrays are in the model, and how their bytes are compared with it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;

use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Order, Reader, Version, Writer};
use bigarray_testing::SimMemory;

pub(crate) const BLOCK: usize = BlockSize::MIN.bytes();

/// No number of them is a block.
pub(crate) const FILL: [u8; 3] = [1, 0, 255];

/// Arrays as plain vectors, each with a number that a rename keeps.
pub(crate) type Model = BTreeMap<String, (u64, Vec<u8>)>;

/// Attributes of the database.
pub(crate) type Attrs = serde_json::Map<String, serde_json::Value>;

/// Gives `data`, whole elements, another length, as a resize does.
pub(crate) fn resize(data: &mut Vec<u8>, len: usize, is_filled: bool) {
    let before = data.len();
    data.resize(len, 0);
    if is_filled && before < len {
        data[before..].iter_mut().zip(FILL.iter().cycle()).for_each(|(byte, fill)| *byte = *fill);
    }
}

pub(crate) fn bytes_array(len: usize) -> Descriptor {
    Descriptor {
        id: ArrayId(0),
        dtype: "|u1".into(),
        item_size: 1,
        shape: vec![len],
        order: Order::RowMajor,
        block_size: BlockSize::MIN,
        skip: 0,
        codec: Codec::None,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    }
}

/// Bytes of an array whose first is at `base`.
pub(crate) fn load(memory: &SimMemory, base: NonNull<u8>, bytes: Range<usize>) -> Vec<u8> {
    let (span, first) = memory.span_over(base);
    span.load(first + bytes.start..first + bytes.end).unwrap()
}

pub(crate) fn writer_bytes(writer: &Writer<'_>, memory: &SimMemory) -> Vec<u8> {
    match writer.descriptor().nbytes() {
        0 => Vec::new(),
        len => load(memory, writer.base().unwrap(), 0..len),
    }
}

pub(crate) fn reader_bytes(reader: &Reader, memory: &SimMemory) -> Vec<u8> {
    match reader.descriptor().nbytes() {
        0 => Vec::new(),
        len => load(memory, reader.base().unwrap(), 0..len),
    }
}

#[track_caller]
pub(crate) fn assert_same(got: &[u8], want: &[u8], when: &str) {
    assert_eq!(got.len(), want.len(), "{when}");
    if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
        panic!("{when}: byte {at} of {} is {} and not {}", want.len(), got[at], want[at]);
    }
}
