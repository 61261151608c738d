//! Grids against a model of elements, metadata and codecs there and back, and what Python makes of both.

mod codec;
mod dtype;
mod grid;
mod interchange;
mod metadata;

use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Order, Version};
use proptest::prelude::*;

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::RowMajor), Just(Order::ColumnMajor)]
}

/// An array of 2 MiB blocks that is not compressed.
fn array(dtype: &str, item_size: usize, shape: &[usize], order: Order) -> Descriptor {
    Descriptor {
        id: ArrayId(0),
        dtype: dtype.to_owned(),
        item_size,
        shape: shape.to_vec(),
        order,
        block_size: BlockSize::MAX,
        skip: 0,
        codec: Codec::None,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    }
}
