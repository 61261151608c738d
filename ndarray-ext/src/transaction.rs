//! The handle of a transaction: arrays are created, opened, renamed and removed in it, and committed together.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bigarray_core::store::CommitLock;
use bigarray_core::{ArrayId, Descriptor, Result, Savepoint, Version, Writer, signals};
use ndarray::{Dimension, IntoDimension};
use serde_json::{Map, Value};

use crate::any_array_mut::AnyArrayMut;
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
    /// or has control characters, and where the database is open for reading only;
    /// [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports where changes of closed arrays are spilled.
    pub fn create<T: Element, Sh: IntoDimension>(&self, name: &str, shape: Sh) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.create_with(name, shape, &ArrayOptions::new())
    }

    /// The same with another order, block size or codec.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, Codec};
    ///
    /// let txn = db.begin()?;
    /// let a = txn.create_with::<f32, _>("a", (0, 12), &ArrayOptions::new().codec(Codec::Lz4 { shuffle: true }))?;
    /// assert_eq!(a.shape(), [0, 12]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
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
        BigArrayMut::new(OfProcess::new(self.inner.create(name, descriptor)?))
    }

    /// Opens the array `name`, whose elements are of type `T` and which has the dimension `D`; `IxDyn` opens any.
    /// Several arrays can be open at once, each once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::Ix2;
    ///
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, Ix2>("grid")?;
    /// grid.view_mut()[[0, 0]] = 2.5;
    /// assert!(txn.array::<f32, Ix2>("grid").unwrap_err().is_in_use()); // `grid` has it
    /// drop(grid);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch),
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if the dimension is another,
    /// [`InUse`](crate::ErrorKind::InUse) if it is open already, [`Unsupported`](crate::ErrorKind::Unsupported) if its
    /// codec is not compiled in; [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports, also where
    /// changes of closed arrays are spilled.
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArrayMut<'_, T, D>> {
        self.home.check_process()?;
        BigArrayMut::new(OfProcess::new(self.inner.open(name)?))
    }

    /// The same, with a handle that keeps the transaction instead of borrowing it: both can be in one struct, as bindings
    /// of other languages need it.
    ///
    /// [`Arc::into_inner`] and [`Arc::try_unwrap`] give the transaction back, to be committed, once no handle has it any
    /// more. As long as one has, the first is `None` and drops its `Arc`, the second returns it. If all are dropped, the
    /// transaction is aborted with the last.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| txn.create::<f64, _>("grid", 10).map(drop))?;
    /// use std::sync::Arc;
    /// use bigarray::{BigArrayMut1, Transaction};
    ///
    /// struct Session {
    ///     grid: BigArrayMut1<'static, f64>,
    ///     txn: Arc<Transaction>,
    /// }
    ///
    /// let txn = Arc::new(db.begin()?);
    /// let mut session = Session { grid: txn.array_owned("grid")?, txn };
    /// session.grid.view_mut()[3] = 1.5;
    ///
    /// let Session { grid, txn } = session;
    /// drop(grid);
    /// Arc::into_inner(txn).expect("no handle is left").commit()?;
    /// assert_eq!(db.array::<f64, bigarray::ndarray::Ix1>("grid")?.view()[3], 1.5);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array).
    pub fn array_owned<T: Element, D: Dimension>(self: &Arc<Self>, name: &str) -> Result<BigArrayMut<'static, T, D>> {
        BigArrayMut::new(OfProcess::new(self.open_owned(name)?))
    }

    /// Opens the array `name`, whatever its elements and its dimension are; see [`AnyArrayMut`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.row_bytes_mut(0..1)?.fill(0);
    /// drop(grid);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array), but for the two mismatches.
    pub fn any_array(&self, name: &str) -> Result<AnyArrayMut<'_>> {
        self.home.check_process()?;
        AnyArrayMut::new(self.inner.open(name)?)
    }

    /// The same, with a handle that keeps the transaction; see [`array_owned`](Transaction::array_owned).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use std::sync::Arc;
    ///
    /// let txn = Arc::new(db.begin()?);
    /// let mut grid = txn.any_array_owned("grid")?;
    /// grid.resize(&[50, 30])?;
    /// drop(grid);
    /// Arc::into_inner(txn).expect("no handle is left").commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`any_array`](Transaction::any_array).
    pub fn any_array_owned(self: &Arc<Self>, name: &str) -> Result<AnyArrayMut<'static>> {
        AnyArrayMut::new(self.open_owned(name)?)
    }

    fn open_owned(self: &Arc<Self>, name: &str) -> Result<Writer<'static>> {
        self.home.check_process()?;
        bigarray_core::Transaction::open_owned(Owner(self.clone()), name)
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
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, ndarray::Order};
    ///
    /// let options = ArrayOptions::new().order(Order::ColumnMajor);
    /// let txn = db.begin()?;
    /// let frames = txn.open_or_create_with::<u16, _>("frames", (512, 512, 0), &options)?;
    /// assert_eq!(frames.order(), Order::ColumnMajor);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
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
    /// [depends on](BigArrayMut::depend_on); [the rule](crate::guide::conflict#the-rule) says what counts as a change.
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

/// What a handle has that keeps its transaction.
struct Owner(Arc<Transaction>);

impl Deref for Owner {
    type Target = bigarray_core::Transaction;

    fn deref(&self) -> &bigarray_core::Transaction {
        &self.0.inner
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("dir", &self.home.dir).finish_non_exhaustive()
    }
}
