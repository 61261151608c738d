//! Arrays filled from an iterator of chunks, one after the other.

use bigarray_core::{Error, ErrorKind, Progress, Result};
use ndarray::{ArrayBase, ArrayView, Axis, Data, Dimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;

/// Filling from an iterator.
impl<T: Element, D: Dimension> BigArrayMut<'_, T, D> {
    /// Adds each of `chunks` behind the last row, as [`append`](Self::append) does. `progress` hears of the bytes after
    /// each; how many there will be is not known, so the total is 0.
    ///
    /// One chunk is in memory at a time, and what was appended is written to disk behind it, from three quarters of the
    /// memory budget on.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ndarray::{Array2, Axis};
    ///
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<f32, _>("a", (0, 100))?;
    /// let chunks = (0..10).map(|n| Array2::from_elem((1000, 100), n as f32));
    /// a.append_from(Axis(0), chunks, |progress| eprintln!("{} bytes", progress.done_bytes))?;
    /// assert_eq!(a.shape(), [10_000, 100]);
    /// drop(a);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`append`](Self::append). The chunks before are appended then, and nothing of the one that failed.
    pub fn append_from<S: Data<Elem = T>>(
        &mut self,
        axis: Axis,
        chunks: impl IntoIterator<Item = ArrayBase<S, D>>,
        progress: impl FnMut(Progress),
    ) -> Result<()> {
        self.try_append_from(axis, chunks.into_iter().map(Ok), progress)
    }

    /// The same from an iterator that may fail, as one that reads files does, with an error type of its own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # std::fs::write(dir.path().join("0.txt"), "1 2 3").unwrap();
    /// # std::fs::write(dir.path().join("1.txt"), "4 five").unwrap();
    /// # let files = [dir.path().join("0.txt"), dir.path().join("1.txt")];
    /// use bigarray::ndarray::{Array1, Axis};
    /// use std::error::Error;
    ///
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<u32, _>("a", 0)?;
    /// let chunks = files.iter().map(|file| -> Result<Array1<u32>, Box<dyn Error>> {
    ///     Ok(std::fs::read_to_string(file)?.split(' ').map(str::parse).collect::<Result<_, _>>()?)
    /// });
    /// let error = a.try_append_from(Axis(0), chunks, |_| {}).unwrap_err();
    /// assert!(error.is::<std::num::ParseIntError>());
    /// assert_eq!(a.len(), 3); // what came before is there
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`append_from`](Self::append_from), and the first error of `chunks`, after which it is not asked again.
    pub fn try_append_from<S: Data<Elem = T>, E: From<Error>>(
        &mut self,
        axis: Axis,
        chunks: impl IntoIterator<Item = Result<ArrayBase<S, D>, E>>,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), E> {
        let before = self.nbytes();
        for chunk in chunks {
            self.append(axis, chunk?.view())?;
            progress(Progress::new((self.nbytes() - before) as u64, 0));
        }
        Ok(())
    }

    /// Overwrites all rows, front to back, with those of `chunks`, one chunk after the other. Together they have as many
    /// rows as the array. `progress` hears of the bytes after each, of all that there are.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ndarray::Array2;
    ///
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<f32, _>("a", (10_000, 100))?;
    /// a.assign_from((0..10).map(|n| Array2::from_elem((1000, 100), n as f32)), |_| {})?;
    /// assert_eq!(a.view()[[9999, 0]], 9.0);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) for a chunk whose rows are not the array's, or that has more of them
    /// than are left, and if rows are left in the end; as [`rows_mut`](Self::rows_mut). The chunks before are assigned
    /// then, and nothing of the one that failed.
    pub fn assign_from<S: Data<Elem = T>>(
        &mut self,
        chunks: impl IntoIterator<Item = ArrayBase<S, D>>,
        progress: impl FnMut(Progress),
    ) -> Result<()> {
        self.try_assign_from(chunks.into_iter().map(Ok), progress)
    }

    /// The same from an iterator that may fail.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{Error, ndarray::Array1};
    ///
    /// let txn = db.begin()?;
    /// let mut a = txn.create::<u32, _>("a", 4)?;
    /// let chunks = (0..2).map(|n| Ok::<_, Error>(Array1::from_elem(2, n)));
    /// a.try_assign_from(chunks, |_| ())?;
    /// assert_eq!(a.view().sum(), 2);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`assign_from`](Self::assign_from), and the first error of `chunks`.
    pub fn try_assign_from<S: Data<Elem = T>, E: From<Error>>(
        &mut self,
        chunks: impl IntoIterator<Item = Result<ArrayBase<S, D>, E>>,
        mut progress: impl FnMut(Progress),
    ) -> Result<(), E> {
        let (total, mut next) = (self.nbytes() as u64, 0);
        for chunk in chunks {
            next = self.assign_rows(next, &chunk?.view())?;
            progress(Progress::new((next * self.source.descriptor().row_bytes()) as u64, total));
        }
        let rows = self.source.descriptor().rows();
        if next < rows {
            let (name, shape) = (self.name(), self.shape());
            let why = format!("array {name:?} of shape {shape:?}: the chunks have {next} of its {rows} rows");
            return Err(Error::new(ErrorKind::ShapeMismatch, why).into());
        }
        Ok(())
    }

    /// Overwrites the rows from `first` on. The first behind them.
    fn assign_rows(&mut self, first: usize, chunk: &ArrayView<'_, T, D>) -> Result<usize> {
        let Some(axis) = self.source.descriptor().growth_axis().map(Axis) else {
            self.rows_mut(first..first + 1)?.assign(chunk);
            return Ok(first + 1);
        };
        self.check_rows(axis, chunk.shape())?;
        let end = first + chunk.len_of(axis);
        if end > self.source.descriptor().rows() {
            let (name, shape, rows) = (self.name(), self.shape(), chunk.len_of(axis));
            let why = format!("array {name:?} of shape {shape:?} has no {rows} rows from row {first} on");
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        self.copy_rows(axis, first..end, chunk)?;
        Ok(end)
    }
}
