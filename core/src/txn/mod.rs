//! Readers and transactions over named byte spaces: what ties a store, a memory and their pagers together.

mod attrs;
mod commit;
mod follow;
mod open_array;
mod pool;
mod reader;
mod resize;
mod savepoint;
mod transaction;
mod untracked;
mod windows;
mod writer;

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pager::{Activity, Budget, EngineOptions, MemoryUse};
use crate::signals;
use crate::store::{CommitLock, History, Snapshot, Space, Store, StoreDescription};
use crate::sync::FaultMutex;
use crate::verify::{Progress, Report};
use pool::Pool;
pub use reader::Reader;
pub use savepoint::Savepoint;
pub use transaction::Transaction;
pub use writer::Writer;

/// A store and a memory, and the spans that idle between transactions.
pub struct Engine {
    store: Arc<dyn Store>,
    memory: Arc<dyn Memory>,
    options: EngineOptions,
    budget: Arc<Budget>,
    activity: Arc<Activity>,
    pool: FaultMutex<Pool>,
}

impl Engine {
    /// An engine over `store` and `memory`.
    pub fn new(store: Arc<dyn Store>, memory: Arc<dyn Memory>, options: EngineOptions) -> Arc<Engine> {
        let budget = Budget::new(options.budget_bytes);
        let activity = Activity::new(&budget);
        Arc::new(Engine { store, memory, options, budget, activity, pool: FaultMutex::new(Pool::default()) })
    }

    /// With [`EngineOptions::verify`], sees that what is a hole in the array of that name is one.
    fn check_records(&self, snapshot: &dyn Snapshot, name: &str) -> Result<()> {
        if self.options.verify { snapshot.check_records(name) } else { Ok(()) }
    }

    /// The newest committed state.
    pub fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        self.store.snapshot()
    }

    /// The newest one that is known; see [`Store::known`].
    fn known(&self) -> Result<Arc<dyn Snapshot>> {
        let _held = signals::hold_between_waits();
        self.store.known()
    }

    /// The newest one without exception; see [`Store::newest`].
    fn newest(&self) -> Result<Arc<dyn Snapshot>> {
        let _held = signals::hold_between_waits();
        self.store.newest()
    }

    /// Opens the array `name` of `snapshot` for reading. Readers of one state share one span.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    pub fn reader(self: &Arc<Self>, snapshot: &Arc<dyn Snapshot>, name: &str) -> Result<Reader> {
        Reader::open(self, snapshot, name)
    }

    /// Begins a transaction on the newest committed state.
    pub fn begin(self: &Arc<Self>) -> Result<Transaction> {
        Ok(Transaction::new(self.clone(), self.snapshot()?))
    }

    /// Looks at everything that is stored; see [`Store::verify`].
    ///
    /// # Errors
    /// A failure that keeps it from looking; damage is none.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        self.store.verify(progress)
    }

    /// The commits that the store remembers.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) where it remembers none.
    pub fn history(&self) -> Result<&dyn History> {
        self.store.history().ok_or_else(|| {
            let why = "no state of the past is kept here, but those that a snapshot holds; a database on object storage \
                       keeps its history";
            Error::new(ErrorKind::Unsupported, why)
        })
    }

    /// The memory of its own that its spans have.
    pub fn memory_use(&self) -> MemoryUse {
        self.budget.in_use()
    }

    /// What there is to say of its store.
    ///
    /// # Errors
    /// As [`Store::describe`].
    pub fn describe_store(&self) -> Result<StoreDescription> {
        self.store.describe()
    }

    /// What the files of its store are used for.
    ///
    /// # Errors
    /// As [`Store::space`].
    pub fn space(&self) -> Result<Space> {
        self.store.space()
    }

    /// What was done so far.
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.activity.metrics();
        self.store.add_metrics(&mut metrics);
        metrics
    }

    /// Waits for the right to commit next; see [`Store::commit_lock`].
    pub fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.store.commit_lock()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}
