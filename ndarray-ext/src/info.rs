//! What is known of an array without opening it.

use bigarray_core::{Codec, Descriptor};
use ndarray::Order;

/// What an array is, its elements aside.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
/// for array in db.snapshot()?.arrays()? {
///     println!("{} {} {:?} {:?}: {} bytes", array.name, array.dtype, array.shape, array.codec, array.nbytes);
/// }
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArrayInfo {
    /// Its name.
    pub name: String,
    /// NumPy's name of its element type, as `<f8`.
    pub dtype: String,
    /// Bytes of an element.
    pub item_size: usize,
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// Order of its elements; tells the growth axis: the first if row-major, the last if column-major.
    pub order: Order,
    /// Bytes of a block, the unit of loading and of conflict.
    pub block_size: usize,
    /// How its blocks are stored.
    pub codec: Codec,
    /// The bytes of an element that was never written: the [fill value](crate::ArrayOptions::fill), or zeros.
    pub fill_value: Vec<u8>,
    /// Bytes of all elements; holes included, so it may be far more than is stored.
    pub nbytes: usize,
}

impl ArrayInfo {
    pub(crate) fn new(name: &str, descriptor: &Descriptor) -> ArrayInfo {
        ArrayInfo {
            name: name.to_string(),
            dtype: descriptor.dtype.clone(),
            item_size: descriptor.item_size,
            shape: descriptor.shape.clone(),
            order: to_ndarray(descriptor.order),
            block_size: descriptor.block_size.bytes(),
            codec: descriptor.codec,
            fill_value: descriptor.fill.as_ref().map_or(vec![0; descriptor.item_size], |fill| fill.bytes().to_vec()),
            nbytes: descriptor.nbytes(),
        }
    }
}

/// The order in ndarray's words.
pub(crate) fn to_ndarray(order: bigarray_core::Order) -> Order {
    Order::row_major(order == bigarray_core::Order::RowMajor)
}

/// The order in core's words.
pub(crate) fn from_ndarray(order: Order) -> bigarray_core::Order {
    if order.is_row_major() { bigarray_core::Order::RowMajor } else { bigarray_core::Order::ColumnMajor }
}
