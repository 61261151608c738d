//! What [`BigArray`](crate::BigArray) and [`BigArrayMut`](crate::BigArrayMut) have in common.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bigarray_core::{Error, Result, signals};

use crate::npy::header_of;
use crate::process::OfProcess;
use crate::view::{self, Source};

/// Bytes that [`write_to`] hands over at a time.
const PIECE: usize = 2 << 20;

/// Writes all bytes out, each piece prefetched: an error of storage comes back as a value, and a system call never
/// meets a page that is not there.
pub(crate) fn write_to(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let room = if source.waits_in_system_calls() { 0 } else { PIECE.min(source.descriptor().nbytes()) };
    // A handler that touches a view must not interrupt an allocation: what loads its page allocates, too.
    let held = signals::hold();
    let mut piece = Vec::with_capacity(room);
    drop(held);
    let written = write_pieces(source, out, &mut piece);
    let _held = signals::hold();
    drop(piece);
    written
}

fn write_pieces(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized), piece: &mut Vec<u8>) -> Result<()> {
    let end = source.descriptor().nbytes();
    for start in (0..end).step_by(PIECE) {
        let range = start..end.min(start + PIECE);
        view::here(source)?.prefetch(range.clone())?;
        let bytes = view::bytes(source, range.clone())?;
        let written = if source.waits_in_system_calls() {
            signals::let_through(|| out.write_all(bytes))
        } else {
            // Where memory is short they may be gone again by the time `out` hands them to the system.
            piece.clear();
            piece.extend_from_slice(bytes);
            signals::let_through(|| out.write_all(piece))
        };
        written
            .map_err(|e| Error::io(format_args!("array {:?}: writing out its bytes {range:?}", source.name()), e))?;
    }
    Ok(())
}

/// Writes the array to `out`, in NumPy's format.
pub(crate) fn write_npy_to(source: &OfProcess<impl Source>, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let _held = signals::hold_between_waits();
    let header = header_of(source.name(), source.descriptor())?;
    let failed = |e| Error::io(format_args!("array {:?}: writing the header of NumPy's format", source.name()), e);
    out.write_all(&header).map_err(failed)?;
    write_to(source, out)
}

/// The same to a file, of another name first, so that none that is there is ever half of an array. It is synced before it
/// gets its name: some file systems tell only then that they had no room. What is no file, as a pipe, is written to.
pub(crate) fn write_npy(source: &OfProcess<impl Source>, path: &Path) -> Result<()> {
    let _held = signals::hold_between_waits();
    header_of(source.name(), source.descriptor())?; // which may be refused, before anything is made
    let failed = |e| Error::io(format_args!("array {:?}: writing {}", source.name(), path.display()), e);
    let there = fs::metadata(path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(failed)?);
        write_npy_to(source, &mut out)?;
        return out.flush().map_err(failed);
    }
    // Where a link leads, and beside that: a rename moves nothing between file systems.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = there.map_or_else(|| Permissions::from_mode(0o666), |there| there.permissions());
    let mut part = tempfile::Builder::new();
    let part = part.prefix(".bigarray-").suffix(".npy.part").permissions(permissions);
    let mut out = BufWriter::new(part.tempfile_in(folder).map_err(failed)?);
    write_npy_to(source, &mut out)?;
    let part = out.into_inner().map_err(|e| failed(e.into_error()))?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(&path).map(drop).map_err(|e| failed(e.error))
}

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
        /// may not receive the kernel's own faults; see the crate's page. [`write_to`](Self::write_to) does it by
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

        /// Writes all elements to `out`: raw bytes in storage order, loaded piece by piece.
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
            crate::handle::write_to(&self.source, out)
        }

        /// Writes the array to the file `path` in NumPy's format (`.npy`), which `numpy.load` reads, loaded piece by
        /// piece. A file that is there is replaced at the end, when the new one is whole and synced, and its permissions
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
            crate::handle::write_npy(&self.source, path.as_ref())
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
            crate::handle::write_npy_to(&self.source, out)
        }
    };
}

