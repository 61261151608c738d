//! How an array is created.

use bigarray_core::{BlockSize, Codec, Descriptor, Error, ErrorKind, FillValue, Result};
use bytemuck::bytes_of;
use ndarray::Order;

use crate::dtype::{element_type, in_rust};
use crate::element::Element;

/// What [`Transaction::create_with`](crate::Transaction::create_with) makes, the shape aside.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// use bigarray::{ArrayOptions, Codec, ndarray::Order};
///
/// let options = ArrayOptions::new().order(Order::ColumnMajor).block_size(256 << 10).codec(Codec::Lz4 { shuffle: true });
/// let txn = db.begin()?;
/// let planes = txn.create_with::<f32, _>("planes", (512, 512, 0), &options)?;
/// assert_eq!(planes.order(), Order::ColumnMajor);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options create nothing by themselves"]
pub struct ArrayOptions {
    order: Order,
    block_bytes: usize,
    codec: Codec,
    fill: Option<Fill>,
}

/// A fill value, of any type of elements.
#[derive(Clone, Debug)]
struct Fill {
    dtype: String,
    bytes: Vec<u8>,
}

impl Default for ArrayOptions {
    fn default() -> Self {
        ArrayOptions { order: Order::RowMajor, block_bytes: BlockSize::MAX.bytes(), codec: Codec::None, fill: None }
    }
}

