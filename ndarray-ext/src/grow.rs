//! Shapes that change: `append`, `push`, `resize`, `reshape`.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Result};
use ndarray::{ArrayView, ArrayViewMut, Axis, Dimension, IntoDimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::removal::drop_front;
use crate::view::{exposed, here_mut};

/// Bytes that [`BigArrayMut::append`] copies at a time, so that a source in another order does not make it jump
/// through all of the tail again and again.
const PIECE: usize = 2 << 20;

impl<'t, T: Element, D: Dimension> BigArrayMut<'t, T, D> {
    /// Adds `array` behind the last row, as [`ndarray::Array::append`] does. Costs what is added, not what is there.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::{Axis, array}};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<f64, _>("A", (0, 3))?;
    /// a.append(Axis(0), array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].view())?;
    /// a.push(Axis(0), array![7.0, 8.0, 9.0].view())?;
    /// assert_eq!(a.shape(), [3, 3]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if `axis` is not the growth axis or another axis differs in length;
    /// [`TooLarge`](ErrorKind::TooLarge) if the array would be; [`StoreFull`](ErrorKind::StoreFull) and whatever else
    /// storage reports where changes are spilled, now or earlier; [`InUse`](ErrorKind::InUse) in a process forked from the one
    /// that opened the array. The array is as it was then.
    pub fn append(&mut self, axis: Axis, array: ArrayView<'_, T, D>) -> Result<()> {
        self.check_growth_axis(axis)?;
        self.check_rows(axis, array.shape())?;
        if array.len_of(axis) == 0 {
            return Ok(());
        }
        let before = here_mut(&mut self.source)?.descriptor().clone();
        let first = before.rows();
        self.source.append_rows(array.len_of(axis))?;
        if let Err(error) = self.fill(axis, first, &array) {
            self.source.take_back_growth(before);
            return Err(error);
        }
        Ok(())
    }

    /// Copies `array` to the new rows, from `first` on. An error comes before anything is written.
    fn fill(&mut self, axis: Axis, first: usize, array: &ArrayView<'_, T, D>) -> Result<()> {
        let window = self.layout().window(first..)?;
        let rows = self.rows_of_a_piece();
        copy_by_pieces(axis, rows, exposed::<T, D>(&mut self.source, &window)?, array);
        Ok(())
    }

    /// Overwrites the rows `range`.
    pub(crate) fn copy_rows(&mut self, axis: Axis, range: Range<usize>, array: &ArrayView<'_, T, D>) -> Result<()> {
        let rows = self.rows_of_a_piece();
        copy_by_pieces(axis, rows, self.rows_mut(range)?, array);
        Ok(())
    }

    fn rows_of_a_piece(&self) -> usize {
        (PIECE / self.source.descriptor().row_bytes().max(1)).max(1)
    }

    /// Refuses rows of another shape than the array's, along `axis`.
    pub(crate) fn check_rows(&self, axis: Axis, shape: &[usize]) -> Result<()> {
        let fits = shape.len() == self.ndim()
            && shape.iter().zip(self.shape()).enumerate().all(|(a, (new, old))| a == axis.0 || new == old);
        if fits {
            return Ok(());
        }
        let (name, has, axis) = (self.name(), self.shape(), axis.0);
        let why = format!(
            "array {name:?} has shape {has:?}: one of shape {shape:?} cannot be appended along axis {axis}: the lengths of \
             the others differ"
        );
        Err(Error::new(ErrorKind::ShapeMismatch, why))
    }

    /// Adds one row behind the last, as [`ndarray::Array::push`] does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::{Axis, Array1};
    ///
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
    /// grid.push(Axis(0), Array1::ones(30).view())?;
    /// assert_eq!((grid.dim(), grid.view()[[40, 0]]), ((41, 30), 1.0));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn push(&mut self, axis: Axis, row: ArrayView<'_, T, D::Smaller>) -> Result<()> {
        self.check_growth_axis(axis)?;
        if row.ndim() + 1 != self.ndim() {
            let (name, has, row) = (self.name(), self.shape(), row.shape());
            let why = format!("array {name:?} has shape {has:?}: one of shape {row:?} is not a row of it");
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let row = row.insert_axis(axis).into_dimensionality::<D>();
        self.append(axis, row.expect("one axis more than a row has"))
    }

    /// Makes the growth axis longer or shorter. Costs nothing: new rows are a hole of zeros, or consist of the
    /// [fill value](crate::ArrayOptions::fill); rows cut off are dropped by commit, and show that if the array grows again.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
    /// grid.resize((100, 30))?;
    /// assert_eq!(grid.view()[[99, 0]], 0.0);
    /// assert!(grid.resize((100, 31)).unwrap_err().is_shape_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if another axis would change;
    /// [`TooLarge`](ErrorKind::TooLarge) if the array would be too large; what storage reports, as
    /// [`append`](Self::append). The array is as it was then.
    pub fn resize(&mut self, shape: impl IntoDimension<Dim = D>) -> Result<()> {
        here_mut(&mut self.source)?.set_shape(shape.into_dimension().slice())
    }

    /// Removes the first `n` rows, as a log does with what is old. Costs the blocks that they fill, however many rows
    /// remain: those stay where they are. The space of the blocks is free again once this is committed and no older snapshot
    /// is open; a block is kept as long as one of its rows is. Rows are counted from the first that remains.
    ///
    /// A transaction that drops rows conflicts with one that changes the array meanwhile, as an append does;
    /// [`transact`](crate::Database::transact) runs it again. In a database on object storage, whose chunks have fixed places,
    /// the rows behind are moved as by [`remove_rows`](Self::remove_rows), at the cost of all of them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ndarray::{Axis, array, aview1};
    ///
    /// const KEPT: usize = 3;
    /// for day in 0..10 {
    ///     db.transact(|txn| {
    ///         let mut log = txn.open_or_create::<u32, _>("log", 0)?;
    ///         log.append(Axis(0), aview1(&[day]))?;
    ///         let old = log.len().saturating_sub(KEPT);
    ///         log.drop_front(old)
    ///     })?;
    /// }
    /// assert_eq!(db.array::<u32, bigarray::ndarray::Ix1>("log")?.view(), array![7, 8, 9]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if there are fewer rows, or the array is of dimension 0; the array is as it
    /// was. Whatever storage reports, as [`append`](Self::append); then the transaction should be aborted, or go back to a
    /// [savepoint](crate::Transaction::savepoint).
    pub fn drop_front(&mut self, n: usize) -> Result<()> {
        drop_front(&mut self.source, n)
    }

    /// Sees the same elements, in storage order, in another shape. Costs nothing.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Array1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # let txn = db.begin()?;
    /// let a = txn.create::<u32, _>("A", 12)?;
    /// let a = a.reshape((3, 4))?;
    /// assert_eq!(a.shape(), [3, 4]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if the number of elements differs. The array is as it was, and
    /// closed.
    pub fn reshape<Sh: IntoDimension>(mut self, shape: Sh) -> Result<BigArrayMut<'t, T, Sh::Dim>> {
        here_mut(&mut self.source)?.reshape(shape.into_dimension().slice())?;
        Ok(self.with_dimension())
    }

    pub(crate) fn check_growth_axis(&self, axis: Axis) -> Result<()> {
        let array = self.source.descriptor();
        if array.growth_axis() == Some(axis.0) {
            return Ok(());
        }
        let (name, has, axis, growth) = (self.name(), self.shape(), axis.0, array.growth());
        let why = format!("array {name:?} of shape {has:?} does not grow along axis {axis}: {growth}");
        Err(Error::new(ErrorKind::ShapeMismatch, why))
    }
}

/// Copies in the order in which elements lie in storage.
fn copy_by_pieces<T: Element, D: Dimension>(
    axis: Axis,
    rows: usize,
    mut to: ArrayViewMut<'_, T, D>,
    from: &ArrayView<'_, T, D>,
) {
    let pieces = to.axis_chunks_iter_mut(axis, rows);
    pieces.zip(from.axis_chunks_iter(axis, rows)).for_each(|(mut to, from)| to.assign(&from));
}