/// The methods that read elements of a type `T` in `D` dimensions, for the same.
macro_rules! viewing {
    () => {
        pub(crate) fn layout(&self) -> crate::layout::Layout<'_, D> {
            crate::layout::Layout::new(self.source.name(), self.source.descriptor())
        }

        /// Length of each axis, as ndarray's `dim` gives it: a number, a tuple, or for `IxDyn` an array of numbers.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| txn.create::<f32, _>("grid", (40, 30)).map(drop))?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// let (rows, columns) = grid.dim();
        /// assert_eq!((rows, columns), (40, 30));
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn dim(&self) -> D::Pattern {
            self.layout().dim().into_pattern()
        }

        /// The whole array, as ndarray sees it. Costs nothing: pages are loaded when they are touched.
        ///
        /// ndarray's `sum`, `mean`, `std` and `product` of a view add up in the type of its elements, which for `f32` and
        /// `f16` is far too little for millions of them. [`sum`](Self::sum), [`mean`](Self::mean), [`std`](Self::std) and
        /// others of the array itself are right, and use all processors.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// assert_eq!(grid.view().row(3).sum(), 15.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Panics
        /// If no address range of that size can be had, and in a process forked from the one that opened the array
        /// ([`rows`](Self::rows) says so as an error).
        pub fn view(&self) -> ndarray::ArrayView<'_, T, D> {
            crate::view::shared(&self.source, &self.layout().whole())
                .unwrap_or_else(|error| crate::view::no_view(&error))
        }

        /// The rows `range`: consecutive slices along the growth axis, which is the first of a row-major array and the
        /// last of a column-major one. An array of dimension 0 is one row.
        ///
        /// Rows are one run of bytes, the cheapest part to read; see the [table](crate::guide::view#order-and-cost).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// assert_eq!(grid.rows(10..20)?.dim(), (10, 30));
        /// assert_eq!(grid.rows(..)?.sum(), 600.0);
        /// assert!(grid.rows(35..45).unwrap_err().is_shape_mismatch());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there,
        /// [`TooLarge`](crate::ErrorKind::TooLarge) if no address range can be had; [`InUse`](crate::ErrorKind::InUse)
        /// in a process forked from the one that opened the array.
        pub fn rows(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<ndarray::ArrayView<'_, T, D>> {
            crate::view::shared(&self.source, &self.layout().window(range)?)
        }
    };
}

