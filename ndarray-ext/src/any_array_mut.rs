//! The handle of an array in a transaction whose type the program does not know.

use std::fmt;
use std::ops::RangeBounds;

use bigarray_core::{Error, ErrorKind, Result, Writer};
use ndarray::{ArrayView, ArrayViewMut, Dimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::handle::{changing, debug, reading};
use crate::layout::{self, Layout};
use crate::process::OfProcess;
use crate::removal::drop_front;
use crate::view::{here, here_mut};

/// An array open in a [`Transaction`](crate::Transaction) whose element type and dimension the program does not know. To
/// [`AnyArray`](crate::AnyArray) it is what [`BigArrayMut`] is to [`BigArray`](crate::BigArray).
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| txn.create::<u16, _>("frames", (0, 2)).map(drop))?;
/// let txn = db.begin()?;
/// let mut frames = txn.any_array("frames")?;
/// assert_eq!(frames.dtype(), "<u2");
/// frames.append_bytes(&[1, 0, 2, 0, 3, 0, 4, 0])?; // two rows of two elements
/// frames.row_bytes_mut(1..2)?.fill(9);
/// drop(frames);
/// let frames = txn.array::<u16, bigarray::ndarray::Ix2>("frames")?;
/// assert_eq!(frames.view(), bigarray::ndarray::array![[1, 2], [0x909, 0x909]]);
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// The rows of an array of another byte order are bytes like any other, so it can be read and changed, too.
///
/// **Addresses.** What [`row_bytes`](Self::row_bytes) and [`view`](Self::view) return stays at its address until the next
/// call that takes `&mut self`, or until the handle is dropped. After it, take the address again.
pub struct AnyArrayMut<'t> {
    source: OfProcess<Writer<'t>>,
}

impl<'t> AnyArrayMut<'t> {
    pub(crate) fn new(source: Writer<'t>) -> Result<AnyArrayMut<'t>> {
        source.descriptor().check_size(source.name())?;
        Ok(AnyArrayMut { source: OfProcess::new(source) })
    }

    reading!();
    changing!();

    /// The rows `range` as bytes, in storage order; see [`BigArrayMut::rows`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let grid = txn.any_array("grid")?;
    /// assert_eq!(grid.row_bytes(..)?.len(), grid.nbytes());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BigArrayMut::rows`].
    pub fn row_bytes(&self, range: impl RangeBounds<usize>) -> Result<&[u8]> {
        let bytes = layout::bytes(self.name(), self.source.descriptor(), range)?;
        crate::view::bytes(&self.source, bytes)
    }

    /// The same, to change. Commit looks for changes in such ranges only.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.row_bytes_mut(3..4)?.fill(0);
    /// assert_eq!(grid.row_bytes(3..4)?, [0; 30 * 4]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BigArrayMut::rows_mut`].
    pub fn row_bytes_mut(&mut self, range: impl RangeBounds<usize>) -> Result<&mut [u8]> {
        let bytes = layout::bytes(self.name(), self.source.descriptor(), range)?;
        crate::view::bytes_mut(&mut self.source, bytes)
    }

    /// The whole array as one of elements `T` in `D` dimensions; `IxDyn` is any.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let grid = txn.any_array("grid")?;
    /// assert_eq!(grid.view::<f32, bigarray::ndarray::Ix2>()?.sum(), 600.0);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DtypeMismatch`](ErrorKind::DtypeMismatch) and [`ShapeMismatch`](ErrorKind::ShapeMismatch) if it is another; as
    /// [`BigArrayMut::rows`].
    pub fn view<T: Element, D: Dimension>(&self) -> Result<ArrayView<'_, T, D>> {
        layout::check::<T, D>(self.name(), self.source.descriptor())?;
        crate::view::shared(&self.source, &Layout::new(self.name(), self.source.descriptor()).whole())
    }

