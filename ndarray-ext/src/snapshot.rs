//! The handle of one committed state: its arrays and attributes, for reading.

use std::fmt;
use std::sync::Arc;

use bigarray_core::{ArrayId, Descriptor, Error, ErrorKind, Result, Version, signals, store};
use ndarray::Dimension;
use serde_json::{Map, Value};

use crate::any_array::AnyArray;
use crate::array::BigArray;
use crate::element::Element;
use crate::home::Home;
use crate::info::ArrayInfo;
use crate::process::OfProcess;

/// One committed state of a database, for reading.
///
/// Many can live at once, each as old as it is. As long as one lives the storage it refers to is not reused, so a
/// forgotten one makes the data file grow.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
/// let snapshot = db.snapshot()?;
/// db.transact(|txn| txn.remove("grid"))?;
/// let grid = snapshot.array::<f32, bigarray::ndarray::Ix2>("grid")?; // it shows what was
/// assert_eq!(grid.view().sum(), 600.0);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    home: Arc<Home>,
    /// Of `state`. Here a forked child may read it.
    version: Version,
    state: OfProcess<Arc<dyn store::Snapshot>>,
}

impl Snapshot {
    pub(crate) fn new(home: Arc<Home>, state: Arc<dyn store::Snapshot>) -> Snapshot {
        Snapshot { home, version: state.version(), state: OfProcess::new(state) }
    }

    /// The number of its state, which grows with each commit, of any process or machine. It tells nothing else: some numbers
    /// are states that the store made for itself. [`wait_for_commit`](crate::Database::wait_for_commit) waits for a greater one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let before = db.snapshot()?.version();
    /// db.transact(|txn| txn.create::<u8, _>("a", 1).map(drop))?;
    /// assert!(db.snapshot()?.version() > before);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn version(&self) -> Version {
        self.version
    }

    /// The array `name`, whose elements are of type `T` and which has the dimension `D`; `IxDyn` opens any.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let snapshot = db.snapshot()?;
    /// let grid = snapshot.array::<f32, bigarray::ndarray::Ix2>("grid")?;
    /// assert_eq!(grid.view()[[39, 29]], 0.5);
    /// assert!(snapshot.array::<f64, bigarray::ndarray::Ix2>("grid").unwrap_err().is_dtype_mismatch());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch),
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if the dimension is another,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if its codec is not compiled in.
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArray<T, D>> {
        self.home.check_process()?;
        BigArray::new(OfProcess::new(self.home.engine.reader(&self.state, name)?))
    }

    /// The array `name`, whatever its elements and its dimension are; see [`AnyArray`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let snapshot = db.snapshot()?;
    /// let grid = snapshot.any_array("grid")?;
    /// assert_eq!(grid.dtype(), "<f4");
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Snapshot::array), but for the two mismatches.
    pub fn any_array(&self, name: &str) -> Result<AnyArray> {
        self.home.check_process()?;
        AnyArray::new(self.home.engine.reader(&self.state, name)?)
    }

    /// Every array, in order of names.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let names: Vec<_> = db.snapshot()?.arrays()?.into_iter().map(|array| array.name).collect();
    /// assert_eq!(names, ["grid"]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports.
    pub fn arrays(&self) -> Result<Vec<ArrayInfo>> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        Ok(self.state.arrays()?.iter().map(|(name, descriptor)| ArrayInfo::new(name, descriptor)).collect())
    }

    /// What the array `name` is. Opens nothing, so it takes no addresses and no matter which type it has.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| txn.create::<f32, _>("sst", (60, 12))?.set_attr("unit", "K".into()))?;
    /// let snapshot = db.snapshot()?;
    /// let sst = snapshot.info("sst")?;
    /// assert_eq!((sst.dtype.as_str(), sst.shape), ("<f4", vec![60, 12]));
    /// assert_eq!(snapshot.attrs("sst")?["unit"], "K");
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), and what storage reports.
    pub fn info(&self, name: &str) -> Result<ArrayInfo> {
        let _held = signals::hold_between_waits();
        Ok(ArrayInfo::new(name, &self.descriptor(name)?))
    }

    /// The attributes of the array `name`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// db.transact(|txn| txn.any_array("grid")?.set_attr("unit", "K".into()))?;
    /// assert_eq!(db.snapshot()?.attrs("grid")?["unit"], "K");
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`info`](Snapshot::info).
    pub fn attrs(&self, name: &str) -> Result<Map<String, Value>> {
        let _held = signals::hold_between_waits();
        let id = self.descriptor(name)?.id;
        Ok(self.state.attrs(id)?.into_iter().collect())
    }

    /// The attributes of the database, which [`set_database_attr`](crate::Transaction::set_database_attr) sets.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| txn.set_database_attr("title", "Sea surface"))?;
    /// assert_eq!(db.snapshot()?.database_attrs()?["title"], "Sea surface");
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports.
    pub fn database_attrs(&self) -> Result<Map<String, Value>> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        Ok(self.state.attrs(ArrayId::DATABASE)?.into_iter().collect())
    }

    fn descriptor(&self, name: &str) -> Result<Descriptor> {
        self.home.check_process()?;
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no array {name:?}"));
        self.state.array(name)?.ok_or_else(missing)
    }

    /// Arrays that other programs stored and that cannot be opened here, in order of names, each with the error that
    /// opening it is, which says why. [`arrays`](Snapshot::arrays) leaves them out. None in a directory.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// for (name, why) in db.snapshot()?.unreadable()? {
    ///     println!("{name}: {why}");
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports.
    pub fn unreadable(&self) -> Result<Vec<(String, Error)>> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        self.state.unreadable()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("dir", &self.home.dir).field("version", &self.version.0).finish()
    }
}
