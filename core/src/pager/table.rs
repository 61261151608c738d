//! The block table of one span: which blocks are missing, loading or installed. It has all else that changes under the
//! one lock of the table, which no thread holds while it touches the span's memory: what the span shows, its loads, its
//! spills. Each part changes by its own methods only.

use std::collections::BTreeMap;
use std::ops::{Range, RangeBounds};
use std::time::Duration;

use crate::descriptor::Version;
use crate::error::{Error, Result};
use crate::failure::FirstFailure;
use crate::memory::Residency;
use crate::pager::binding::Shown;
use crate::pager::block::{Block, Kind};
use crate::pager::eviction::spills::Spills;
use crate::pager::load::futile::FutileFaults;
use crate::pager::load::loading::Loading;
use crate::pager::load::streams::Streams;
use crate::store::BlockRecord;

/// What a fault finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Not in memory, and not being loaded.
    Missing,
    /// Being loaded, or being spilled. All waiting threads are woken when that ends.
    Loading,
    /// In memory.
    Installed(Kind),
}

/// A thread that waits for storage tries again sooner than this after each failure.
const GAP: Duration = Duration::from_secs(1);

/// Storage that does not answer.
#[derive(Clone, Copy)]
struct Unavailable {
    /// The time that counts since the first failure.
    waited: Duration,
    /// When the last failure was.
    last: Duration,
}

#[derive(Default)]
pub(crate) struct Table {
    residency: Residency,
    /// Raised whenever what the span shows changes. A load that began under an older one is dropped.
    generation: u64,
    /// Installed blocks. Of an eager span, those that are not zero memory.
    blocks: BTreeMap<u64, Block>,
    pub(crate) shown: Shown,
    /// Runs being loaded, apart from `blocks`.
    pub(crate) loading: Loading,
    /// If no load of this binding has succeeded since storage was unavailable.
    unavailable: Option<Unavailable>,
    /// Readers of blocks that have to be produced.
    pub(crate) streams: Streams,
    /// Faults of installed blocks.
    pub(crate) futile_faults: FutileFaults,
    /// Installed blocks that are being spilled.
    pub(crate) spills: Spills,
    failure: FirstFailure,
    /// Blocks with spilled pages may be there.
    has_spilled: bool,
    /// Zero memory that only readers had, so that it counts nothing in the budget, may be there.
    has_uncharged_zeros: bool,
    /// Faults are not delivered any more: missing blocks were poisoned.
    is_dead: bool,
}

impl Table {
    pub(crate) fn new(residency: Residency) -> Table {
        Table { residency, ..Table::default() }
    }
}

/// Blocks and their states.
impl Table {
    pub(crate) fn presence(&self, block: u64) -> Presence {
        match self.blocks.get(&block) {
            Some(_) if self.spills.has(block) => Presence::Loading,
            Some(there) => Presence::Installed(there.kind()),
            None if self.is_dead => Presence::Installed(Kind::Poisoned),
            None if self.residency == Residency::Eager => Presence::Installed(Kind::Zero),
            None if self.loading.has(block) => Presence::Loading,
            None => Presence::Missing,
        }
    }

    /// The block, if it is installed; in an eager span, if it is more than zero memory.
    pub(crate) fn block(&self, block: u64) -> Option<&Block> {
        self.blocks.get(&block)
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.blocks.contains_key(&block)
    }

    /// Installed blocks of `range`, ascending.
    pub(crate) fn blocks(&self, range: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, &Block)> {
        self.blocks.range(range).map(|(&block, there)| (block, there))
    }

    /// The numbers of installed blocks of `range` that `is_wanted`.
    pub(crate) fn numbers(&self, range: impl RangeBounds<u64>, is_wanted: impl Fn(&Block) -> bool) -> Vec<u64> {
        self.blocks(range).filter(|(_, there)| is_wanted(there)).map(|(block, _)| block).collect()
    }

    /// The version of `block` in the snapshot.
    pub(crate) fn version_of(&self, block: u64) -> Version {
        self.blocks.get(&block).map_or(Version(0), Block::version)
    }

    /// Runs of `range` that nothing is installed in.
    pub(crate) fn gaps(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = range.start;
        for &block in self.blocks.range(range.clone()).map(|(block, _)| block) {
            if at < block {
                gaps.push(at..block);
            }
            at = block + 1;
        }
        if at < range.end {
            gaps.push(at..range.end);
        }
        gaps
    }
}

/// Blocks: each transition under its name; see [`Block`] for those that refuse.
impl Table {
    /// Missing → Installed.
    pub(crate) fn install(&mut self, block: u64, new: Block) {
        debug_assert!(
            self.blocks.get(&block).is_none_or(|there| there.kind() == Kind::Poisoned),
            "block {block} is installed already"
        );
        self.unavailable = None;
        self.has_spilled |= new.has_spilled();
        let is_lazy = self.residency == Residency::Lazy;
        self.has_uncharged_zeros |= is_lazy && new.kind() == Kind::Zero && !new.is_charged();
        self.blocks.insert(block, new);
    }

