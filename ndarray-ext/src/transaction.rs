//! The handle of a transaction: arrays are created, opened, renamed and removed in it, and committed together.

use std::fmt;
use std::sync::Arc;

use bigarray_core::store::CommitLock;
use bigarray_core::{ArrayId, Descriptor, Result, Savepoint, Version, signals};
use ndarray::{Dimension, IntoDimension};

use crate::array_mut::BigArrayMut;
use crate::element::Element;
use crate::home::Home;
use crate::info::ArrayInfo;
use crate::options::ArrayOptions;
use crate::process::OfProcess;

/// A snapshot with private changes on top, which become visible all at once or not at all.
///
/// Dropping it without [`commit`](Transaction::commit), also by a panic, discards them. Arrays open in it borrow it, so
/// it cannot end while they live:
///
/// ```compile_fail,E0505
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// txn.commit().unwrap();
/// a.view_mut()[0] = 1.0;
/// ```
///
/// ```compile_fail,E0597
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let a = {
///     let txn = db.begin().unwrap();
///     txn.create::<f64, _>("A", 10).unwrap()
/// };
/// ```
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction {
    home: Arc<Home>,
    inner: OfProcess<bigarray_core::Transaction>,
}

impl Transaction {
    pub(crate) fn new(home: Arc<Home>, inner: bigarray_core::Transaction) -> Transaction {
        Transaction { home, inner: OfProcess::new(inner) }
    }

    /// Creates a row-major array of zeros. It costs no storage until it is written to.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.create::<f64, _>("grid", (1000, 1000))?.view_mut()[[3, 4]] = 1.5;
    /// txn.create::<u8, _>("log", 0)?;
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists), [`TooLarge`](crate::ErrorKind::TooLarge) for a shape of more
    /// than `isize::MAX` bytes, [`Invalid`](crate::ErrorKind::Invalid) for a name that is empty, longer than 255 bytes
    /// or has control characters.
    pub fn create<T: Element, Sh: IntoDimension>(&self, name: &str, shape: Sh) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.create_with(name, shape, &ArrayOptions::new())
    }

    /// The same with another order, block size or codec.
    ///
    /// # Errors
    /// As [`create`](Transaction::create); [`Invalid`](crate::ErrorKind::Invalid) for a block size or compression level
    /// that is none, [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that is not compiled in.
    pub fn create_with<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.create_dim(name, shape.into_dimension(), options)
    }

    /// The same with a dimension that is none of another type.
    pub(crate) fn create_dim<T: Element, D: Dimension>(
        &self,
        name: &str,
        shape: D,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, D>> {
        let _held = signals::hold_between_waits();
        self.check_change(format_args!("create array {name:?}"))?;
        let (order, block_size, codec) = options.checked().map_err(|e| e.context(format_args!("array {name:?}")))?;
        let descriptor = Descriptor {
            id: ArrayId(0), // given by the commit
            dtype: T::dtype(),
            item_size: size_of::<T>(),
            shape: shape.slice().to_vec(),
            order,
            block_size,
            codec,
            changed: Version(0),
            reshaped: Version(0),
            named: Version(0),
        };
        BigArrayMut::new(self.inner.create(name, descriptor)?)
    }

    /// Opens the array `name`, whose elements are of type `T` and which has the dimension `D`; `IxDyn` opens any.
    /// Several arrays can be open at once, each once.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch),
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if the dimension is another,
    /// [`InUse`](crate::ErrorKind::InUse) if it is open already, [`Unsupported`](crate::ErrorKind::Unsupported) if its
    /// codec is not compiled in.
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArrayMut<'_, T, D>> {
        self.home.check_process()?;
        BigArrayMut::new(self.inner.open(name)?)
    }

    /// Opens the array `name`, or creates it with `shape` if there is none. An array that is there keeps its shape, which
    /// may have grown.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ndarray::{Axis, aview1};
    ///
    /// for _ in 0..2 {
    ///     db.transact(|txn| txn.open_or_create::<u64, _>("log", 0)?.append(Axis(0), aview1(&[1, 2, 3])))?;
    /// }
    /// # assert_eq!(db.array::<u64, bigarray::ndarray::Ix1>("log")?.len(), 6);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array) for one that is there, but for *not found*; as [`create`](Transaction::create)
    /// for one that is not.
    pub fn open_or_create<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.open_or_create_with(name, shape, &ArrayOptions::new())
    }

    /// The same; one that is created has these options.
    ///
    /// # Errors
    /// As [`open_or_create`](Transaction::open_or_create), and as [`create_with`](Transaction::create_with).
    pub fn open_or_create_with<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        match self.array(name) {
            Err(error) if error.is_not_found() => self.create_with(name, shape, options),
            opened => opened,
        }
    }

    /// Removes an array.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`InUse`](crate::ErrorKind::InUse) if it is open.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.check_change(format_args!("remove array {name:?}"))?;
        self.inner.remove(name)
    }

    /// Gives an array another name.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`AlreadyExists`](crate::ErrorKind::AlreadyExists),
    /// [`InUse`](crate::ErrorKind::InUse) if it is open, [`Invalid`](crate::ErrorKind::Invalid) as for
    /// [`create`](Transaction::create).
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.check_change(format_args!("rename array {from:?}"))?;
        self.inner.rename(from, to)
    }

    /// Every array as this transaction sees them, in order of names.
    ///
    /// # Errors
    /// What storage reports.
    pub fn arrays(&self) -> Result<Vec<ArrayInfo>> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        Ok(self.inner.arrays()?.iter().map(|(name, descriptor)| ArrayInfo::new(name, descriptor)).collect())
    }

    /// The state that the transaction is in now, to [go back to](Transaction::rollback): bytes, shapes and attributes
    /// of all arrays, and which there are. No array may be open, which the borrow checker sees to.
    ///
    /// All changes so far are spilled: they go to the data file, where no snapshot shows them, and leave memory. So a
    /// savepoint writes the changes since the last one, and keeps a list of all blocks that the transaction has
    /// changed, about 150 bytes each, which no budget counts. Savepoints nest: going back to one releases it and the
    /// later ones. A dropped one is released, too.
    ///
    /// ```
    /// use bigarray::{Database, ndarray::Ix1};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// let mut txn = db.begin()?;
    /// txn.create::<i32, _>("A", 10)?.view_mut()[0] = 1;
    /// let savepoint = txn.savepoint()?;
    /// let mut a = txn.array::<i32, Ix1>("A")?;
    /// a.view_mut()[0] = 2;
    /// a.resize(20)?;
    /// drop(a);
    /// txn.create::<i32, _>("B", 5)?;
    ///
    /// txn.rollback(savepoint)?;
    /// let a = txn.array::<i32, Ix1>("A")?;
    /// assert_eq!((a.len(), a.view()[0]), (10, 1));
    /// assert!(txn.array::<i32, Ix1>("B").unwrap_err().is_not_found());
    /// drop(a);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// An array that is open, or a view of one, rules it out:
    ///
    /// ```compile_fail,E0502
    /// # let db = bigarray::Database::open("a.bigarray").unwrap();
    /// let mut txn = db.begin().unwrap();
    /// let mut a = txn.create::<f64, _>("A", 10).unwrap();
    /// txn.savepoint().unwrap();
    /// a.view_mut()[0] = 1.0;
    /// ```
    ///
    /// # Errors
    /// [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports, also of a page that could not be
    /// loaded earlier; [`Invalid`](crate::ErrorKind::Invalid) after an array was leaked (`mem::forget`). What was
    /// changed is still there.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        self.inner.savepoint()
    }

    /// Goes back to `savepoint`: what was changed since is as it was, and arrays that were created, removed or renamed
    /// are not.
    ///
    /// ```compile_fail,E0502
    /// # let db = bigarray::Database::open("a.bigarray").unwrap();
    /// let mut txn = db.begin().unwrap();
    /// let savepoint = txn.savepoint().unwrap();
    /// let a = txn.create::<f64, _>("A", 10).unwrap();
    /// let view = a.view();
    /// txn.rollback(savepoint).unwrap(); // no view outlives it
    /// println!("{}", view[0]);
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a savepoint of another transaction, or one that was released by going
    /// back to an earlier one. The transaction is as it was then.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<()> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        self.inner.rollback(savepoint)
    }

    /// Makes the changes visible and durable, all of them or none.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) if another transaction has meanwhile changed what this one changed or
    /// [depends on](BigArrayMut::depend_on); [the rule](crate::guide::conflict#the-rule) says what counts as a change.
    /// [`StoreFull`](crate::ErrorKind::StoreFull). Nothing of this transaction is stored then.
    pub fn commit(self) -> Result<()> {
        self.commit_in(None)
    }

    /// Commits while holding `lock`, if any.
    pub(crate) fn commit_in(self, lock: Option<&dyn CommitLock>) -> Result<()> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        self.inner.into_inner().commit(lock)
    }

    /// Discards the changes, as dropping does.
    pub fn abort(self) {
        drop(self);
    }

    fn check_change(&self, what: fmt::Arguments<'_>) -> Result<()> {
        self.home.check_process()?;
        self.home.check_writable(what)
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("dir", &self.home.dir).finish_non_exhaustive()
    }
}
