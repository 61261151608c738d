//! Rows taken out of the midst of an array, and put into it: those behind move.

use std::ops::RangeBounds;

use bigarray_core::Result;
use ndarray::{ArrayView, Axis, Dimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::removal::{growth_axis, move_bytes, remove_rows, step_bytes};
use crate::view::here;

/// Rows in the midst.
impl<T: Element, D: Dimension> BigArrayMut<'_, T, D> {
    /// Removes the rows `range` along the growth axis. Those behind move to the front, and the array is so much shorter: it
    /// costs reading and writing all rows behind, within the memory budget; if they are the first rows, what
    /// [`drop_front`](Self::drop_front) costs. As any change it is committed with the transaction, or not at all.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # use bigarray::ndarray::{Axis, array, aview1};
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<u32, _>("a", 0)?;
    /// a.append(Axis(0), aview1(&[0, 1, 2, 3, 4]))?;
    /// a.remove_rows(1..3)?;
    /// assert_eq!(a.view(), array![0, 3, 4]);
    /// a.insert_rows(1, aview1(&[7, 8]))?;
    /// assert_eq!(a.view(), array![0, 7, 8, 3, 4]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that there are not, and for an array of dimension 0; the array
    /// is as it was. Whatever storage reports: then rows behind may have moved in part, and the transaction should be
    /// aborted, or go back to a [savepoint](crate::Transaction::savepoint).
    pub fn remove_rows(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let rows = self.layout().rows(range)?;
        remove_rows(&mut self.source, rows)
    }

    /// Inserts `rows` before row `at`; where there are `at` rows, behind the last, which is [`append`](Self::append). Rows
    /// behind move, and cost what they do in [`remove_rows`](Self::remove_rows).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # use bigarray::ndarray::{Axis, array, aview1};
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<u32, _>("a", 0)?;
    /// a.append(Axis(0), aview1(&[0, 3, 4]))?;
    /// a.insert_rows(1, aview1(&[7, 8]))?;
    /// assert_eq!(a.view(), array![0, 7, 8, 3, 4]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`append`](Self::append), and [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if there are less than `at` rows; the
    /// array is as it was. Whatever storage reports, as [`remove_rows`](Self::remove_rows).
    pub fn insert_rows(&mut self, at: usize, rows: ArrayView<'_, T, D>) -> Result<()> {
        let axis = Axis(growth_axis(here(&self.source)?)?);
        self.check_rows(axis, rows.shape())?;
        let start = self.layout().bytes(..at)?.end;
        let (inserted, end, mut dim) = (rows.len() * size_of::<T>(), self.nbytes(), self.layout().dim());
        if rows.len_of(axis) == 0 {
            return Ok(());
        }
        dim[axis.0] = dim[axis.0].saturating_add(rows.len_of(axis));
        self.resize(dim)?;
        let (mut left, step, mut buffer) = (end, step_bytes(&self.source), Vec::new());
        while left > start {
            let now = start.max(left.saturating_sub(step))..left;
            left = now.start;
            move_bytes(&mut self.source, now.clone(), now.start + inserted, &mut buffer)?;
        }
        self.copy_rows(axis, at..at + rows.len_of(axis), &rows)
    }
}
