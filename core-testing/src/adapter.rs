//! Adapters that wrap any store: one that fails when told to, one that counts.

use std::any::Any;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bigarray_core::store::{
    BlockRecord, CachedPages, Change, CommitLock, Committed, DataFile, History, Snapshot, Space, SpillArea, SpillSlot,
    SpilledPages, State, Store, StoreDescription,
};
use bigarray_core::sync::Mutex;
use bigarray_core::{
    ArrayId, BlockNo, Codec, Descriptor, Error, ErrorKind, Metrics, PAGE, Progress, Report, Result, Version,
};
use serde_json::Value;

/// What a store and its snapshots are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// [`Store::snapshot`].
    Snapshot,
    /// [`Store::commit`].
    Commit,
    /// [`Store::commit_lock`].
    CommitLock,
    /// Names, descriptors and attributes.
    Metadata,
    /// [`State::block`], [`State::same_block`], [`State::blocks`] and [`Snapshot::check_records`].
    Blocks,
    /// [`Snapshot::read`].
    Read,
    /// [`Store::spill_area`].
    SpillArea,
    /// [`SpillArea::write`] and [`SpillArea::write_packed`].
    Spill,
    /// [`SpillSlot::read`].
    ReadSpilled,
}

/// Looks on at what an [`Adapter`] passes on.
pub trait Watch: Send + Sync + 'static {
    /// Comes before each call; an error takes its place. `amount`: of reads and of spills the
    /// pages, else 1.
    fn before(&self, op: StoreOp, amount: usize) -> Result<()>;

    /// See [`Snapshot::lookups_may_block`]: those of the store, or these.
    fn lookups_may_block(&self) -> bool {
        false
    }

    /// Comes before each [`Snapshot::will_need`].
    fn will_need(&self, array: ArrayId, blocks: &Range<u64>) {
        let _ = (array, blocks);
    }
}

/// A store that tells a [`Watch`] of every call to it and to its snapshots.
pub struct Adapter<S, W> {
    store: S,
    pub(super) watch: Arc<W>,
    snapshot: Mutex<Weak<Watched<W>>>,
}

/// A store that fails when told to.
pub type Failing<S> = Adapter<S, Failures>;

/// A store that counts what it is asked for.
pub type Counted<S> = Adapter<S, Counts>;

/// Failures that are yet to come.
#[derive(Default)]
pub struct Failures(Mutex<Vec<(StoreOp, usize, ErrorKind)>>);

impl<S> Failing<S> {
    /// Wraps `store`; nothing fails yet.
    pub fn new(store: S) -> Failing<S> {
        Adapter::wrap(store, Failures::default())
    }

    /// The `nth` call of `op` from now on (0: the next) fails with an error of `kind`, and does nothing.
    pub fn fail(&self, op: StoreOp, nth: usize, kind: ErrorKind) {
        self.watch.0.lock().push((op, nth, kind));
    }

    /// How many failures are yet to come.
    pub fn pending(&self) -> usize {
        self.watch.0.lock().len()
    }
}

impl Watch for Failures {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        let mut due = None;
        self.0.lock().retain_mut(|(planned, countdown, kind)| {
            if *planned != op {
                return true;
            }
            if *countdown == 0 {
                due = Some(*kind);
                return false;
            }
            *countdown -= 1;
            true
        });
        due.map_or(Ok(()), |kind| Err(Error::new(kind, format!("simulated failure of {op:?}"))))
    }
}

/// How often a store was asked.
#[derive(Default)]
pub struct Counts {
    lookups: AtomicUsize,
    pages: AtomicUsize,
    spilled: AtomicUsize,
    read_spilled: AtomicUsize,
    commits: AtomicUsize,
}

impl<S> Counted<S> {
    /// Wraps `store`; all counts are 0.
    pub fn new(store: S) -> Counted<S> {
        Adapter::wrap(store, Counts::default())
    }

    /// Look-ups of blocks; of a range, as one.
    pub fn lookups(&self) -> usize {
        self.watch.lookups.load(Ordering::Relaxed)
    }

    /// Pages that [`Snapshot::read`] was asked for.
    pub fn pages_read(&self) -> usize {
        self.watch.pages.load(Ordering::Relaxed)
    }

    /// Pages that were spilled; those of a block that turned out not to shrink, too.
    pub fn pages_spilled(&self) -> usize {
        self.watch.spilled.load(Ordering::Relaxed)
    }

    /// Pages that were read back from where they had been spilled.
    pub fn spilled_pages_read(&self) -> usize {
        self.watch.read_spilled.load(Ordering::Relaxed)
    }

    /// Commits, refused ones too.
    pub fn commits(&self) -> usize {
        self.watch.commits.load(Ordering::Relaxed)
    }
}

impl Watch for Counts {
    fn before(&self, op: StoreOp, amount: usize) -> Result<()> {
        let count = match op {
            StoreOp::Blocks => &self.lookups,
            StoreOp::Read => &self.pages,
            StoreOp::Spill => &self.spilled,
            StoreOp::ReadSpilled => &self.read_spilled,
            StoreOp::Commit => &self.commits,
            StoreOp::Snapshot | StoreOp::CommitLock | StoreOp::Metadata | StoreOp::SpillArea => return Ok(()),
        };
        count.fetch_add(amount, Ordering::Relaxed);
        Ok(())
    }
}

impl<S, W> Adapter<S, W> {
    /// Wraps `store`, so that `watch` sees every call.
    pub fn wrap(store: S, watch: W) -> Adapter<S, W> {
        Adapter { store, watch: Arc::new(watch), snapshot: Mutex::new(Weak::new()) }
    }
}

