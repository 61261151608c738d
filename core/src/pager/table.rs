//! The block table of one span: which blocks are missing, loading or installed, and how.

use std::collections::BTreeMap;
use std::ops::Range;

use super::binding::Binding;
use super::budget::Charge;
use super::streams::Streams;
use crate::descriptor::{ArrayId, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Residency;
use crate::store::BlockRecord;

/// How an installed block came into memory, hence how a write to it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Zero memory over a hole. Written pages are present and not the zero page.
    Zero,
    /// Extents mapped privately: written pages are not file-backed. Zero memory over hole pages.
    Mapped,
    /// Copied into a file of the span's own, in an eager span. Written pages are not file-backed.
    Filed,
    /// Copied and write-protected: unwritten, but for pages that are protected no more.
    Clean,
    /// Copied, and writes go through. What really changed is found by comparing.
    Dirty,
    /// Could not be loaded: any access ends the process, and the transaction does not commit.
    Poisoned,
}

/// An installed block.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// What storage said when it was installed; `None` for a hole that nothing was ever stored to.
    pub(crate) record: Option<BlockRecord>,
    /// How writes to it are searched for.
    pub(crate) search: Search,
    /// Bytes that its transaction spilled lie over those of the record.
    pub(crate) is_spilled: bool,
    /// Copied, and a fault told of a store to it: without one it may only have been made writable.
    pub(crate) is_stored_to: bool,
    /// What it counts in the budget; `None` for what the kernel reclaims by itself.
    pub(crate) charge: Option<Charge>,
}

/// How writes to a mapped block are searched for; of other kinds it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Search {
    /// Page by page; so many transactions have had all of it to write to, and left it as it was.
    Plain(u32),
    /// [Armed](crate::memory::Span::track_writes): at a cost by what was written.
    Armed,
}

impl Entry {
    pub(crate) fn new(kind: Kind, record: Option<BlockRecord>) -> Entry {
        Entry { kind, record, search: Search::Plain(0), is_spilled: false, is_stored_to: false, charge: None }
    }

    /// Version of the block's content.
    pub(crate) fn version(&self) -> Version {
        self.record.as_ref().map_or(Version(0), |r| r.version)
    }

    /// Whether storage has a hole there.
    pub(crate) fn is_of_hole(&self) -> bool {
        self.record.as_ref().is_none_or(BlockRecord::is_hole)
    }

    /// Whether the memory still is what `record` says.
    pub(crate) fn is(&self, record: Option<&BlockRecord>) -> bool {
        self.kind != Kind::Poisoned && !self.is_spilled && self.record.as_ref() == record
    }
}

/// Blocks that are being loaded, and the number of the load. Another that takes over has another number.
struct Run {
    load: u64,
    blocks: Range<u64>,
    /// The load waits for its turn: whoever needs one of the blocks may do it himself.
    waits: bool,
}

/// What a fault finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing there and nobody at it.
    Missing,
    /// Somebody is at it, and wakes everyone who waits.
    Loading,
    /// In memory.
    Installed(Kind),
}

/// All of it changes under one lock, which no thread holds while it touches the span's memory.
pub(crate) struct Table {
    residency: Residency,
    /// Raised whenever what the span shows changes. A load that began under an older one is dropped.
    pub(crate) generation: u64,
    pub(crate) binding: Option<Binding>,
    /// How many loads have it as well.
    pub(crate) lent: usize,
    /// Installed blocks. Of an eager span, those that are not zero memory.
    pub(crate) blocks: BTreeMap<u64, Entry>,
    /// Runs being loaded, apart from each other and from `blocks`.
    loading: Vec<Run>,
    /// Loads there were so far.
    loads: u64,
    /// For which `changed` of its array the clean entries are right, after a binding ended.
    pub(crate) right_for: Option<(ArrayId, Version)>,
    /// The first failure; it sticks until the span is dropped.
    pub(crate) failure: Option<String>,
    /// What kind it is of: as a commit says it.
    pub(crate) failure_kind: ErrorKind,
    /// Blocks that are being spilled: what is stored to them waits.
    pub(crate) spilling: Vec<u64>,
    /// So many blocks are not to be spilled, as the last one could not be.
    pub(crate) refused_spills: u32,
    /// Nothing is let go of.
    pub(crate) is_pinned: bool,
    /// Who reads what has to be produced.
    pub(super) streams: Streams,
    /// Entries that [are spilled](Entry::is_spilled) may be there.
    pub(crate) has_spilled: bool,
    /// Zero memory that only readers had, so that it counts nothing in the budget, may be there.
    pub(crate) has_uncharged_zeros: bool,
    /// How many faults of a block that is there were answered since it came to be: see `progress`.
    pub(super) answered_in_vain: BTreeMap<u64, u32>,
    /// What is missing is inaccessible, as the span shows nothing and was touched all the same.
    pub(super) is_withdrawn: bool,
    /// Faults are not delivered any more: what is missing was poisoned.
    pub(crate) is_dead: bool,
}

