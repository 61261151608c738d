//! The handle of an open database: where transactions and snapshots begin.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, MemoryUse, Metrics, Progress, Report, Result};
use bigarray_store_lmdb::LmdbStore;
use bigarray_uffd::{MemoryOptions, UffdMemory};
use ndarray::Dimension;

use crate::any_array::AnyArray;
use crate::array::BigArray;
use crate::element::Element;
use crate::home::Home;
use crate::options::{OpenOptions, Pager};
use crate::process::OfProcess;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;

/// A directory of arrays.
///
/// Cloning costs nothing, and clones share one memory budget. Further openings of the same directory in this process share
/// its files and locks, each with a budget of its own. Its transactions, snapshots and arrays keep it open.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// use bigarray::{Database, ndarray::Ix1};
///
/// let db = Database::open(dir.path().join("a.bigarray"))?;
/// db.transact(|txn| txn.create::<f64, _>("series", 100).map(drop))?;
/// let clone = db.clone();
/// let len = std::thread::spawn(move || clone.array::<f64, Ix1>("series").map(|series| series.len())).join().unwrap()?;
/// assert_eq!(len, 100);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone)]
pub struct Database {
    pub(crate) home: Arc<Home>,
}

impl Database {
    /// Opens the database in the directory `dir`, named `NAME.bigarray` by convention; creates it if there is nothing
    /// (its parent must exist).
    ///
    /// Safe to call under one assumption, as with every file-backed store: nothing but bigarray writes to the files in
    /// `dir` while they are in use. See the [crate's page](crate#safety).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use bigarray::Database;
    ///
    /// let db = Database::open(dir.path().join("climate.bigarray"))?; // created
    /// let again = Database::open(dir.path().join("climate.bigarray"))?; // the same one
    /// assert!(Database::open(dir.path().join("no/such/parent")).unwrap_err().is_not_found());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// Naming the path: if it is a file or another kind of directory ([`Invalid`](crate::ErrorKind::Invalid)), of a
    /// later format or on a network file system ([`Unsupported`](crate::ErrorKind::Unsupported)), damaged
    /// ([`Corrupt`](crate::ErrorKind::Corrupt)), not permitted ([`Io`](crate::ErrorKind::Io)), open elsewhere in a way that
    /// does not go with this one, or open in the parent of a forked process ([`InUse`](crate::ErrorKind::InUse)).
    pub fn open(dir: impl AsRef<Path>) -> Result<Database> {
        Database::options().open(dir)
    }

