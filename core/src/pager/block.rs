//! A block in memory: how it came there, and each way in which it changes.
//!
//! | transition | from | to |
//! |---|---|---|
//! | [`let_writer_in`](Block::let_writer_in) | Clean | Dirty |
//! | [`note_store`](Block::note_store) | Dirty | Dirty, surely stored to |
//! | [`remap_committed`](Block::remap_committed) | Zero, Mapped | Mapped, charged nothing |
//! | [`map_spilled`](Block::map_spilled) | Zero, Mapped, MemfdCopy | Mapped, or MemfdCopy as before; with spilled pages |
//! | [`mark_spilled`](Block::mark_spilled) | any but Poisoned | the same, with spilled pages |
//! | [`count_exposure`](Block::count_exposure) | Mapped without a hole, scanned | the same |
//! | [`track_async`](Block::track_async) | Mapped, scanned | Mapped, tracked |
//!
//! In any other state a transition is refused, and the block stays as it is. Poisoned has no way out: the block is
//! forgotten, whole.

use crate::descriptor::Version;
use crate::memory::Residency;
use crate::page_map::is_hole;
use crate::pager::eviction::budget::Charge;
use crate::store::{BlockRecord, Origin};

/// How an installed block came into memory, hence how a write to it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Zero memory over a hole. Written pages are present and not the zero page.
    Zero,
    /// Extents mapped privately: written pages are not file-backed. Zero memory over hole pages.
    Mapped,
    /// Copied into a memfd of the span's own, in an eager span. Written pages are not file-backed.
    MemfdCopy,
    /// Copied and write-protected: unwritten, but for pages that lost their protection.
    Clean,
    /// Copied, and writes go through. Comparing with the snapshot finds the pages that changed.
    Dirty,
    /// Could not be loaded: any access ends the process, and the transaction does not commit.
    Poisoned,
}

/// How written pages of a mapped block are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// By a scan of its pages.
    Scan {
        /// Transactions that exposed the whole block mutably and did not change it.
        clean_exposures: u32,
    },
    /// By [async write tracking](crate::memory::TrackWrites::track_writes): a search costs by what was written.
    Async,
}

/// An installed block.
#[derive(Debug)]
pub(crate) struct Block {
    kind: Kind,
    /// What storage said when it was installed; `None` for a hole that nothing was ever stored to.
    record: Option<BlockRecord>,
    tracking: Tracking,
    /// Spilled pages of its transaction lie over those of the record.
    has_spilled: bool,
    /// Copied, and a fault told of a store to it: without one it may only have been made writable.
    is_stored_to: bool,
    /// Its share of the budget; `None` for memory that the kernel reclaims by itself.
    charge: Option<Charge>,
}

impl Block {
    fn new(kind: Kind, record: Option<BlockRecord>, charge: Option<Charge>) -> Block {
        let tracking = Tracking::Scan { clean_exposures: 0 };
        Block { kind, record, tracking, has_spilled: false, is_stored_to: false, charge }
    }

    /// Zero memory over a hole.
    pub(crate) fn zero(record: Option<BlockRecord>, charge: Option<Charge>) -> Block {
        debug_assert!(is_hole(record.as_ref()));
        Block::new(Kind::Zero, record, charge)
    }

    /// The pages of `record`, mapped.
    pub(crate) fn mapped(record: BlockRecord) -> Block {
        Block::new(Kind::Mapped, Some(record), None)
    }

    /// A copy, write-protected in a lazy span.
    pub(crate) fn copied(residency: Residency, record: Option<BlockRecord>, charge: Charge) -> Block {
        let kind = match residency {
            Residency::Lazy => Kind::Clean,
            Residency::Eager => Kind::MemfdCopy,
        };
        Block::new(kind, record, Some(charge))
    }

