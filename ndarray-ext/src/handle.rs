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

/// The methods that read, for a handle with the field `source`.
macro_rules! reading {
    () => {
        pub(crate) fn layout(&self) -> crate::layout::Layout<'_, D> {
            crate::layout::Layout::new(self.source.name(), self.source.descriptor())
        }

        /// The array's name.
        pub fn name(&self) -> &str {
            self.source.name()
        }

        /// Length of each axis.
        pub fn shape(&self) -> &[usize] {
            &self.source.descriptor().shape
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

        /// Length of `axis`.
        ///
        /// # Panics
        /// If there is no such axis.
        pub fn len_of(&self, axis: ndarray::Axis) -> usize {
            self.shape()[axis.index()]
        }

        /// How many axes there are.
        pub fn ndim(&self) -> usize {
            self.shape().len()
        }

        /// How many elements there are.
        pub fn len(&self) -> usize {
            self.shape().iter().product()
        }

        /// Whether there are no elements.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Order of the elements: which axis is contiguous, and along which the array grows.
        pub fn order(&self) -> ndarray::Order {
            crate::info::to_ndarray(self.source.descriptor().order)
        }

        /// Bytes of all elements. Holes count, so it may be far more than is stored.
        pub fn nbytes(&self) -> usize {
            self.source.descriptor().nbytes()
        }

        /// All that is known of the array but its elements and attributes.
        pub fn info(&self) -> crate::ArrayInfo {
            crate::ArrayInfo::new(self.source.name(), self.source.descriptor())
        }

        /// The array's attributes.
        pub fn attrs(&self) -> &serde_json::Map<String, serde_json::Value> {
            self.source.attrs()
        }

        /// The whole array, as ndarray sees it. Costs nothing: pages are loaded when they are touched.
        ///
        /// ndarray's `sum`, `mean`, `std` and `product` of a view add up in the type of its elements, which for `f32` and
        /// `f16` is far too little for millions of them. [`sum`](Self::sum), [`mean`](Self::mean), [`std`](Self::std) and
        /// others of the array itself are right, and use all processors.
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
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there,
        /// [`TooLarge`](crate::ErrorKind::TooLarge) if no address range can be had; [`InUse`](crate::ErrorKind::InUse)
        /// in a process forked from the one that opened the array.
        pub fn rows(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<ndarray::ArrayView<'_, T, D>> {
            crate::view::shared(&self.source, &self.layout().window(range)?)
        }

        /// Ranges of the growth axis, each about a block of storage, for [`rows`](Self::rows).
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
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there, and whatever storage
        /// reports.
        pub fn prefetch(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<()> {
            crate::view::here(&self.source)?.prefetch(self.layout().bytes(range)?)
        }

        /// Writes all elements to `out`: raw bytes in storage order, loaded piece by piece.
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
        /// # Errors
        /// [`Unsupported`](crate::ErrorKind::Unsupported) for elements that NumPy does not have (integers of 16 bytes,
        /// bfloat16), and whatever storage or the file system report.
        pub fn write_npy(&self, path: impl AsRef<std::path::Path>) -> crate::Result<()> {
            crate::handle::write_npy(&self.source, path.as_ref())
        }

        /// The same to any writer.
        ///
        /// # Errors
        /// As [`write_npy`](Self::write_npy).
        pub fn write_npy_to(&self, out: &mut (impl std::io::Write + ?Sized)) -> crate::Result<()> {
            crate::handle::write_npy_to(&self.source, out)
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

pub(crate) use {debug, reading};