impl Table {
    pub(crate) fn new(residency: Residency) -> Table {
        Table {
            residency,
            generation: 0,
            binding: None,
            lent: 0,
            blocks: BTreeMap::new(),
            loading: Vec::new(),
            loads: 0,
            right_for: None,
            failure: None,
            failure_kind: ErrorKind::Corrupt,
            spilling: Vec::new(),
            refused_spills: 0,
            is_pinned: false,
            has_spilled: false,
            has_uncharged_zeros: false,
            streams: Streams::default(),
            answered_in_vain: BTreeMap::new(),
            is_withdrawn: false,
            is_dead: false,
        }
    }

    pub(crate) fn state(&self, block: u64) -> State {
        match self.blocks.get(&block) {
            Some(_) if self.spilling.contains(&block) => State::Loading,
            Some(entry) => State::Installed(entry.kind),
            None if self.is_dead => State::Installed(Kind::Poisoned),
            None if self.residency == Residency::Eager => State::Installed(Kind::Zero),
            None if self.loading.iter().any(|run| run.blocks.contains(&block)) => State::Loading,
            None => State::Missing,
        }
    }

    /// What the span shows, for a load that runs. It goes [back](Table::take_back).
    pub(crate) fn lend(&mut self) -> Option<Binding> {
        let binding = self.binding.clone();
        self.lent += usize::from(binding.is_some());
        binding
    }

    pub(crate) fn take_back(&mut self, lent: Option<Binding>) {
        // Never the last of its kind: who unbinds the span keeps its own until all are back.
        self.lent -= usize::from(lent.is_some());
    }

    /// Missing → Loading for `block` and its missing neighbours on both sides, as far as `around` reaches. Returns the
    /// number of the load, and what it is to load.
    pub(crate) fn start(&mut self, block: u64, around: Range<u64>) -> (u64, Range<u64>) {
        debug_assert_eq!(self.state(block), State::Missing);
        let end = self.binding.as_ref().map_or(block + 1, |b| b.end.max(block + 1)).min(around.end);
        let end = self.blocks.range(block..end).next().map_or(end, |(&next, _)| next);
        let start = self.blocks.range(around.start..block).next_back().map_or(around.start, |(&last, _)| last + 1);
        let blocks = self.loading.iter().map(|other| &other.blocks).fold(start..end, |run, other| {
            if other.start > block { run.start..run.end.min(other.start) } else { run.start.max(other.end)..run.end }
        });
        self.loads += 1;
        self.loading.push(Run { load: self.loads, blocks: blocks.clone(), waits: false });
        self.answered_in_vain.retain(|answered, _| !blocks.contains(answered));
        (self.loads, blocks)
    }

    fn run_of(&mut self, load: u64) -> Option<&mut Run> {
        self.loading.iter_mut().find(|run| run.load == load)
    }

    /// The load waits for its turn from here on.
    pub(crate) fn park(&mut self, load: u64) {
        if let Some(run) = self.run_of(load) {
            run.waits = true;
        }
    }

    /// The load waits no more. `false` if there is nothing for it to do: nobody needs it, or somebody took it over.
    pub(crate) fn resume(&mut self, load: u64) -> bool {
        self.run_of(load).map(|run| run.waits = false).is_some()
    }