    /// Installed → Missing.
    pub(crate) fn forget(&mut self, block: u64) {
        debug_assert!(!self.spills.has(block), "block {block} is being spilled");
        self.blocks.remove(&block);
    }

    /// Any state → Poisoned: the transaction cannot be committed any more.
    pub(crate) fn poison(&mut self, block: u64, why: &Error) {
        self.fail_with(why);
        self.blocks.insert(block, Block::poisoned());
    }

    /// Installed → Poisoned, in a span that shows nothing: the memory may hold anything. The next binding compares
    /// every block with storage, so no view sees it.
    pub(crate) fn distrust(&mut self, block: u64) {
        self.shown.valid_for = None;
        self.blocks.insert(block, Block::poisoned());
    }

    /// Zero memory in `block`, if it is charged, is charged `bytes` from here on.
    pub(crate) fn recharge_zero(&mut self, block: u64, bytes: usize) {
        if let Some(there) = self.blocks.get(&block).filter(|there| there.kind() == Kind::Zero) {
            there.recharge(bytes);
        }
    }

    /// Clean → Dirty.
    pub(crate) fn let_writer_in(&mut self, block: u64, by_store: bool) -> bool {
        self.futile_faults.forget(block);
        self.blocks.get_mut(&block).is_some_and(|there| there.let_writer_in(by_store))
    }

    /// See [`Block::note_store`].
    pub(crate) fn note_store(&mut self, block: u64) -> bool {
        self.blocks.get_mut(&block).is_some_and(Block::note_store)
    }

    /// See [`Block::remap_committed`].
    pub(crate) fn remap_committed(&mut self, block: u64, record: BlockRecord) -> bool {
        self.blocks.get_mut(&block).is_some_and(|there| there.remap_committed(record))
    }

    /// See [`Block::map_spilled`]. Zero memory of an eager span becomes a block.
    pub(crate) fn map_spilled(&mut self, block: u64, record: BlockRecord) -> bool {
        let there = self.blocks.entry(block).or_insert_with(|| Block::zero(None, None));
        let made = there.map_spilled(record);
        self.has_spilled |= made;
        made
    }

    /// See [`Block::mark_spilled`]. Zero memory of an eager span stays that.
    pub(crate) fn mark_spilled(&mut self, block: u64) -> bool {
        let made = self.blocks.get_mut(&block).is_some_and(Block::mark_spilled);
        self.has_spilled |= made;
        made
    }

    /// See [`Block::count_exposure`].
    pub(crate) fn count_exposures(&mut self, blocks: Range<u64>) -> Vec<(u64, u32)> {
        let counted = |(&block, there): (&u64, &mut Block)| there.count_exposure().map(|count| (block, count));
        self.blocks.range_mut(blocks).filter_map(counted).collect()
    }

    /// See [`Block::track_async`].
    pub(crate) fn track_async(&mut self, blocks: Range<u64>) {
        for there in self.blocks.range_mut(blocks).map(|(_, there)| there) {
            there.track_async();
        }
    }

    /// The blocks with spilled pages, as the span is about to forget them.
    pub(crate) fn take_spilled(&mut self) -> Vec<u64> {
        if std::mem::take(&mut self.has_spilled) { self.numbers(.., Block::has_spilled) } else { Vec::new() }
    }

    /// The zero memory that counts nothing in the budget, as the span is about to forget it.
    pub(crate) fn take_uncharged_zeros(&mut self) -> Vec<u64> {
        let is_uncharged = |there: &Block| there.kind() == Kind::Zero && !there.is_charged();
        if std::mem::take(&mut self.has_uncharged_zeros) { self.numbers(.., is_uncharged) } else { Vec::new() }
    }
}

/// What the span shows, and the loads and spills under way.
impl Table {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Drops the loads in flight: what the span shows changes.
    pub(crate) fn raise_generation(&mut self) {
        self.generation += 1;
        self.futile_faults = FutileFaults::default();
        self.unavailable = None;
        self.loading.clear();
    }

    /// Missing → Loading for `block` and its missing neighbours on both sides, as far as `around` reaches. Returns the
    /// number of the load, and what it is to load.
    pub(crate) fn start(&mut self, block: u64, around: Range<u64>) -> (u64, Range<u64>) {
        debug_assert_eq!(self.presence(block), Presence::Missing);
        // Nothing is loaded before the first block or behind the last, though the span reaches there.
        let shown = self.shown.binding().map_or(block..block + 1, |b| b.first().min(block)..b.end.max(block + 1));
        let around = around.start.max(shown.start)..around.end.min(shown.end);
        let end = self.blocks.range(block..around.end).next().map_or(around.end, |(&next, _)| next);
        let start = self.blocks.range(around.start..block).next_back().map_or(around.start, |(&last, _)| last + 1);
        let (load, blocks) = self.loading.start(block, start..end);
        self.futile_faults.forget_all(&blocks);
        (load, blocks)
    }

    /// Installed → Loading, until [`Spills::end`].
    pub(crate) fn begin_spill(&mut self, block: u64) {
        debug_assert!(self.has(block) && !self.must_stay(block), "block {block}");
        self.spills.begin(block);
    }

