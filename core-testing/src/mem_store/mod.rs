//! A complete [`Store`] in memory.

mod apply;
mod pages;
mod rehash;
mod spill;
mod state;
mod versions;

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bigarray_core::store::{
    ArrayChange, BlockRecord, CachedPages, Change, CommitLock, Committed, DataFile, LocalCommitLock, Snapshot,
    SpillArea, State, Store,
};
use bigarray_core::sync::{Mutex, MutexGuard};
use bigarray_core::{
    ArrayId, BlockNo, Codec, Descriptor, Error, ErrorKind, PAGE, Progress, Report, Result, Version, conflict,
};
use serde_json::Value;

use self::apply::Draft;
use self::pages::Pages;
use self::spill::{MemSpillArea, SpillAreaId, spill_area_of};
use self::state::{Committed as StateData, PageAt};
pub use self::versions::Versions;
use super::MemFile;
use crate::role::{Role, role};

/// A [`Store`] in memory that is as unkind as the contract allows: a page that no living snapshot refers to is
/// overwritten with garbage at once and given out again first, so a reader that outstays its snapshot sees it. So is what
/// was spilled, once its slot is released, or its transaction is over.
///
/// It has every codec: blocks of an array with one that are written whole are [`Origin::Produced`](bigarray_core::store::Origin::Produced), whatever the codec.
///
/// It also holds its caller to the contract: a [`Change`] that breaks it, or leaves bytes or blocks past the end of an
/// array, panics.
///
/// Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct MemStore(Arc<Inner>);

/// How a [`MemStore`] behaves.
#[derive(Clone, Debug, Default)]
pub struct MemStoreOptions {
    /// Every so many-th block is [`Origin::Produced`](bigarray_core::store::Origin::Produced); 0: none.
    pub produced_every: u64,
    /// Blocks that are written whole do not shrink, whatever the codec: they are stored as they are.
    pub never_shrinks: bool,
    /// Pages the data file may have before a commit is [`ErrorKind::StoreFull`]; 0: no limit.
    pub capacity_pages: usize,
    /// What versions are.
    pub versions: Versions,
    /// See [`Snapshot::lookups_may_block`]. Then a look-up by the thread that receives faults panics.
    pub lookups_may_block: bool,
    /// Files of its own have what is produced of a block, but every so many-th time it is asked: see [`Snapshot::cached`];
    /// 0: none have.
    pub cached_but_every: u64,
}

struct Inner {
    options: MemStoreOptions,
    file: Arc<MemFile>,
    /// The same, as snapshots give it out.
    data: Arc<dyn DataFile>,
    ledger: Mutex<Ledger>,
    commit_lock: LocalCommitLock,
    /// How often [`Snapshot::cached`] was asked.
    asked_for_files: AtomicU64,
}

struct Ledger {
    now: Arc<StateData>,
    snapshot: Weak<MemSnapshot>,
    pages: Pages,
    next_id: u64,
    /// How many spill areas there were, and which of them are over.
    areas: u64,
    over: BTreeSet<u64>,
}

impl Default for MemStore {
    fn default() -> MemStore {
        MemStore::new()
    }
}

impl MemStore {
    /// An empty store.
    pub fn new() -> MemStore {
        MemStore::with(MemStoreOptions::default())
    }

    /// An empty store that behaves as `options` say.
    pub fn with(options: MemStoreOptions) -> MemStore {
        let file = Arc::new(MemFile::default());
        let (pages, over) = Default::default();
        let now = Arc::new(StateData { versions: options.versions, ..StateData::default() });
        let ledger = Ledger { now, snapshot: Weak::new(), pages, next_id: 1, areas: 0, over };
        let data: Arc<dyn DataFile> = file.clone();
        MemStore(Arc::new(Inner {
            options,
            file,
            data,
            ledger: Mutex::new(ledger),
            commit_lock: LocalCommitLock::new("the store in memory", None),
            asked_for_files: AtomicU64::new(0),
        }))
    }

    /// The file its extents lie in: a [`SimMemory`](super::SimMemory) is to be made with it.
    pub fn file(&self) -> Arc<dyn DataFile> {
        self.0.data.clone()
    }

    /// Pages of the data file in use by the newest state, and pages kept for older snapshots alone.
    pub fn pages(&self) -> (usize, usize) {
        let ledger = self.0.ledger();
        (ledger.now.file_pages().count(), ledger.pages.waiting())
    }

    /// Spilled pages of the data file, of commits yet to come.
    pub fn pages_spilled(&self) -> usize {
        self.0.ledger().pages.held()
    }