    /// Memory that no access may reach, or that holds anything.
    pub(crate) fn poisoned() -> Block {
        Block::new(Kind::Poisoned, None, None)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn record(&self) -> Option<&BlockRecord> {
        self.record.as_ref()
    }

    /// Version of its content in the snapshot.
    pub(crate) fn version(&self) -> Version {
        self.record.as_ref().map_or(Version(0), |record| record.version)
    }

    /// Whether storage has a hole there.
    pub(crate) fn is_of_hole(&self) -> bool {
        is_hole(self.record.as_ref())
    }

    /// Whether the memory still is what `record` says.
    pub(crate) fn is(&self, record: Option<&BlockRecord>) -> bool {
        self.kind != Kind::Poisoned && !self.has_spilled && self.record.as_ref() == record
    }

    pub(crate) fn has_spilled(&self) -> bool {
        self.has_spilled
    }

    pub(crate) fn is_stored_to(&self) -> bool {
        self.is_stored_to
    }

    pub(crate) fn is_charged(&self) -> bool {
        self.charge.is_some()
    }

    /// Whether it is what the budget charged by `ticket`.
    pub(crate) fn is_charged_by(&self, ticket: u64) -> bool {
        self.charge.as_ref().is_some_and(|charge| charge.ticket() == ticket)
    }

    /// What it is charged, if anything, is `bytes` from here on.
    pub(crate) fn recharge(&self, bytes: usize) {
        if let Some(charge) = &self.charge {
            charge.become_of(bytes);
        }
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.tracking == Tracking::Async
    }

    /// Lets writers to a copy through. `by_store`: a fault told of a store.
    pub(crate) fn let_writer_in(&mut self, by_store: bool) -> bool {
        if self.kind != Kind::Clean {
            return false;
        }
        self.kind = Kind::Dirty;
        self.is_stored_to = by_store;
        if let Some(charge) = &self.charge {
            charge.is_written_to();
        }
        true
    }

    /// A store comes to a copy that lets writers through, and no fault tells of it.
    pub(crate) fn note_store(&mut self) -> bool {
        let is_dirty = self.kind == Kind::Dirty;
        self.is_stored_to |= is_dirty;
        is_dirty
    }

    /// It is mapped as a commit stored it. The kernel reclaims its memory from here on.
    pub(crate) fn remap_committed(&mut self, record: BlockRecord) -> bool {
        if !matches!(self.kind, Kind::Zero | Kind::Mapped) {
            return false;
        }
        self.kind = Kind::Mapped;
        self.charge = None;
        self.record = Some(record);
        true
    }

    /// Spilled pages of it are mapped, as `record` says, in place of the memory that they were spilled from.
    pub(crate) fn map_spilled(&mut self, record: BlockRecord) -> bool {
        let kind = match self.kind {
            Kind::Zero | Kind::Mapped => Kind::Mapped,
            // All of its pages are a file's, the memfd's or the data file's.
            Kind::MemfdCopy => Kind::MemfdCopy,
            Kind::Clean | Kind::Dirty | Kind::Poisoned => return false,
        };
        let charge = self.charge.take().filter(|_| kind == Kind::MemfdCopy);
        *self = Block { has_spilled: true, ..Block::new(kind, Some(record), charge) };
        true
    }

    /// Spilled pages lie over those of its record: the memory is of no committed state.
    pub(crate) fn mark_spilled(&mut self) -> bool {
        let can_be = self.kind != Kind::Poisoned;
        self.has_spilled |= can_be;
        can_be
    }

    /// Counts a transaction that exposed all of it mutably and did not change it. How many there were; `None` where
    /// async tracking would find no more than a scan does.
    pub(crate) fn count_exposure(&mut self) -> Option<u32> {
        let record = self.record.as_ref().filter(|_| self.kind == Kind::Mapped)?;
        let has_holes = || record.segments.iter().any(|segment| segment.origin == Origin::Hole);
        match &mut self.tracking {
            Tracking::Scan { clean_exposures } if !has_holes() => {
                *clean_exposures = clean_exposures.saturating_add(1);
                Some(*clean_exposures)
            }
            Tracking::Scan { .. } | Tracking::Async => None,
        }
    }

    /// Its written pages are found by async tracking from here on.
    pub(crate) fn track_async(&mut self) -> bool {
        let can_be = self.kind == Kind::Mapped && self.tracking != Tracking::Async;
        if can_be {
            self.tracking = Tracking::Async;
        }
        can_be
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::{Clean, Dirty, Mapped, MemfdCopy, Poisoned, Zero};
    use super::*;
    use crate::pager::Budget;
    use crate::store::Segment;

    fn record(origin: Origin) -> BlockRecord {
        BlockRecord { version: Version(1), segments: vec![Segment { pages: 0..16, origin }] }
    }

    /// A block in each state, charged where it is.
    fn every_state() -> Vec<Block> {
        let budget = Budget::new(1 << 20);
        let charge = || budget.charge_for_test();
        let stored = || record(Origin::Extent(0));
        let mut dirty = Block::copied(Residency::Lazy, Some(stored()), charge());
        assert!(dirty.let_writer_in(false));
        vec![
            Block::zero(None, Some(charge())),
            Block::mapped(stored()),
            Block::copied(Residency::Eager, Some(stored()), charge()),
            Block::copied(Residency::Lazy, Some(stored()), charge()),
            dirty,
            Block::poisoned(),
        ]
    }

    /// Each state that `transition` leads to, from each; `None` where it is refused, and then nothing changes.
    fn outcomes(transition: impl Fn(&mut Block) -> bool) -> Vec<(Kind, Option<Kind>)> {
        let outcome = |mut block: Block| {
            let (from, before) = (block.kind, format!("{block:?}"));
            let made = transition(&mut block);
            assert!(made || format!("{block:?}") == before, "{from:?} was refused and changed: {block:?}");
            (from, made.then_some(block.kind))
        };
        every_state().into_iter().map(outcome).collect()
    }

    fn refused_but(made: &[(Kind, Kind)]) -> Vec<(Kind, Option<Kind>)> {
        let states = [Zero, Mapped, MemfdCopy, Clean, Dirty, Poisoned];
        states.map(|from| (from, made.iter().find(|(state, _)| *state == from).map(|(_, to)| *to))).to_vec()
    }

    #[test]
    fn each_transition_is_made_from_its_states_and_refused_in_all_others() {
        let stored = || record(Origin::Extent(4096));
        assert_eq!(outcomes(|block| block.let_writer_in(true)), refused_but(&[(Clean, Dirty)]));
        assert_eq!(outcomes(Block::note_store), refused_but(&[(Dirty, Dirty)]));
        let remapped = outcomes(|block| block.remap_committed(stored()));
        assert_eq!(remapped, refused_but(&[(Zero, Mapped), (Mapped, Mapped)]));
        let mapped = outcomes(|block| block.map_spilled(stored()));
        assert_eq!(mapped, refused_but(&[(Zero, Mapped), (Mapped, Mapped), (MemfdCopy, MemfdCopy)]));
        let all = [Zero, Mapped, MemfdCopy, Clean, Dirty].map(|kind| (kind, kind));
        assert_eq!(outcomes(Block::mark_spilled), refused_but(&all));
        assert_eq!(outcomes(|block| block.count_exposure().is_some()), refused_but(&[(Mapped, Mapped)]));
        assert_eq!(outcomes(Block::track_async), refused_but(&[(Mapped, Mapped)]));
    }

    #[test]
    fn only_a_copy_in_memory_of_its_own_is_charged_after_it_is_mapped() {
        for mut block in every_state() {
            let (kind, made) = (block.kind, block.map_spilled(record(Origin::Extent(4096))));
            assert!(!made || block.is_charged() == (kind == MemfdCopy) && block.has_spilled(), "{block:?}");
        }
        for mut block in every_state() {
            let made = block.remap_committed(record(Origin::Extent(4096)));
            assert!(!made || !block.is_charged() && block.is(Some(&record(Origin::Extent(4096)))), "{block:?}");
        }
    }

    #[test]
    fn a_block_with_spilled_pages_or_poison_is_no_record() {
        for mut block in every_state() {
            let stored = block.record().cloned();
            assert_eq!(block.is(stored.as_ref()), block.kind != Poisoned);
            block.mark_spilled();
            assert!(!block.is(stored.as_ref()), "{block:?}");
        }
    }

    #[test]
    fn a_block_is_tracked_once_and_not_where_it_has_holes() {
        let mut block = Block::mapped(record(Origin::Extent(0)));
        assert_eq!((block.count_exposure(), block.count_exposure()), (Some(1), Some(2)));
        assert!(block.track_async() && block.is_tracked());
        assert!(!block.track_async() && block.count_exposure().is_none());
        let holes = Segment { pages: 16..17, origin: Origin::Hole };
        let mut part = record(Origin::Extent(0));
        part.segments.push(holes);
        assert_eq!(Block::mapped(part).count_exposure(), None);
    }
}
