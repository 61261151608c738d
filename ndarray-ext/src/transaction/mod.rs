//! The handle of a transaction: arrays are created, opened, renamed and removed in it, and committed together.

mod opening;

use std::fmt;
use std::sync::Arc;

use bigarray_core::store::CommitLock;
use bigarray_core::{Result, Savepoint, signals};
use serde_json::{Map, Value};

use crate::home::Home;
use crate::info::ArrayInfo;
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
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// let txn = db.begin()?;
/// txn.create::<f64, _>("in", 100)?.view_mut().fill(1.0);
/// txn.create::<f64, _>("out", 100)?.view_mut().fill(2.0);
/// txn.commit()?; // both arrays, or none
/// assert_eq!(db.snapshot()?.arrays()?.len(), 2);
/// # Ok::<(), bigarray::Error>(())
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

    /// Removes an array.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// db.transact(|txn| txn.remove("grid"))?;
    /// assert!(db.snapshot()?.info("grid").unwrap_err().is_not_found());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`InUse`](crate::ErrorKind::InUse) if it is open.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.check_change(format_args!("remove array {name:?}"))?;
        self.inner.remove(name)
    }

    /// Gives an array another name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// db.transact(|txn| txn.rename("grid", "field"))?;
    /// assert_eq!(db.snapshot()?.info("field")?.shape, [40, 30]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
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
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// txn.create::<u8, _>("new", 1)?;
    /// let names: Vec<_> = txn.arrays()?.into_iter().map(|array| array.name).collect();
    /// assert_eq!(names, ["grid", "new"]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports.
    pub fn arrays(&self) -> Result<Vec<ArrayInfo>> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        Ok(self.inner.arrays()?.iter().map(|(name, descriptor)| ArrayInfo::new(name, descriptor)).collect())
    }

    /// Sets an attribute of the database: any JSON value, that says something of all its arrays. Where the database is on
    /// object storage it is an attribute of Zarr's root group, as `zarr.open_group(...).attrs` shows it.
    ///
    /// Conflicts with another transaction that set the same attribute of the database, whatever to, and with no other.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| txn.set_database_attr("title", "Sea-surface temperatures"))?;
    /// assert_eq!(db.snapshot()?.database_attrs()?["title"], "Sea-surface temperatures");
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 255 bytes or has control characters,
    /// and where the database is open for reading only.
    pub fn set_database_attr(&self, key: &str, value: impl Into<Value>) -> Result<()> {
        self.check_change(format_args!("set attribute {key:?}"))?;
        self.inner.set_attr(key, value.into())
    }

    /// Removes an attribute of the database, and returns what it was; `None` if there is none of that name, which changes
    /// nothing. Conflicts as [`set_database_attr`](Transaction::set_database_attr) does.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.set_database_attr("title", "draft")?;
    /// assert_eq!(txn.remove_database_attr("title")?, Some("draft".into()));
    /// assert!(txn.database_attrs()?.is_empty());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports; [`Invalid`](crate::ErrorKind::Invalid) where the database is open for reading only.
    pub fn remove_database_attr(&self, key: &str) -> Result<Option<Value>> {
        self.check_change(format_args!("remove attribute {key:?}"))?;
        self.inner.remove_attr(key)
    }

    /// The attributes of the database as this transaction sees them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.set_database_attr("title", "Sea surface")?;
    /// assert_eq!(txn.database_attrs()?["title"], "Sea surface");
    /// assert!(db.snapshot()?.database_attrs()?.is_empty()); // not committed
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports.
    pub fn database_attrs(&self) -> Result<Map<String, Value>> {
        self.home.check_process()?;
        self.inner.attrs()
    }

    /// The state that the transaction is in now, to [go back to](Transaction::rollback): bytes, shapes and attributes
    /// of all arrays, which there are, and attributes of the database. No array may be open, which the borrow checker sees to.
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
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let mut txn = db.begin()?;
    /// let savepoint = txn.savepoint()?;
    /// txn.remove("grid")?;
    /// txn.rollback(savepoint)?;
    /// assert_eq!(txn.arrays()?.len(), 1);
    /// # Ok::<(), bigarray::Error>(())
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
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::Ix2;
    ///
    /// let (one, two) = (db.begin()?, db.begin()?);
    /// one.array::<f32, Ix2>("grid")?.view_mut()[[0, 0]] = 1.0;
    /// two.array::<f32, Ix2>("grid")?.view_mut()[[0, 1]] = 2.0;
    /// one.commit()?;
    /// assert!(two.commit().unwrap_err().is_conflict()); // the same block: begin again
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) if another transaction has meanwhile changed what this one changed or
    /// [depends on](crate::BigArrayMut::depend_on); [the rule](crate::guide::conflict#the-rule) says what counts as a change.
    /// [`StoreFull`](crate::ErrorKind::StoreFull); what a spill or a load of this transaction's arrays met earlier;
    /// [`InUse`](crate::ErrorKind::InUse) past [`wait_timeout`](crate::OpenOptions::wait_timeout) and in a forked process;
    /// [`Invalid`](crate::ErrorKind::Invalid) after an array handle was leaked (`mem::forget`). Nothing of this transaction is
    /// stored then.
    ///
    /// [`Io`](crate::ErrorKind::Io) where the disk fails while it stores. Then nothing more is written before the database is
    /// opened again, which tells whether this transaction landed.
    pub fn commit(self) -> Result<()> {
        self.commit_in(None)
    }

    /// Commits while holding `lock`, if any.
    pub(crate) fn commit_in(self, lock: Option<&dyn CommitLock>) -> Result<()> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        self.inner.into_inner().commit(lock)
    }

    /// Discards the changes. Dropping does so, too, but if there are any a warning event of `tracing` says that they are
    /// lost: most often a [`commit`](Transaction::commit) was forgotten.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.create::<f64, _>("attempt", 10)?.view_mut().fill(1.0);
    /// txn.abort();
    /// assert!(db.snapshot()?.info("attempt").unwrap_err().is_not_found());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn abort(self) {
        // A forked child's copy is left as it is.
        if self.inner.is_here() {
            self.inner.into_inner().abort();
        }
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
