//! Rows taken out of the midst of an array, and put into it: those behind move.

use std::ops::{Range, RangeBounds};

use bigarray_core::{Error, ErrorKind, Result, Writer};
use ndarray::{ArrayView, Axis, Dimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::process::OfProcess;
use crate::view::{elements, elements_mut};

/// Most bytes that are moved at a time.
const STEP: usize = 16 << 20;

/// Rows in the midst.
impl<T: Element, D: Dimension> BigArrayMut<'_, T, D> {
    /// Removes the rows `range` along the growth axis. Those behind move to the front, and the array is so much shorter: it
    /// costs reading and writing all rows behind, within the memory budget. As any change it is committed with the
    /// transaction, or not at all.
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
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) for rows that there are not, and for an array of dimension 0; the array
    /// is as it was. Whatever storage reports: then rows behind may have moved in part, and the transaction should be
    /// aborted, or go back to a [savepoint](crate::Transaction::savepoint).
    pub fn remove_rows(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let removed = self.layout().bytes(range)?;
        let axis = self.growth_axis_to_move_along()?;
        let row_bytes = self.source.descriptor().row_bytes();
        let (all, mut dim) = (self.nbytes(), self.layout().dim());
        if row_bytes == 0 || removed.is_empty() {
            return Ok(());
        }
        let (mut to, mut from) = (removed.start / size_of::<T>(), removed.end / size_of::<T>());
        let (end, step) = (all / size_of::<T>(), self.elements_of_a_step());
        let mut buffer = Vec::new();
        while from < end {
            let now = from..end.min(from + step);
            move_elements::<T>(&mut self.source, now.clone(), to, &mut buffer)?;
            (from, to) = (now.end, to + now.len());
        }
        dim[axis.0] -= removed.len() / row_bytes;
        self.resize(dim)
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
    /// As [`append`](Self::append), and [`ShapeMismatch`](ErrorKind::ShapeMismatch) if there are less than `at` rows; the
    /// array is as it was. Whatever storage reports, as [`remove_rows`](Self::remove_rows).
    pub fn insert_rows(&mut self, at: usize, rows: ArrayView<'_, T, D>) -> Result<()> {
        let axis = self.growth_axis_to_move_along()?;
        self.check_rows(axis, rows.shape())?;
        let start = self.layout().bytes(..at)?.end / size_of::<T>();
        let (inserted, end, mut dim) = (rows.len(), self.len(), self.layout().dim());
        if rows.len_of(axis) == 0 {
            return Ok(());
        }
        dim[axis.0] = dim[axis.0].saturating_add(rows.len_of(axis));
        self.resize(dim)?;
        let (mut left, step, mut buffer) = (end, self.elements_of_a_step(), Vec::new());
        while left > start {
            let now = start.max(left.saturating_sub(step))..left;
            left = now.start;
            move_elements::<T>(&mut self.source, now.clone(), now.start + inserted, &mut buffer)?;
        }
        self.copy_rows(axis, at..at + rows.len_of(axis), &rows)
    }

    fn growth_axis_to_move_along(&self) -> Result<Axis> {
        self.source.descriptor().growth_axis().map(Axis).ok_or_else(|| {
            let why = format!("array {:?} has dimension 0: it has one row, and no other", self.name());
            Error::new(ErrorKind::ShapeMismatch, why)
        })
    }

    fn elements_of_a_step(&self) -> usize {
        (STEP.min(self.source.budget_bytes() / 8) / size_of::<T>()).max(1)
    }
}

/// Moves the elements `range` to where the first of them is number `to`. The ranges may overlap.
fn move_elements<T: Element>(
    writer: &mut OfProcess<Writer<'_>>,
    range: Range<usize>,
    to: usize,
    buffer: &mut Vec<T>,
) -> Result<()> {
    writer.prefetch(range.start * size_of::<T>()..range.end * size_of::<T>())?;
    buffer.clear();
    buffer.extend_from_slice(elements::<T>(writer, range.clone())?);
    let to = to..to + range.len();
    writer.prefetch(to.start * size_of::<T>()..to.end * size_of::<T>())?;
    elements_mut::<T>(writer, to)?.copy_from_slice(buffer);
    Ok(())
}