    /// The same, to change.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.view_mut::<f32, bigarray::ndarray::Ix2>()?[[0, 0]] = 2.5;
    /// assert_eq!(grid.row_bytes(0..1)?[..4], 2.5f32.to_ne_bytes());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`view`](Self::view) and [`BigArrayMut::rows_mut`].
    pub fn view_mut<T: Element, D: Dimension>(&mut self) -> Result<ArrayViewMut<'_, T, D>> {
        layout::check::<T, D>(self.name(), self.source.descriptor())?;
        let whole = Layout::new(self.name(), self.source.descriptor()).whole();
        crate::view::exclusive(&mut self.source, &whole)
    }

    /// The same array as one of elements `T` in `D` dimensions; `IxDyn` is any.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let grid = txn.any_array("grid")?;
    /// let mut grid = grid.downcast::<f32, bigarray::ndarray::Ix2>()?;
    /// grid.view_mut()[[0, 0]] = 2.5;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DtypeMismatch`](ErrorKind::DtypeMismatch) and [`ShapeMismatch`](ErrorKind::ShapeMismatch) if it is another. The
    /// array is closed then, and can be opened again.
    pub fn downcast<T: Element, D: Dimension>(self) -> Result<BigArrayMut<'t, T, D>> {
        BigArrayMut::new(self.source)
    }

    /// Adds `rows`, the bytes of some whole rows in storage order, behind the last row.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// let row: Vec<u8> = (0..30).flat_map(|n| (n as f32).to_ne_bytes()).collect();
    /// grid.append_bytes(&row)?;
    /// assert_eq!(grid.shape(), [41, 30]);
    /// assert!(grid.append_bytes(&row[1..]).unwrap_err().is_shape_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if they are no whole number of rows, or if the array does not grow;
    /// as [`BigArrayMut::append`]. The array is as it was then.
    pub fn append_bytes(&mut self, rows: &[u8]) -> Result<()> {
        let array = here(&self.source)?.descriptor();
        let row = array.row_bytes();
        if array.growth_axis().is_none() || row == 0 || !rows.len().is_multiple_of(row) {
            let (name, has, given) = (self.name(), self.shape(), rows.len());
            let growth = array.growth();
            let why = format!("array {name:?} of shape {has:?}: {given} bytes are no rows of {row} bytes; {growth}");
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        if rows.is_empty() {
            return Ok(());
        }
        let before = array.clone();
        let tail = self.source.append_rows(rows.len() / row)?;
        match crate::view::exposed(&mut self.source, &layout::Window::of_elements(tail, 1)) {
            Ok(mut new) => {
                new.as_slice_mut().expect("one run of bytes").copy_from_slice(rows);
                Ok(())
            }
            Err(error) => {
                self.source.take_back_growth(before);
                Err(error)
            }
        }
    }

    /// Makes the growth axis longer or shorter; see [`BigArrayMut::resize`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.resize(&[50, 30])?;
    /// assert_eq!(grid.row_bytes(49..)?, [0; 30 * 4]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BigArrayMut::resize`].
    pub fn resize(&mut self, shape: &[usize]) -> Result<()> {
        here_mut(&mut self.source)?.set_shape(shape)
    }

    /// Removes the first `n` rows; see [`BigArrayMut::drop_front`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.drop_front(15)?;
    /// assert_eq!(grid.shape(), [25, 30]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`BigArrayMut::drop_front`].
    pub fn drop_front(&mut self, n: usize) -> Result<()> {
        drop_front(&mut self.source, n)
    }

    /// Sees the same elements, in storage order, in another shape, of any dimension.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.reshape(&[20, 2, 30])?;
    /// assert_eq!(grid.shape(), [20, 2, 30]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if the number of elements differs. The array is as it was then.
    pub fn reshape(&mut self, shape: &[usize]) -> Result<()> {
        here_mut(&mut self.source)?.reshape(shape)
    }
}

impl<'t, T, D> From<BigArrayMut<'t, T, D>> for AnyArrayMut<'t> {
    fn from(array: BigArrayMut<'t, T, D>) -> AnyArrayMut<'t> {
        AnyArrayMut { source: array.source }
    }
}

impl fmt::Debug for AnyArrayMut<'_> {
    debug!("AnyArrayMut");
}