    /// Panics unless each page of the data file has exactly one owner.
    pub fn check(&self) {
        let ledger = self.0.ledger();
        ledger.pages.check(ledger.now.file_pages());
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    fn is_produced(&self, block: BlockNo) -> bool {
        self.options.produced_every != 0 && block.0.is_multiple_of(self.options.produced_every)
    }

    /// Whether such bytes of a block of `array` are stored so that they must be produced.
    fn is_packed(&self, array: &Descriptor, bytes: &[u8]) -> bool {
        array.codec != Codec::None && bytes.len() == array.block_size.bytes() && !self.options.never_shrinks
    }

    /// Writes whole pages of `bytes` to pages that no snapshot can see, and gives the first.
    fn store_pages(&self, bytes: &[u8]) -> Result<u64> {
        let capacity = self.options.capacity_pages;
        self.ledger().pages.store(&self.file, bytes, capacity).ok_or_else(|| self.full(bytes.len()))
    }

    fn full(&self, bytes: usize) -> Error {
        let (capacity, pages) = (self.options.capacity_pages, bytes / PAGE);
        Error::new(ErrorKind::StoreFull, format!("the memory store holds {capacity} pages, too few for {pages} more"))
    }
}

impl Store for MemStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        let mut ledger = self.0.ledger();
        if let Some(living) = ledger.snapshot.upgrade() {
            return Ok(living);
        }
        let snapshot = Arc::new(MemSnapshot { state: ledger.now.clone(), store: self.0.clone() });
        ledger.pages.snapshot_begins(snapshot.state.version);
        ledger.snapshot = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }

    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        let _lock = self.0.commit_lock.enter(lock)?;
        // The commit lock is ours, so the state stays what it is until this returns.
        let (now, next_id) = {
            let ledger = self.0.ledger();
            (ledger.now.clone(), ledger.next_id)
        };
        if change.arrays.is_empty() && change.attrs.is_empty() {
            return Ok(Committed { version: now.version, ids: Vec::new(), replaced: Vec::new(), changed: Vec::new() });
        }
        apply::assert_contract(change, now.version);
        let skips = |array: &ArrayChange<'_>| array.after.as_ref().is_some_and(|(_, after)| after.skip > 0);
        if !self.drops_front() && change.arrays.iter().any(skips) {
            return Err(Error::new(ErrorKind::Unsupported, "the blocks of this store are counted from the first row"));
        }
        let area = spill_area_of(&self.0, change);
        conflict::check(change, &*now)?;
        let mut draft = Draft::new(&self.0, &now, next_id);
        let applied = draft.apply(change);
        let mut ledger = self.0.ledger();
        let ledger = &mut *ledger;
        if let Err(error) = applied {
            ledger.pages.give_back(&self.0.file, &draft.taken);
            return Err(error);
        }
        let (ids, replaced, changed) = (draft.ids, draft.replaced, draft.changed);
        let committed = Committed { version: draft.next.version, ids, replaced, changed };
        ledger.now = Arc::new(draft.next);
        ledger.next_id = draft.next_id;
        ledger.snapshot = Weak::new();
        if let Some(area) = area {
            assert!(ledger.over.insert(area.0), "what one transaction spilled is committed twice");
            ledger.pages.let_go(&self.0.file, area, &draft.used);
        }
        ledger.pages.retire(&self.0.file, committed.version, draft.freed);
        Ok(committed)
    }

    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        Ok(Box::new(self.0.commit_lock.take()?))
    }

    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        let mut ledger = self.0.ledger();
        ledger.areas += 1;
        Ok(Arc::new(MemSpillArea { store: self.0.clone(), id: SpillAreaId(ledger.areas) }))
    }

    /// As [`check`](MemStore::check): what is in memory has no checksums.
    fn verify(&self, _: &mut dyn FnMut(Progress)) -> Result<Report> {
        self.check();
        Ok(Report::default())
    }

    /// As a store whose versions are hashes does not: what it keeps together has places that do not move.
    fn drops_front(&self) -> bool {
        self.0.options.versions == Versions::Numbers
    }

    fn check_fill(&self, _: &Descriptor) -> Result<()> {
        Ok(())
    }

    fn check_codec(&self, _: Codec) -> Result<()> {
        Ok(())
    }
}

/// One committed state of a [`MemStore`].
struct MemSnapshot {
    state: Arc<StateData>,
    store: Arc<Inner>,
}

impl MemSnapshot {
    /// The state, for a look-up or a read.
    fn asked(&self) -> &StateData {
        let may = role() != Role::Monitor || !self.store.options.lookups_may_block;
        assert!(may, "a look-up that may block, by the thread that receives faults");
        &self.state
    }
}

impl Drop for MemSnapshot {
    fn drop(&mut self) {
        self.store.ledger().pages.snapshot_ends(&self.store.file, self.state.version);
    }
}

impl Snapshot for MemSnapshot {
    fn version(&self) -> Version {
        self.state.version
    }

    fn file(&self) -> &Arc<dyn DataFile> {
        &self.store.data
    }

    fn lookups_may_block(&self) -> bool {
        self.store.options.lookups_may_block
    }

    fn cached(&self, array: ArrayId, block: BlockNo) -> Vec<CachedPages> {
        let every = self.store.options.cached_but_every;
        let asked = || self.store.asked_for_files.fetch_add(1, Ordering::Relaxed);
        match self.asked().block_at(array, block) {
            Some(block) if every != 0 && (asked() + 1) % every != 0 => block.cached(),
            _ => Vec::new(),
        }
    }

    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()> {
        assert!(buf.len().is_multiple_of(PAGE), "read of {} bytes, which are not whole pages", buf.len());
        let block = self.asked().block_at(array, block);
        for (n, page) in buf.chunks_exact_mut(PAGE).enumerate() {
            let at = block.map_or(&PageAt::Hole, |block| {
                let n = first_page as usize + n;
                assert!(n < block.pages.len(), "read of page {n} of a block of {} pages", block.pages.len());
                &block.pages[n]
            });
            at.read(&*self.store.file, page)?;
        }
        Ok(())
    }
}

impl State for MemSnapshot {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        self.asked().array(name)
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        self.asked().arrays()
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        self.asked().attr(array, name)
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        self.asked().attrs(array)
    }

    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        self.asked().attr_versions(array)
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        self.asked().block(array, block)
    }

    fn same_block(&self, base: &dyn Snapshot, array: ArrayId, block: BlockNo) -> Result<bool> {
        self.asked().same_block(base, array, block)
    }

    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        self.asked().blocks(array, range, visit)
    }
}