    /// How to open a database other than by default.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use bigarray::Database;
    ///
    /// let db = Database::options().memory_budget(256 << 20).open(dir.path().join("a.bigarray"))?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn options() -> OpenOptions {
        OpenOptions::default()
    }

    /// Begins a transaction: the newest snapshot with private changes on top.
    ///
    /// It takes no lock: others may commit meanwhile, and then [`commit`](Transaction::commit) refuses if both changed
    /// the same block. [`transact`](Database::transact) begins again by itself.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.create::<u8, _>("a", 10)?.view_mut().fill(1);
    /// assert!(db.snapshot()?.info("a").unwrap_err().is_not_found()); // not yet
    /// txn.commit()?;
    /// assert_eq!(db.snapshot()?.info("a")?.shape, [10]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports; [`InUse`](crate::ErrorKind::InUse) in a forked process.
    pub fn begin(&self) -> Result<Transaction> {
        self.home.check_process()?;
        Ok(Transaction::new(self.home.clone(), self.home.engine.begin()?))
    }

    /// The newest committed state, for reading. As long as it lives it stays as it is, and its storage is not reused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let before = db.snapshot()?;
    /// db.transact(|txn| txn.create::<u8, _>("a", 10).map(drop))?;
    /// assert!(before.arrays()?.is_empty()); // it stays as it is
    /// assert_eq!(db.snapshot()?.arrays()?.len(), 1);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin`](Database::begin).
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.home.check_process()?;
        Ok(Snapshot::new(self.home.clone(), self.home.engine.snapshot()?))
    }

    /// Memory that this database uses for arrays besides the page cache, held against its
    /// [budget](OpenOptions::memory_budget), and how often blocks were copied in, evicted or spilled.
    /// All zero in a forked process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::options().memory_budget(8 << 20).open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| { txn.create::<f64, _>("A", (4, 1000, 1000))?.view_mut().fill(1.5); Ok(()) })?;
    /// let memory = db.memory_use();
    /// assert_eq!(memory.budget_bytes, 8 << 20);
    /// assert!(memory.used_bytes <= memory.budget_bytes);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn memory_use(&self) -> MemoryUse {
        self.home.check_process().map_or_else(|_| MemoryUse::default(), |()| self.home.engine.memory_use())
    }

    /// What this database did since it was opened: faults, blocks, bytes, commits, conflicts, and the time in commits and in
    /// `fdatasync`. It is always counted. All zero in a forked process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let before = db.metrics();
    /// db.transact(|txn| { txn.create::<f64, _>("A", (100, 1000))?.view_mut().fill(1.5); Ok(()) })?;
    /// let done = db.metrics().since(&before);
    /// assert_eq!((done.commits, done.conflicts), (1, 0));
    /// assert!(done.bytes_committed >= 800_000);
    /// println!("{} of {} ns in fdatasync", done.sync_nanos, done.commit_nanos);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.home.check_process().map_or_else(|_| Metrics::default(), |()| self.home.engine.metrics())
    }

    /// Looks at everything that the newest committed state consists of: every record of the index, every reference, the
    /// space in the data file, and every stored byte against its checksum, also of what reads only map and never
    /// compare. Goes on after a damage; the [`Report`] names array and block of each. Only where pages of the index are
    /// such that LMDB could not follow them, the report ends with the first of those.
    ///
    /// Others read and commit meanwhile: it looks at a snapshot, and holds up what any snapshot does. That is the reuse
    /// of space, and the growth of an index that has filled a [`map_size`](crate::OpenOptions::map_size) that was
    /// given: until the end, commits of this process fail then. It takes no more than 64 MiB of memory, two threads,
    /// and about as long as it takes to read the data file. `progress` is called in this thread, several times a
    /// second.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| { txn.create::<f64, _>("A", (500, 1000))?.view_mut().fill(1.5); Ok(()) })?;
    ///
    /// let report = db.verify(|progress| println!("{} of {} bytes", progress.done_bytes, progress.total_bytes))?;
    /// for damage in report.damages() {
    ///     println!("{damage}"); // array "A", block 1: page 7 has checksum …
    /// }
    /// assert!(report.is_sound());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// Any error that keeps it from looking, as in [`begin`](Database::begin);
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a database on object storage. Damage is no error but part of the
    /// report.
    pub fn verify(&self, mut progress: impl FnMut(Progress)) -> Result<Report> {
        self.home.check_process()?;
        self.home.engine.verify(&mut progress)
    }

    /// The array `name` of the newest snapshot.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::{Ix2, IxDyn};
    ///
    /// let grid = db.array::<f32, Ix2>("grid")?;
    /// assert_eq!(grid.view()[[39, 29]], 0.5);
    /// assert_eq!(db.array::<f32, IxDyn>("grid")?.ndim(), 2);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Snapshot::array`].
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArray<T, D>> {
        self.snapshot()?.array(name)
    }

    /// The array `name` of the newest snapshot, whatever its elements and its dimension are; see [`AnyArray`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let grid = db.any_array("grid")?;
    /// assert_eq!((grid.dtype(), grid.shape()), ("<f4", &[40, 30][..]));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Snapshot::any_array`].
    pub fn any_array(&self, name: &str) -> Result<AnyArray> {
        self.snapshot()?.any_array(name)
    }
}

impl OpenOptions {
    /// Opens the database in the directory `dir`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::options().create(false).open(dir.path().join("a.bigarray"));
    /// assert!(db.unwrap_err().is_not_found());
    /// ```
    ///
    /// # Errors
    /// Naming the path and what is in the way. See [`Database::open`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Database> {
        let dir = dir.as_ref();
        self.on(dir, |options| Ok(LmdbStore::open(&store_options(dir, options))?))
    }

    /// Pages the arrays of the store that `open` opens; `dir` names it in messages.
    pub(crate) fn on(self, dir: &Path, open: impl FnOnce(&OpenOptions) -> Result<Arc<dyn Store>>) -> Result<Database> {
        let _span = tracing::debug_span!("open", dir = %dir.display()).entered();
        let pager = self.pager.map_or_else(Pager::from_env, Ok)?;
        let budget_bytes = crate::budget::resolved(self.memory_budget)?;
        let memory = UffdMemory::new(memory_options(&self))?;
        tracing::debug!(memory = memory.describe(), budget_bytes, "memory");
        let store = open(&self)?;
        let OpenOptions { verify, spill_under_views, patience, .. } = self;
        let patience = patience.unwrap_or(EngineOptions::default().patience);
        let copy = pager == Pager::Copy;
        let options = EngineOptions { copy, verify, budget_bytes, spill_under_views, patience };
        let engine = OfProcess::new(Engine::new(store, memory.clone(), options));
        let (memory, read_only) = (OfProcess::new(memory), self.read_only);
        let home = Home { engine, memory, pager, dir: dir.into(), read_only };
        Ok(Database { home: Arc::new(home) })
    }
}

fn memory_options(options: &OpenOptions) -> MemoryOptions {
    let mut memory = MemoryOptions::default();
    if let Some(threads) = options.resolvers {
        memory.resolvers = threads;
    }
    memory
}

fn store_options(dir: &Path, options: &OpenOptions) -> bigarray_store_lmdb::Options {
    let mut store = bigarray_store_lmdb::Options::new(dir);
    store.read_only = options.read_only;
    store.create = options.create;
    store.map_size = options.map_size;
    store.durability = options.durability;
    store.allow_network_fs = options.allow_network_fs;
    store.wait_timeout = options.wait_timeout;
    store
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Home { dir, read_only, .. } = &*self.home;
        f.debug_struct("Database").field("dir", dir).field("read_only", read_only).finish_non_exhaustive()
    }
}