    /// Another load in place of the one of `block`, if that waits for its turn. What that one was told by storage may not
    /// be so any more by the time it resumes: the block may have been spilled, and be loading again.
    pub(crate) fn take_over(&mut self, block: u64) -> Option<(u64, Range<u64>)> {
        let run = self.loading.iter_mut().find(|run| run.waits && run.blocks.contains(&block))?;
        self.loads += 1;
        (run.load, run.waits) = (self.loads, false);
        Some((run.load, run.blocks.clone()))
    }

    /// Loading → Missing, for what was not installed meanwhile.
    pub(crate) fn finish(&mut self, load: u64) {
        self.loading.retain(|run| run.load != load);
    }

    /// Loading → Missing for all of the load's blocks but `kept`.
    pub(crate) fn narrow(&mut self, load: u64, kept: &Range<u64>) {
        if let Some(run) = self.run_of(load) {
            run.blocks = kept.clone();
        }
    }

    /// What is in memory of the block may be anything; nobody sees it before it was compared with storage.
    pub(super) fn distrust(&mut self, block: u64) {
        self.right_for = None;
        self.blocks.insert(block, Entry::new(Kind::Poisoned, None));
    }

    /// Takes the ground from under every load in flight.
    pub(crate) fn raise_generation(&mut self) {
        self.generation += 1;
        self.answered_in_vain.clear();
        self.loading.clear();
    }

    /// Refuses what would store the span's bytes.
    pub(crate) fn refuse_if_failed(&self) -> Result<()> {
        match &self.failure {
            Some(why) => Err(Error::new(self.failure_kind, format!("nothing is stored after a failure: {why}"))),
            None => Ok(()),
        }
    }

    /// The transaction cannot be committed any more, but what it shows is right.
    pub(crate) fn fail_with(&mut self, why: &Error) {
        if self.failure.is_none() {
            self.failure = Some(why.to_string());
            self.failure_kind = why.kind();
        }
    }

    /// The version of `block` in the snapshot.
    pub(crate) fn version_of(&self, block: u64) -> Version {
        self.blocks.get(&block).map_or(Version(0), Entry::version)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind) -> Entry {
        Entry::new(kind, None)
    }

    #[test]
    fn a_run_ends_before_what_is_installed_or_loading() {
        let mut table = Table::new(Residency::Lazy);
        table.blocks.insert(9, entry(Kind::Zero));
        let (load, blocks) = table.start(3, 3..4);
        assert_eq!(blocks, 3..4);
        assert_eq!(table.state(3), State::Loading);
        assert_eq!(table.state(9), State::Installed(Kind::Zero));
        table.finish(load);
        assert_eq!(table.state(3), State::Missing);
    }

    #[test]
    fn a_new_generation_forgets_loads() {
        let mut table = Table::new(Residency::Lazy);
        table.start(3, 0..64);
        table.raise_generation();
        assert_eq!(table.state(3), State::Missing);
    }

    #[test]
    fn what_waits_for_its_turn_is_taken_over_once() {
        let mut table = Table::new(Residency::Lazy);
        let (load, blocks) = table.start(3, 3..4);
        assert_eq!(table.take_over(3), None);
        table.park(load);
        let (taken, same) = table.take_over(3).unwrap();
        assert_eq!((same, table.take_over(3)), (blocks, None));
        // Who was to do it neither does it too, nor gives it up, also when it is to be done once more.
        assert!(!table.resume(load));
        table.finish(load);
        assert_eq!(table.state(3), State::Loading);
        table.finish(taken);
        let (again, _) = table.start(3, 3..4);
        table.park(again);
        assert!(!table.resume(load) && table.resume(again));
        table.finish(again);
        assert_eq!(table.state(3), State::Missing);
    }

    #[test]
    fn an_eager_span_has_nothing_missing() {
        let table = Table::new(Residency::Eager);
        assert_eq!(table.state(77), State::Installed(Kind::Zero));
    }

    #[test]
    fn gaps_are_what_lies_between_entries() {
        let mut table = Table::new(Residency::Lazy);
        for block in [2, 3, 7] {
            table.blocks.insert(block, entry(Kind::Clean));
        }
        assert_eq!(table.gaps(0..10), [0..2, 4..7, 8..10]);
        assert_eq!(table.gaps(2..4), []);
    }
}