/// The methods that change and need no type, for a handle with a [`Writer`](bigarray_core::Writer) as its field
/// `source`.
macro_rules! changing {
    () => {
        /// Spills the changes: writes them to the data file before the commit, and frees their memory. No snapshot shows
        /// them before the transaction has committed; if it aborts, or its process is killed, the space is used again.
        ///
        /// Never needed for correctness: spilled pages are loaded again when they are touched. It keeps memory small
        /// between two steps of a job whose changes are to *stored* blocks, which otherwise stay in memory as long as a
        /// view of them lives (see [`memory_budget`](crate::OpenOptions::memory_budget)), and makes the commit short.
        ///
        /// ```
        /// use bigarray::{Database, ndarray::Ix2};
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("in", (100_000, 32))?.view_mut().fill(0.5); Ok(()) })?;
        /// let txn = db.begin()?;
        /// let input = txn.array::<f32, Ix2>("in")?;
        /// let mut out = txn.create::<f32, _>("out", (100_000, 32))?;
        /// for (n, rows) in input.blocks().enumerate() {
        ///     out.rows_mut(rows.clone())?.zip_mut_with(&input.rows(rows)?, |out, x| *out = x * 2.0);
        ///     if n % 64 == 63 {
        ///         out.flush()?;
        ///     }
        /// }
        /// drop((input, out));
        /// txn.commit()?;
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// A view cannot outlive it:
        ///
        /// ```compile_fail,E0499
        /// # let db = bigarray::Database::open("a.bigarray").unwrap();
        /// let txn = db.begin().unwrap();
        /// let mut a = txn.create::<f64, _>("A", 10).unwrap();
        /// let mut view = a.view_mut();
        /// a.flush().unwrap();
        /// view[0] = 1.0;
        /// ```
        ///
        /// # Errors
        /// [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports, also of a page that could not be
        /// loaded earlier. The changes are still there.
        pub fn flush(&mut self) -> crate::Result<()> {
            crate::view::here_mut(&mut self.source)?.flush()
        }

        /// Says that the commit relies on the rows `range` being as this transaction saw them: it
        /// [conflicts](crate::ErrorKind::Conflict) if another one has meanwhile changed them, written zeros to them, or
        /// shrunk, reshaped, renamed or removed the array. Rows that are only read do not count otherwise, which allows [write
        /// skew](crate::guide::conflict#what-was-only-read). Holds until the transaction ends, also once the array is closed; a
        /// [rollback](crate::Transaction::rollback) forgets what was said since its savepoint.
        ///
        /// The blocks that the rows lie in are compared, so a change of other rows of these blocks conflicts, too; so does
        /// an append to the block that the rows end in. Rows appended behind that block and attributes set do not. A
        /// transaction that changes nothing may depend on rows as well: if its commit passes, they were unchanged all
        /// along.
        ///
        /// ```
        /// use bigarray::{Database, ndarray::Ix1};
        ///
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| {
        /// #     txn.create::<f64, _>("prices", 100)?.view_mut().fill(2.0);
        /// #     txn.create::<f64, _>("bill", 1)?;
        /// #     Ok(())
        /// # })?;
        /// let txn = db.begin()?;
        /// let mut prices = txn.array::<f64, Ix1>("prices")?;
        /// prices.depend_on(10..20)?;
        /// txn.array::<f64, Ix1>("bill")?.view_mut()[0] = prices.rows(10..20)?.sum();
        /// drop(prices);
        /// db.transact(|other| Ok(other.array::<f64, Ix1>("prices")?.view_mut()[15] = 3.0))?;
        /// assert!(txn.commit().unwrap_err().is_conflict()); // the bill would be wrong
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`rows`](crate::BigArrayMut::rows) for rows that there are not.
        pub fn depend_on(&mut self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<()> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here_mut(&mut self.source)?.depend_on(bytes);
            Ok(())
        }

        /// Says how the array will be read, until the transaction ends; see [`BigArray::advise`](crate::BigArray::advise).
        /// Views may live.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let txn = db.begin()?;
        /// let grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// grid.advise(bigarray::Access::Random);
        /// assert_eq!(grid.view()[[17, 4]], 0.5);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn advise(&self, access: crate::Access) {
            if self.source.is_here() {
                self.source.advise(access);
            }
        }

        /// Sets an attribute: any JSON value.
        ///
        /// **JSON has no NaN and no infinity, and `serde_json` makes `null` of them**, in `json!` and `Value::from`, before
        /// bigarray sees them. [`set_attr_number`](Self::set_attr_number) refuses them instead.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// use bigarray::serde_json::json;
        ///
        /// # let txn = db.begin()?;
        /// let mut sst = txn.create::<f32, _>("sst", (60, 12))?;
        /// sst.set_attr("unit", "K".into())?;
        /// sst.set_attr("range", json!({ "from": 271.0, "to": 305.0 }))?;
        /// assert_eq!(sst.attrs()["range"]["to"], 305.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// Conflicts with another transaction that set the same attribute of the array, whatever to, or that removed or
        /// renamed the array, with no other.
        ///
        /// # Errors
        /// [`Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 255 bytes or has control
        /// characters; [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
        pub fn set_attr(&mut self, key: &str, value: serde_json::Value) -> crate::Result<()> {
            crate::view::here_mut(&mut self.source)?.set_attr(key, value)
        }

        /// Sets an attribute to a number, which JSON has.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # let txn = db.begin()?;
        /// let mut sst = txn.create::<f32, _>("sst", (60, 12))?;
        /// sst.set_attr_number("scale", 0.01)?;
        /// assert!(sst.set_attr_number("missing", f32::NAN).unwrap_err().is_invalid());
        /// sst.set_attr("missing", "NaN".into())?; // as Zarr has it
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`Invalid`](crate::ErrorKind::Invalid) for NaN and infinities; as [`set_attr`](Self::set_attr).
        pub fn set_attr_number(&mut self, key: &str, number: impl Into<f64>) -> crate::Result<()> {
            let number = number.into();
            let Some(json) = serde_json::Number::from_f64(number) else {
                let name = self.name();
                let why = format!(
                    "array {name:?}: attribute {key:?} cannot be {number}, which JSON does not have; store it as a text, \
                     {:?}",
                    number.to_string()
                );
                return Err(crate::Error::new(crate::ErrorKind::Invalid, why));
            };
            self.set_attr(key, json.into())
        }

        /// Removes an attribute, and returns what it was; `None` if there is none of that name, which changes nothing.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// let txn = db.begin()?;
        /// let mut sst = txn.create::<f32, _>("sst", 12)?;
        /// sst.set_attr("unit", "K".into())?;
        /// assert_eq!(sst.remove_attr("unit")?, Some("K".into()));
        /// assert!(sst.attrs().is_empty());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// Conflicts as [`set_attr`](Self::set_attr) does.
        ///
        /// # Errors
        /// [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
        pub fn remove_attr(&mut self, key: &str) -> crate::Result<Option<serde_json::Value>> {
            Ok(crate::view::here_mut(&mut self.source)?.remove_attr(key))
        }
    };
}

/// `Debug` that loads nothing and prints no element.
macro_rules! debug {
    ($handle:literal) => {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct($handle)
                .field("name", &self.source.name())
                .field("dtype", &self.source.descriptor().dtype)
                .field("shape", &self.source.descriptor().shape)
                .field("order", &self.source.descriptor().order)
                .finish()
        }
    };
}

pub(crate) use {changing, debug, reading, viewing};
