//! The handle of an array of a snapshot whose type the program does not know.

use std::fmt;
use std::ops::RangeBounds;

use bigarray_core::{Access, Reader, Result};
use ndarray::{ArrayView, Dimension};

use crate::array::BigArray;
use crate::element::Element;
use crate::handle::{debug, reading};
use crate::layout::{self, Layout};
use crate::process::OfProcess;

/// An array of a [`Snapshot`](crate::Snapshot) whose element type and dimension the program does not know: for viewers,
/// exporters and bindings of other languages. Owns its snapshot, as [`BigArray`] does, and is cloned as cheaply.
///
/// [`dtype`](Self::dtype) tells the type, in NumPy's words, also of structs that another program has stored.
/// [`row_bytes`](Self::row_bytes) gives the elements as bytes, [`view`](Self::view) and [`downcast`](Self::downcast) as
/// elements of a type that is checked:
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f32, _>("sst", (60, 12))?.view_mut().fill(20.5); Ok(()) })?;
/// use bigarray::ndarray::{Ix2, IxDyn};
///
/// let sst = db.any_array("sst")?;
/// assert_eq!((sst.dtype(), sst.shape()), ("<f4", &[60, 12][..]));
/// assert_eq!(sst.row_bytes(0..1)?[..4], 20.5f32.to_ne_bytes());
/// let largest = match sst.dtype() {
///     "<f4" => sst.view::<f32, IxDyn>()?.iter().fold(0.0, |a, b| b.max(a)),
///     other => panic!("{other} is no type for this example"),
/// };
/// assert_eq!(largest, 20.5);
/// let sst = sst.downcast::<f32, Ix2>()?;
/// assert_eq!(sst.view()[[59, 11]], 20.5);
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// **Addresses.** What [`row_bytes`](Self::row_bytes) and [`view`](Self::view) return stays at its address as long as this
/// handle lives, and does not change.
#[derive(Clone)]
pub struct AnyArray {
    source: OfProcess<Reader>,
}

impl AnyArray {
    pub(crate) fn new(source: Reader) -> Result<AnyArray> {
        source.descriptor().check_size(source.name())?;
        Ok(AnyArray { source: OfProcess::new(source) })
    }

    reading!();

    /// The rows `range` as bytes, in storage order; see [`BigArray::rows`]. Pages are loaded when they are touched.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let grid = db.any_array("grid")?;
    /// assert_eq!(grid.row_bytes(39..40)?.len(), 30 * 4);
    /// assert!(grid.row_bytes(39..41).unwrap_err().is_shape_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BigArray::rows`].
    pub fn row_bytes(&self, range: impl RangeBounds<usize>) -> Result<&[u8]> {
        let bytes = layout::bytes(self.name(), self.source.descriptor(), range)?;
        crate::view::bytes(&self.source, bytes)
    }

    /// The whole array as one of elements `T` in `D` dimensions; `IxDyn` is any.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::IxDyn;
    ///
    /// let grid = db.any_array("grid")?;
    /// assert_eq!(grid.view::<f32, IxDyn>()?[[39, 29]], 0.5);
    /// assert!(grid.view::<f64, IxDyn>().unwrap_err().is_dtype_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch) and [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if it is
    /// another; as [`BigArray::rows`].
    pub fn view<T: Element, D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        layout::check::<T, D>(self.name(), self.source.descriptor())?;
        crate::view::shared(&self.source, &Layout::new(self.name(), self.source.descriptor()).whole())
    }

    /// The same array as one of elements `T` in `D` dimensions; `IxDyn` is any. To try several types, clone it, which costs
    /// nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::BigArray2;
    ///
    /// let grid: BigArray2<f32> = db.any_array("grid")?.downcast()?;
    /// assert_eq!(grid.dim(), (40, 30));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch) and [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if it is
    /// another.
    pub fn downcast<T: Element, D: Dimension>(self) -> Result<BigArray<T, D>> {
        BigArray::new(self.source)
    }

    /// Says how the array will be read; see [`BigArray::advise`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let grid = db.any_array("grid")?;
    /// grid.advise(bigarray::Access::Sequential);
    /// let sum: usize = grid.blocks().map(|rows| grid.row_bytes(rows).unwrap().len()).sum();
    /// assert_eq!(sum, grid.nbytes());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn advise(&self, access: Access) {
        if self.source.is_here() {
            self.source.advise(access);
        }
    }
}

impl<T, D> From<BigArray<T, D>> for AnyArray {
    fn from(array: BigArray<T, D>) -> AnyArray {
        AnyArray { source: array.source }
    }
}

impl fmt::Debug for AnyArray {
    debug!("AnyArray");
}