    /// Whether `block` must stay in memory for now.
    pub(crate) fn must_stay(&self, block: u64) -> bool {
        self.spills.is_pinned() || self.is_dead || self.spills.has(block)
    }
}

/// Failures.
impl Table {
    /// Faults are not delivered any more: what is missing is poisoned by the caller. Drops the loads in flight.
    pub(crate) fn die(&mut self, why: &Error) {
        self.raise_generation();
        self.fail_with(why);
        self.is_dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Storage was unavailable to a load that lasted for `load`: whether that is so for less than `patience`.
    ///
    /// The process may have been stopped for long, between two loads or in the middle of one, so a time in which no
    /// thread tried does not count, and one load uses up half of the patience at most.
    pub(crate) fn is_patient(&mut self, load: Range<Duration>, patience: Duration) -> bool {
        let before = self.unavailable.filter(|unavailable| load.start < unavailable.last + GAP);
        let waited = before.map_or(Duration::ZERO, |unavailable| {
            unavailable.waited + load.end.saturating_sub(unavailable.last).min(patience - patience / 2)
        });
        self.unavailable = Some(Unavailable { waited, last: load.end });
        waited < patience
    }

    /// The transaction cannot be committed any more. The first failure sticks.
    pub(crate) fn fail_with(&mut self, why: &Error) {
        self.failure.set(why.clone());
    }

    /// The first failure.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// Refuses what would store the span's bytes.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn refuse_if_failed(&self) -> Result<()> {
        self.failure.check("nothing is stored after a failure")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn zero() -> Block {
        Block::zero(None, None)
    }

    #[test]
    fn a_run_ends_before_what_is_installed_or_loading() {
        let mut table = Table::new(Residency::Lazy);
        table.install(9, zero());
        let (load, blocks) = table.start(3, 3..4);
        assert_eq!(blocks, 3..4);
        assert_eq!(table.presence(3), Presence::Loading);
        assert_eq!(table.presence(9), Presence::Installed(Kind::Zero));
        table.loading.finish(load);
        assert_eq!(table.presence(3), Presence::Missing);
    }

    #[test]
    fn a_new_generation_forgets_loads() {
        let mut table = Table::new(Residency::Lazy);
        table.start(3, 0..64);
        table.raise_generation();
        assert_eq!(table.presence(3), Presence::Missing);
    }

    #[test]
    fn an_eager_span_has_nothing_missing() {
        let table = Table::new(Residency::Eager);
        assert_eq!(table.presence(77), Presence::Installed(Kind::Zero));
    }

    #[test]
    fn gaps_are_what_lies_between_entries() {
        let mut table = Table::new(Residency::Lazy);
        for block in [2, 3, 7] {
            table.install(block, zero());
        }
        assert_eq!(table.gaps(0..10), [0..2, 4..7, 8..10]);
        assert_eq!(table.gaps(2..4), []);
    }

    #[test]
    fn a_block_that_is_spilled_is_loading_until_that_ends() {
        let mut table = Table::new(Residency::Lazy);
        table.install(3, zero());
        table.begin_spill(3);
        assert_eq!((table.presence(3), table.spills.is_any(), table.must_stay(3)), (Presence::Loading, true, true));
        table.spills.end(3);
        assert_eq!((table.presence(3), table.must_stay(3)), (Presence::Installed(Kind::Zero), false));
        table.forget(3);
        assert_eq!(table.presence(3), Presence::Missing);
    }

    #[test]
    fn what_needs_to_go_when_the_binding_changes_is_found_once() {
        let mut table = Table::new(Residency::Lazy);
        (2..5).for_each(|block| table.install(block, zero()));
        assert!(table.mark_spilled(3) && !table.mark_spilled(9));
        assert_eq!((table.take_spilled(), table.take_spilled()), (vec![3], vec![]));
        assert_eq!((table.take_uncharged_zeros(), table.take_uncharged_zeros()), (vec![2, 3, 4], vec![]));
    }

    #[test]
    fn zero_memory_of_an_eager_span_becomes_a_block_when_spilled_pages_are_mapped() {
        let mut table = Table::new(Residency::Eager);
        assert!(table.map_spilled(3, BlockRecord { version: Version(1), segments: Vec::new() }));
        assert_eq!((table.presence(3), table.take_spilled()), (Presence::Installed(Kind::Mapped), vec![3]));
    }

    #[test]
    fn the_first_failure_sticks_and_a_dead_span_has_nothing_missing() {
        let mut table = Table::new(Residency::Lazy);
        table.poison(3, &Error::new(ErrorKind::Corrupt, "torn"));
        table.die(&Error::new(ErrorKind::Io, "no faults"));
        assert_eq!(table.refuse_if_failed().unwrap_err().to_string(), "nothing is stored after a failure: torn");
        assert!(table.failure().unwrap().is_corrupt() && table.is_dead());
        assert_eq!(table.presence(7), Presence::Installed(Kind::Poisoned));
    }
}