impl<S: Store, W: Watch> Store for Adapter<S, W> {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.watch.before(StoreOp::Snapshot, 1)?;
        let inner = self.store.snapshot()?;
        let mut last = self.snapshot.lock();
        // The same state is the same `Arc` here too.
        if let Some(same) = last.upgrade().filter(|last| Arc::ptr_eq(&last.inner, &inner)) {
            return Ok(same);
        }
        let snapshot = Arc::new(Watched { inner, watch: self.watch.clone() });
        *last = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }

    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        self.watch.before(StoreOp::Commit, 1)?;
        self.store.commit(change, lock)
    }

    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.watch.before(StoreOp::CommitLock, 1)?;
        self.store.commit_lock()
    }

    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        self.watch.before(StoreOp::SpillArea, 1)?;
        Ok(Arc::new(WatchedSpillArea { inner: self.store.spill_area()?, watch: self.watch.clone() }))
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        self.store.verify(progress)
    }

    fn check_array_name(&self, name: &str) -> Result<()> {
        self.store.check_array_name(name)
    }

    fn check_attr_name(&self, name: &str) -> Result<()> {
        self.store.check_attr_name(name)
    }

    fn drops_front(&self) -> bool {
        self.store.drops_front()
    }

    fn check_fill(&self, array: &Descriptor) -> Result<()> {
        self.store.check_fill(array)
    }

    fn check_codec(&self, codec: Codec) -> Result<()> {
        self.store.check_codec(codec)
    }

    fn describe(&self) -> Result<StoreDescription> {
        self.store.describe()
    }

    fn space(&self) -> Result<Space> {
        self.store.space()
    }

    fn add_metrics(&self, metrics: &mut Metrics) {
        self.store.add_metrics(metrics);
    }

    fn history(&self) -> Option<&dyn History> {
        self.store.history()
    }
}

/// A spill area, under watch. The store inside knows its own.
struct WatchedSpillArea<W> {
    inner: Arc<dyn SpillArea>,
    watch: Arc<W>,
}

impl<W: Watch> WatchedSpillArea<W> {
    fn watched(&self, pages: SpilledPages) -> SpilledPages {
        let slot = Arc::new(WatchedSpillSlot { inner: pages.slot, watch: self.watch.clone() });
        SpilledPages { pages: pages.pages, slot }
    }
}

impl<W: Watch> SpillArea for WatchedSpillArea<W> {
    fn write(&self, array: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>> {
        self.watch.before(StoreOp::Spill, bytes.len() / PAGE)?;
        let written = self.inner.write(array, first_page, bytes)?;
        Ok(written.into_iter().map(|pages| self.watched(pages)).collect())
    }

    fn write_packed(&self, array: &Descriptor, block: &[u8], plain_pages: u32) -> Result<Option<SpilledPages>> {
        self.watch.before(StoreOp::Spill, block.len() / PAGE)?;
        Ok(self.inner.write_packed(array, block, plain_pages)?.map(|pages| self.watched(pages)))
    }

    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
}

struct WatchedSpillSlot<W> {
    inner: Arc<dyn SpillSlot>,
    watch: Arc<W>,
}

impl<W: Watch> SpillSlot for WatchedSpillSlot<W> {
    fn read(&self, first_page: u32, buf: &mut [u8]) -> Result<()> {
        self.watch.before(StoreOp::ReadSpilled, buf.len() / PAGE)?;
        self.inner.read(first_page, buf)
    }

    fn extent(&self, page: u32) -> Option<u64> {
        self.inner.extent(page)
    }

    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
}

/// A snapshot under watch.
struct Watched<W> {
    inner: Arc<dyn Snapshot>,
    watch: Arc<W>,
}

impl<W: Watch> Snapshot for Watched<W> {
    fn version(&self) -> Version {
        self.inner.version()
    }

    fn file(&self) -> &Arc<dyn DataFile> {
        self.inner.file()
    }

    fn lookups_may_block(&self) -> bool {
        self.inner.lookups_may_block() || self.watch.lookups_may_block()
    }

    fn will_need(&self, array: ArrayId, blocks: Range<u64>, by_mapping: bool) {
        self.watch.will_need(array, &blocks);
        self.inner.will_need(array, blocks, by_mapping);
    }

    fn cached(&self, array: ArrayId, block: BlockNo) -> Vec<CachedPages> {
        self.inner.cached(array, block)
    }

    fn check_records(&self, name: &str) -> Result<()> {
        self.watch.before(StoreOp::Blocks, 1)?;
        self.inner.check_records(name)
    }

    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()> {
        self.watch.before(StoreOp::Read, buf.len() / PAGE)?;
        self.inner.read(array, block, first_page, buf)
    }
}

impl<W: Watch> State for Watched<W> {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.array(name)
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.arrays()
    }

    fn unreadable(&self) -> Result<Vec<(String, Error)>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.unreadable()
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.attr(array, name)
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.attrs(array)
    }

    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        self.watch.before(StoreOp::Metadata, 1)?;
        self.inner.attr_versions(array)
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        self.watch.before(StoreOp::Blocks, 1)?;
        self.inner.block(array, block)
    }

    fn same_block(&self, base: &dyn Snapshot, array: ArrayId, block: BlockNo) -> Result<bool> {
        self.watch.before(StoreOp::Blocks, 1)?;
        self.inner.same_block(base, array, block)
    }

    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        self.watch.before(StoreOp::Blocks, 1)?;
        self.inner.blocks(array, range, visit)
    }
}
