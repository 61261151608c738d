//! Shapes that change: `append`, `push`, `resize`, `reshape`.

use bigarray_core::{Error, ErrorKind, Result};
use ndarray::{ArrayView, Axis, Dimension, IntoDimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::layout::Layout;
use crate::view::here_mut;

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
    /// [`TooLarge`](ErrorKind::TooLarge) if the array would be. The array is as it was then.
    pub fn append(&mut self, axis: Axis, array: ArrayView<'_, T, D>) -> Result<()> {
        self.check_growth_axis(axis)?;
        let fits = array.ndim() == self.ndim()
            && array.shape().iter().zip(self.shape()).enumerate().all(|(a, (new, old))| a == axis.0 || new == old);
        if !fits {
            let why = format!(
                "array {:?} has shape {:?}: one of shape {:?} cannot be appended along axis {}, the others differ",
                self.name(),
                self.shape(),
                array.shape(),
                axis.0
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let (old, added) = (self.layout.rows(), array.len_of(axis));
        if added == 0 {
            return Ok(());
        }
        let (before, layout) = (self.source.descriptor().clone(), self.layout.clone());
        // Where the sum overflows it stays more than `Layout::new` lets pass.
        self.set_dim(self.layout.with_rows(old.saturating_add(added)))?;
        if let Err(error) = self.fill(axis, old, array) {
            self.source.take_back_growth(before);
            self.layout = layout;
            return Err(error);
        }
        Ok(())
    }

    /// Copies `array` to the rows from `first` on, in the order in which they lie in storage. An error comes before anything
    /// is written.
    fn fill(&mut self, axis: Axis, first: usize, array: ArrayView<'_, T, D>) -> Result<()> {
        let rows = (PIECE / self.layout.row_bytes().max(1)).max(1);
        let mut tail = self.rows_mut(first..)?;
        let pieces = tail.axis_chunks_iter_mut(axis, rows);
        pieces.zip(array.axis_chunks_iter(axis, rows)).for_each(|(mut to, from)| to.assign(&from));
        Ok(())
    }

    /// Adds one row behind the last, as [`ndarray::Array::push`] does.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn push(&mut self, axis: Axis, row: ArrayView<'_, T, D::Smaller>) -> Result<()> {
        self.check_growth_axis(axis)?;
        if row.ndim() + 1 != self.ndim() {
            let why = format!(
                "array {:?} has shape {:?}: one of shape {:?} is not a row of it",
                self.name(),
                self.shape(),
                row.shape()
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let row = row.insert_axis(axis).into_dimensionality::<D>();
        self.append(axis, row.expect("one axis more than a row has"))
    }

    /// Makes the growth axis longer or shorter. Costs nothing: what is new is a hole of zeros, what is cut off is
    /// dropped by commit and shows zeros if the array grows again.
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if another axis would change;
    /// [`TooLarge`](ErrorKind::TooLarge) if the array would be too large. The array is as it was then.
    pub fn resize(&mut self, shape: impl IntoDimension<Dim = D>) -> Result<()> {
        let dim = shape.into_dimension();
        let growth = self.layout.growth_axis();
        let same_rows = dim.ndim() == self.ndim()
            && dim.slice().iter().zip(self.shape()).enumerate().all(|(a, (new, old))| Some(a) == growth || new == old);
        if !same_rows {
            let why = format!(
                "array {:?} has shape {:?} and cannot get shape {:?}: {}",
                self.name(),
                self.shape(),
                dim.slice(),
                self.grows_along()
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        self.set_dim(dim)
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
        let layout = Layout::new::<T>(self.name(), shape.into_dimension(), self.layout.order)?;
        if layout.dim.size() != self.len() {
            let why = format!(
                "array {:?} has shape {:?}, {} elements: they do not fit shape {:?}",
                self.name(),
                self.shape(),
                self.len(),
                layout.dim.slice()
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        here_mut(&mut self.source)?.reshape(layout.dim.slice())?;
        Ok(self.with_layout(layout))
    }

    /// Gives the array another length of its growth axis.
    fn set_dim(&mut self, dim: D) -> Result<()> {
        let layout = Layout::new::<T>(self.name(), dim, self.layout.order)?;
        here_mut(&mut self.source)?.set_shape(layout.dim.slice())?;
        self.layout = layout;
        Ok(())
    }

    fn check_growth_axis(&self, axis: Axis) -> Result<()> {
        if self.layout.growth_axis() == Some(axis.0) {
            return Ok(());
        }
        let why = format!(
            "array {:?} of shape {:?} does not grow along axis {}: {}",
            self.name(),
            self.shape(),
            axis.0,
            self.grows_along()
        );
        Err(Error::new(ErrorKind::ShapeMismatch, why))
    }

    fn grows_along(&self) -> String {
        match self.layout.growth_axis() {
            Some(axis) => format!("in its order ({:?}) it grows along axis {axis} only", self.layout.order),
            None => "an array of dimension 0 does not grow".to_string(),
        }
    }
}
