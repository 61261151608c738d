//! What handles read and ask without knowing the type of the elements.

/// The methods that read and need no type, for a handle with the field `source`.
macro_rules! reading {
    () => {
        /// The array's name.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.name(), "grid");
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn name(&self) -> &str {
            self.source.name()
        }

        /// NumPy's name of the element type: `<f8`, or a list of fields as in the header of a `.npy` file.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.dtype(), "<f4");
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn dtype(&self) -> &str {
            &self.source.descriptor().dtype
        }

        /// Length of each axis.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.shape(), [40, 30]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn shape(&self) -> &[usize] {
            &self.source.descriptor().shape
        }

        /// Length of `axis`.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.len_of(bigarray::ndarray::Axis(1)), 30);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Panics
        /// If there is no such axis.
        pub fn len_of(&self, axis: ndarray::Axis) -> usize {
            self.shape()[axis.index()]
        }

        /// How many axes there are.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.ndim(), 2);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn ndim(&self) -> usize {
            self.shape().len()
        }

        /// How many elements there are.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.len(), 40 * 30);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn len(&self) -> usize {
            self.shape().iter().product()
        }

        /// Whether there are no elements.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert!(!grid.is_empty());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Order of the elements: which axis is contiguous, and along which the array grows.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.order(), bigarray::ndarray::Order::RowMajor);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn order(&self) -> ndarray::Order {
            crate::info::to_ndarray(self.source.descriptor().order)
        }

        /// Bytes of all elements. Holes count, so it may be far more than is stored.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.nbytes(), 40 * 30 * 4);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn nbytes(&self) -> usize {
            self.source.descriptor().nbytes()
        }

        /// All that is known of the array but its elements and attributes.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.info().block_size, 2 << 20);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn info(&self) -> crate::ArrayInfo {
            crate::ArrayInfo::new(self.source.name(), self.source.descriptor())
        }

        /// The array's attributes.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// db.transact(|txn| txn.any_array("grid")?.set_attr("unit", "K".into()))?;
        /// let grid = db.any_array("grid")?;
        /// assert_eq!(grid.attrs()["unit"], "K");
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn attrs(&self) -> &serde_json::Map<String, serde_json::Value> {
            self.source.attrs()
        }

        /// Ranges of the growth axis, each about a block of storage, for [`rows`](crate::BigArray::rows).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// let mut sum = 0.0;
        /// for rows in grid.blocks() {
        ///     sum += grid.rows(rows)?.sum();
        /// }
        /// assert_eq!(sum, 600.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn blocks(&self) -> crate::Blocks {
            crate::Blocks::new(self.source.descriptor())
        }

        /// Loads the rows `range` now. What goes wrong comes back as a value, where a touch of the page would end the
        /// process.
        ///
        /// Needed before a system call is handed a view's memory (`file.write_all(bytes_of_a_view)`) in a process that
        /// gets page faults of user code only ([which processes](crate::guide::safety#what-linux-lets-a-process-do)).
        /// [`is_resident`](Self::is_resident) tells whether rows are in memory. [`write_to`](Self::write_to) does it by
        /// itself. Blocks that it loads count against the memory budget: where that is short, blocks of a few prefetched
        /// rows may be gone again by the time of the call, which then fails with EFAULT and can be tried again.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// grid.prefetch(10..20)?;
        /// assert_eq!(grid.rows(10..20)?.sum(), 150.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there, and whatever storage
        /// reports.
        pub fn prefetch(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<()> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here(&self.source)?.prefetch(bytes)
        }

        /// Begins to load the rows `range` and returns at once. Other threads load them side by side, while this one does
        /// something else, and half of them stay free for threads that touch an array. From object storage that hides the time that an answer
        /// takes.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (1000, 100))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// let mut sum = 0.0;
        /// let mut next = grid.prefetch_ahead(..100)?;
        /// for start in (0..1000).step_by(100) {
        ///     next.wait()?; // an error of storage is a value here
        ///     next = grid.prefetch_ahead(1000.min(start + 100)..1000.min(start + 200))?;
        ///     sum += grid.rows(start..start + 100)?.sum();
        /// }
        /// assert_eq!(sum, 50_000.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// The handle need not be kept, and does not borrow the array: the prefetch goes on when it is dropped, and ends when
        /// the array is closed.
        ///
        /// Of the [memory budget](crate::OpenOptions::memory_budget) it takes half at most, for blocks that it copies or
        /// decompresses. Where the budget is full, blocks give way for an eighth of it at most: none that was loaded since the
        /// prefetch began or shortly before, and none that was written to. Then it ends. Mapped blocks take no budget, and are
        /// read into the page cache, all of them.
        ///
        /// Without page faults ([`FaultMode`](crate::FaultMode)) blocks are in memory or mapped once the array is open. What
        /// is mapped is read into the page cache then, by one thread.
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there;
        /// [`TooLarge`](crate::ErrorKind::TooLarge) where no addresses are left for them. What storage reports is told by
        /// [`Prefetch::wait`](crate::Prefetch::wait).
        pub fn prefetch_ahead(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<crate::Prefetch> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here(&self.source)?.prefetch_ahead(bytes).map(crate::Prefetch::new)
        }

        /// Bytes of the rows `range` that an access finds in memory, so that it waits for no storage: blocks that were
        /// copied, holes that were touched, and of mapped blocks the pages in the page cache. It may change at any moment.
        ///
        /// Where this process may not write to the data file, Linux does not tell what is in the page cache: then all of a
        /// mapped block counts.
        ///
        /// ```
        /// # use bigarray::{Database, ndarray::Ix2};
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("A", (1000, 100))?.view_mut().fill(0.5); Ok(()) })?;
        /// let a = db.array::<f32, Ix2>("A")?;
        /// a.prefetch(10..20)?;
        /// assert_eq!(a.resident_bytes(10..20)?, 4000);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there, and whatever the system reports.
        pub fn resident_bytes(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<usize> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here(&self.source)?.resident_bytes(bytes)
        }

        /// Whether all of the rows `range` are in memory; see [`resident_bytes`](Self::resident_bytes).
        ///
        /// ```
        /// # use bigarray::{Database, ndarray::Ix2};
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("A", (1000, 100))?.view_mut().fill(0.5); Ok(()) })?;
        /// let a = db.array::<f32, Ix2>("A")?;
        /// if !a.is_resident(10..20)? {
        ///     a.prefetch(10..20)?;
        /// }
        /// assert!(a.is_resident(10..20)?);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`resident_bytes`](Self::resident_bytes).
        pub fn is_resident(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<bool> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            let len = bytes.len();
            Ok(crate::view::here(&self.source)?.resident_bytes(bytes)? == len)
        }

        /// Whether anything was ever written to the rows `range`, as far as blocks tell: a block counts as written when
        /// anything of it was. What was not written is the [fill value](crate::ArrayOptions::fill), or zero. Writing just
        /// that may not count. In a transaction what it has written counts, too, and has to be looked for. On object storage
        /// the blocks of a chunk are stored together, and count together.
        ///
        /// ```
        /// # use bigarray::{ArrayOptions, Database, ndarray::Ix2};
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = Database::open(dir.path().join("a.bigarray"))?;
        /// let options = ArrayOptions::new().fill(f64::NAN).block_size(64 << 10); // 8 rows
        /// db.transact(|txn| {
        ///     let mut a = txn.create_with::<f64, _>("A", (100, 1024), &options)?;
        ///     a.rows_mut(20..21)?.fill(1.5);
        ///     Ok(())
        /// })?;
        /// let a = db.array::<f64, Ix2>("A")?;
        /// assert_eq!([0..1, 20..21, 23..24, 0..100].map(|rows| a.is_written(rows).unwrap()), [false, true, true, true]);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there, and whatever storage reports.
        pub fn is_written(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<bool> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here(&self.source)?.is_written(bytes)
        }

        /// Whether a system call may be handed the memory of this array's views. If not, one that meets a page that is
        /// not in memory fails with EFAULT: copy the bytes to memory of your own first, or [`prefetch`](Self::prefetch)
        /// them and try again where the call fails. [`write_to`](Self::write_to) and [`write_npy`](Self::write_npy) work
        /// either way.
        ///
        /// It depends on the process and its system, not on the array; see [safety](crate::guide::safety).
        ///
        /// ```
        /// # use std::io::Write;
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| txn.create::<u8, _>("text", 5000).map(drop))?;
        /// let text = db.array::<u8, bigarray::ndarray::Ix1>("text")?;
        /// let view = text.view();
        /// let bytes = view.as_slice().unwrap();
        /// # let mut file = tempfile::tempfile().unwrap();
        /// if text.is_safe_for_system_calls() {
        ///     file.write_all(bytes).unwrap();
        /// } else {
        ///     file.write_all(&bytes.to_vec()).unwrap();
        /// }
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn is_safe_for_system_calls(&self) -> bool {
            self.source.waits_in_system_calls()
        }

        /// Writes all elements to `out`: raw bytes in storage order, loaded piece by piece, and ahead of writing.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// let mut bytes = Vec::new();
        /// grid.write_to(&mut bytes)?;
        /// assert_eq!(bytes, grid.row_bytes(..)?);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// Whatever storage or `out` reports.
        pub fn write_to(&self, out: &mut (impl std::io::Write + ?Sized)) -> crate::Result<()> {
            crate::handle::write_out::write_to(&self.source, out)
        }

        /// Writes the array to the file `path` in NumPy's format (`.npy`), which `numpy.load` reads, loaded piece by
        /// piece, and ahead of writing. A file that is there is replaced at the end, when the new one is whole and synced, and its permissions
        /// stay. [`Transaction::read_npy`](crate::Transaction::read_npy) is the way back, with an example.
        ///
        /// In a transaction what it has changed is written, too, though it may never be committed.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// grid.write_npy(dir.path().join("grid.npy"))?;
        /// assert_eq!(std::fs::metadata(dir.path().join("grid.npy")).unwrap().len() % 64, 0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`Unsupported`](crate::ErrorKind::Unsupported) for elements that NumPy does not have (integers of 16 bytes,
        /// bfloat16), and whatever storage or the file system report.
        pub fn write_npy(&self, path: impl AsRef<std::path::Path>) -> crate::Result<()> {
            crate::handle::write_out::write_npy(&self.source, path.as_ref())
        }

        /// The same to any writer.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.any_array("grid")?;
        /// let mut file = Vec::new();
        /// grid.write_npy_to(&mut file)?;
        /// assert_eq!(&file[..6], b"\x93NUMPY");
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`write_npy`](Self::write_npy).
        pub fn write_npy_to(&self, out: &mut (impl std::io::Write + ?Sized)) -> crate::Result<()> {
            crate::handle::write_out::write_npy_to(&self.source, out)
        }
    };
}

pub(crate) use reading;
