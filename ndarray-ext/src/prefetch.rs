//! A prefetch that goes on by itself, as its handle.

use std::fmt;

use bigarray_core::Result;

use crate::process::OfProcess;

/// A prefetch that goes on by itself, begun by [`BigArray::prefetch_ahead`](crate::BigArray::prefetch_ahead).
///
/// ```
/// # use bigarray::{Database, ndarray::Ix1};
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { for name in ["A", "B"] { txn.create::<f64, _>(name, 1000)?.view_mut().fill(0.5); } Ok(()) })?;
/// let (a, b) = (db.array::<f64, Ix1>("A")?, db.array::<f64, Ix1>("B")?);
/// let next = b.prefetch_ahead(..)?; // is loaded while this thread works on `a`
/// let first = a.view().sum();
/// next.wait()?;
/// assert_eq!(first + b.view().sum(), 1000.0);
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// It borrows nothing, and keeps nothing open. Dropping it is harmless: the prefetch goes on. It ends when its rows are
/// loaded, and without an error earlier than that
///
/// - when the array is closed, also by the end of its transaction, and when the array becomes shorter;
/// - when its share of the [memory budget](crate::OpenOptions::memory_budget) is used up;
/// - when it is [cancelled](Prefetch::cancel).
pub struct Prefetch(OfProcess<bigarray_core::Prefetch>);

impl Prefetch {
    pub(crate) fn new(begun: bigarray_core::Prefetch) -> Prefetch {
        Prefetch(OfProcess::new(begun))
    }

    /// Waits for the end of the prefetch. Signal handlers run meanwhile; they must not use this prefetch. It can be called
    /// again, and by several threads.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix2};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("A", (100, 100))?.view_mut().fill(0.5); Ok(()) })?;
    /// let a = db.array::<f32, Ix2>("A")?;
    /// a.prefetch_ahead(..)?.wait()?;
    /// assert!(a.is_resident(..)?);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// The first failure to load a block. Other rows may not be loaded then. Nothing else comes of it: a later access to the
    /// block tries again. [`InUse`](crate::ErrorKind::InUse) in a forked process.
    pub fn wait(&self) -> Result<()> {
        self.0.check("a prefetch")?;
        self.0.wait()
    }

    /// Whether [`wait`](Prefetch::wait) returns at once.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix2};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("A", (100, 100))?.view_mut().fill(0.5); Ok(()) })?;
    /// # let a = db.array::<f32, Ix2>("A")?;
    /// let prefetch = a.prefetch_ahead(..)?;
    /// while !prefetch.is_done() {
    ///     std::thread::yield_now(); // or something useful
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn is_done(&self) -> bool {
        !self.0.is_here() || self.0.is_done()
    }

    /// Ends the prefetch early. What is being loaded at the moment is loaded, a few MiB at most.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix2};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("A", (100, 100))?.view_mut().fill(0.5); Ok(()) })?;
    /// # let a = db.array::<f32, Ix2>("A")?;
    /// let prefetch = a.prefetch_ahead(..)?;
    /// prefetch.cancel(); // the user went on to another picture
    /// prefetch.wait()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn cancel(&self) {
        if self.0.is_here() {
            self.0.cancel();
        }
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch").field("is_done", &self.is_done()).finish()
    }
}