impl ArrayOptions {
    /// Row-major, blocks of 2 MiB, not compressed, zero where nothing was written.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// let a = txn.create_with::<u8, _>("a", 10, &bigarray::ArrayOptions::new())?; // as `create` does
    /// assert_eq!(a.info().block_size, 2 << 20);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Order of the elements. A row-major array grows along its first axis, and its rows are contiguous; a column-major
    /// one along its last. Rows are the cheapest to read, a slice across the contiguous axis touches every block: see
    /// the [table](crate::guide::view#order-and-cost).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, ndarray::{Array2, Axis, Order}};
    ///
    /// let txn = db.begin()?;
    /// let mut a = txn.create_with::<u8, _>("a", (3, 0), &ArrayOptions::new().order(Order::ColumnMajor))?;
    /// a.append(Axis(1), Array2::ones((3, 2)).view())?; // it grows along its last axis
    /// assert_eq!(a.shape(), [3, 2]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Bytes of a block, the unit of loading and of conflict: a power of two from 64 KiB to 2 MiB. Small ones suit many
    /// writers of neighbouring rows.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ArrayOptions;
    ///
    /// let txn = db.begin()?;
    /// let a = txn.create_with::<u8, _>("a", 10, &ArrayOptions::new().block_size(64 << 10))?;
    /// assert_eq!(a.info().block_size, 64 << 10);
    /// let odd = ArrayOptions::new().block_size(100_000);
    /// assert!(txn.create_with::<u8, _>("b", 10, &odd).unwrap_err().is_invalid());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn block_size(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// How blocks are stored: as they are (default), or compressed. See [which to take](crate::guide::compression).
    ///
    /// Creating or opening an array with a codec that was not compiled in (the features `lz4` and `zstd`) is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, Codec};
    ///
    /// let txn = db.begin()?;
    /// let options = ArrayOptions::new().codec(Codec::Zstd { level: 3, shuffle: true });
    /// let a = txn.create_with::<f32, _>("a", 10, &options)?;
    /// assert_eq!(a.info().codec, Codec::Zstd { level: 3, shuffle: true });
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The value of elements that were never written: of a new array, and of rows that are added by growing. Zero by
    /// default. It cannot be changed later, and takes no storage; [`is_written`](crate::BigArray::is_written) tells what
    /// was written, block by block.
    ///
    /// What was never written is not a hole then, which costs no memory: its blocks are filled in memory when they are
    /// touched, within the memory budget. In a process to which no page faults can be delivered
    /// ([`Database::describe`](crate::Database::describe) tells) all of them have to fit into the budget.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ArrayOptions;
    ///
    /// let txn = db.begin()?;
    /// let mut sst = txn.create_with::<f32, _>("sst", (365, 1000), &ArrayOptions::new().fill(f32::NAN))?;
    /// sst.rows_mut(0..1)?.fill(20.5);
    /// assert_eq!(sst.view()[[0, 0]], 20.5);
    /// assert!(sst.view()[[364, 0]].is_nan());
    /// assert_eq!((sst.is_written(..1)?, sst.is_written(..)?), (true, true));
    /// // The type is that of the array.
    /// let error = txn.create_with::<f64, _>("b", 10, &ArrayOptions::new().fill(f32::NAN)).unwrap_err();
    /// assert!(error.is_dtype_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn fill<T: Element>(mut self, value: T) -> Self {
        self.fill = Some(Fill { dtype: T::dtype(), bytes: bytes_of(&value).to_vec() });
        self
    }

    /// The same for an element type that is given by its NumPy name, as in [`create_any`](crate::Transaction::create_any):
    /// `bytes` are those of one element, as [`ArrayInfo::fill_value`](crate::ArrayInfo::fill_value) has them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ArrayOptions;
    ///
    /// let options = ArrayOptions::new().fill_bytes("<f8", &f64::NAN.to_ne_bytes());
    /// db.transact(|txn| txn.create_any("sst", "<f8", &[60, 12], &options).map(drop))?;
    /// let sst = db.array::<f64, bigarray::ndarray::Ix2>("sst")?;
    /// assert!(sst.view()[[0, 0]].is_nan());
    ///
    /// // A type may be spelled as for `create_any`.
    /// let ones = ArrayOptions::new().fill_bytes("<u1", &[1]);
    /// assert_eq!(db.begin()?.create_any("ones", "|u1", &[3], &ones)?.shape(), [3]);
    ///
    /// let short = ArrayOptions::new().fill_bytes("<f8", &[0xff; 4]);
    /// assert!(db.begin()?.create_any("short", "<f8", &[1], &short).unwrap_err().is_invalid());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn fill_bytes(mut self, dtype: &str, bytes: &[u8]) -> Self {
        // Another type is told of when an array is created.
        let dtype = element_type(dtype).map_or_else(|_| dtype.to_owned(), |(name, _)| name);
        self.fill = Some(Fill { dtype, bytes: bytes.to_vec() });
        self
    }

    /// With the fill value of `array`, whose elements are of type `T`, if it has none of its own.
    pub(crate) fn or_fill_of<T: Element>(&self, array: &Descriptor) -> Self {
        let of_array = array.fill.as_ref().map(|fill| Fill { dtype: T::dtype(), bytes: fill.bytes().to_vec() });
        ArrayOptions { fill: self.fill.clone().or(of_array), ..self.clone() }
    }

    /// The fill value for an array of elements of type `dtype`; `None` if it is zero.
    ///
    /// # Errors
    /// [`DtypeMismatch`](ErrorKind::DtypeMismatch) for one of another type, [`Invalid`](ErrorKind::Invalid) for one of
    /// another length.
    pub(crate) fn checked_fill(&self, dtype: &str, item_size: usize) -> Result<Option<FillValue>> {
        match &self.fill {
            Some(fill) if fill.dtype != dtype => {
                let (has, of) = (in_rust(dtype), in_rust(&fill.dtype));
                let why = format!(
                    "its elements are {has}, and the fill value is {of}: give ArrayOptions a fill value of the elements' type"
                );
                Err(Error::new(ErrorKind::DtypeMismatch, why))
            }
            Some(fill) if fill.bytes.len() != item_size => {
                let given = fill.bytes.len();
                let why = format!("its fill value has {given} bytes, and an element of {dtype} has {item_size}");
                Err(Error::new(ErrorKind::Invalid, why))
            }
            fill => Ok(fill.as_ref().and_then(|fill| FillValue::new(&fill.bytes))),
        }
    }

    pub(crate) fn checked(&self) -> Result<(bigarray_core::Order, BlockSize, Codec)> {
        Ok((crate::info::from_ndarray(self.order), BlockSize::new(self.block_bytes)?, self.codec))
    }
}
