//! The spill map: where a transaction's spilled pages are. It lies over what its snapshot has.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::descriptor::{Descriptor, Version};
use crate::error::Result;
use crate::geometry::{BlockNo, BlockSize, PAGE, page_range};
use crate::page_map::{PageMap, Piece};
use crate::store::{BlockChange, BlockRecord, Origin, PageRun, PageSource, SpillArea, SpilledPages, Store};
use crate::sync::{FaultMutex, FaultMutexGuard};

/// The spill area of one transaction, made on first use.
pub(crate) struct LazySpillArea {
    store: Arc<dyn Store>,
    area: FaultMutex<Option<Arc<dyn SpillArea>>>,
}

impl LazySpillArea {
    pub(crate) fn new(store: &Arc<dyn Store>) -> Arc<LazySpillArea> {
        Arc::new(LazySpillArea { store: store.clone(), area: FaultMutex::new(None) })
    }

    fn begin(&self) -> Result<Arc<dyn SpillArea>> {
        let mut area = self.area.lock();
        match &*area {
            Some(begun) => Ok(begun.clone()),
            None => Ok(area.insert(self.store.spill_area()?).clone()),
        }
    }

    /// What was begun, for the commit to take.
    pub(crate) fn begun(&self) -> Option<Arc<dyn SpillArea>> {
        self.area.lock().clone()
    }
}

/// The spilled pages of one array.
pub(crate) struct SpillMap {
    /// Of its fields only those that never change are looked at.
    array: Descriptor,
    of: Arc<LazySpillArea>,
    blocks: FaultMutex<BTreeMap<u64, SpilledBlock>>,
}

/// Pages of one block, which was stored to, that differ from the snapshot's: none, if all are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpilledBlock {
    /// The block's version in the snapshot.
    pub(crate) seen: Version,
    /// Ascending, apart; none in memory.
    pub(crate) runs: Vec<PageRun>,
}

impl SpillMap {
    pub(crate) fn new(array: &Descriptor, of: &Arc<LazySpillArea>) -> Arc<SpillMap> {
        Arc::new(SpillMap { array: array.clone(), of: of.clone(), blocks: FaultMutex::default() })
    }

    fn lock(&self) -> FaultMutexGuard<'_, BTreeMap<u64, SpilledBlock>> {
        self.blocks.lock()
    }

    pub(crate) fn array(&self) -> &Descriptor {
        &self.array
    }

    /// Writes pages of a block as they are, from `first_page` on.
    pub(crate) fn write(&self, first_page: u32, bytes: &[u8]) -> Result<Vec<PageRun>> {
        Ok(self.of.begin()?.write(&self.array, first_page, bytes)?.into_iter().map(run_of).collect())
    }

    /// Writes all of a block compressed; `None` if it takes `plain_pages` as it is and does not shrink.
    pub(crate) fn write_packed(&self, block: &[u8], plain_pages: usize) -> Result<Option<PageRun>> {
        Ok(self.of.begin()?.write_packed(&self.array, block, plain_pages as u32)?.map(run_of))
    }

    pub(crate) fn block(&self, block: u64) -> Option<SpilledBlock> {
        self.lock().get(&block).cloned()
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.lock().contains_key(&block)
    }

    pub(crate) fn has_any(&self, blocks: Range<u64>) -> bool {
        self.lock().range(blocks).next().is_some()
    }

    /// Whether `page` of `block` is spilled, and is not zero there.
    pub(crate) fn has_bytes(&self, block: u64, page: u32) -> bool {
        let blocks = self.lock();
        let mut runs = blocks.get(&block).into_iter().flat_map(|there| &there.runs);
        runs.any(|run| run.pages.contains(&page) && run.source != PageSource::Zero)
    }

    /// The blocks of `range` around `block` up to the next ones that are spilled; `block` alone if it is.
    pub(crate) fn between(&self, block: u64, range: Range<u64>) -> Range<u64> {
        let blocks = self.lock();
        if blocks.contains_key(&block) {
            return block..block + 1;
        }
        let start = blocks.range(range.start..block).next_back().map_or(range.start, |(&last, _)| last + 1);
        let end = blocks.range(block..range.end).next().map_or(range.end, |(&next, _)| next);
        start..end
    }

    /// Lays `runs` over what is there of `block`, whose version in the snapshot is `seen`.
    pub(crate) fn lay(&self, block: u64, seen: Version, runs: &[PageRun]) {
        let mut blocks = self.lock();
        let there = blocks.entry(block).or_insert_with(|| SpilledBlock { seen, runs: Vec::new() });
        let mut gone = Vec::new();
        for run in runs {
            gone.push(lay(&mut there.runs, run));
        }
        // Places go without the lock: to let go of one may take a while.
        drop(blocks);
        drop(gone);
    }

    /// Forgets the blocks from `blocks` on.
    pub(crate) fn truncate(&self, blocks: u64) {
        let gone = self.lock().split_off(&blocks);
        drop(gone);
    }

    /// Forgets the blocks before `first`.
    pub(crate) fn forget_before(&self, first: BlockNo) {
        let mut blocks = self.lock();
        let kept = blocks.split_off(&first.0);
        let gone = std::mem::replace(&mut *blocks, kept);
        drop(blocks);
        drop(gone);
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    pub(crate) fn saved(&self) -> BTreeMap<u64, SpilledBlock> {
        self.lock().clone()
    }

    pub(crate) fn restore(&self, saved: BTreeMap<u64, SpilledBlock>) {
        let before = std::mem::replace(&mut *self.lock(), saved);
        drop(before);
    }

    /// All that the transaction changed: spilled pages, and over them what is in memory.
    pub(crate) fn with(&self, memory: Vec<BlockChange>) -> Vec<BlockChange> {
        let spilled = self.lock();
        if spilled.is_empty() {
            return memory;
        }
        let mut all: BTreeMap<u64, BlockChange> = spilled
            .iter()
            .map(|(&block, there)| {
                (block, BlockChange { block: BlockNo(block), seen: there.seen, pages: there.runs.clone() })
            })
            .collect();
        drop(spilled);
        for BlockChange { block, seen, pages } in memory {
            let there = all.entry(block.0).or_insert(BlockChange { block, seen, pages: Vec::new() });
            pages.iter().for_each(|run| drop(lay(&mut there.pages, run)));
        }
        all.into_values().collect()
    }
}

fn run_of(written: SpilledPages) -> PageRun {
    PageRun { pages: written.pages.clone(), source: PageSource::Spilled(written) }
}

impl SpilledBlock {
    /// Whether nothing of what lies below shows.
    pub(crate) fn covers(&self, pages: u32) -> bool {
        let mut at = 0;
        self.runs.iter().all(|run| std::mem::replace(&mut at, run.pages.end) == run.pages.start) && at == pages
    }

    /// Where the pages of `block` are if these lie over what is `stored`; `None` if some of them cannot be mapped.
    pub(crate) fn over(&self, block: u64, stored: Option<&BlockRecord>, block_size: BlockSize) -> Option<BlockRecord> {
        let start = block_size.start_of(BlockNo(block));
        let mut map = PageMap::of_block(block, stored, block_size);
        for run in &self.runs {
            let origin = match &run.source {
                PageSource::Spilled(pages) => Origin::Extent(pages.slot.extent(run.pages.start)?),
                PageSource::Zero | PageSource::Memory => Origin::Hole,
            };
            map.overlay(Piece { bytes: page_range(start, &run.pages), origin });
        }
        Some(map.into_record(self.seen, start)).filter(BlockRecord::is_mappable)
    }

    /// Lays its pages over those of the block in `buffer`.
    pub(crate) fn read_over(&self, buffer: &mut [u8]) -> Result<()> {
        for run in &self.runs {
            let bytes = &mut buffer[run.pages.start as usize * PAGE..run.pages.end as usize * PAGE];
            match &run.source {
                PageSource::Spilled(there) => there.slot.read(run.pages.start, bytes)?,
                PageSource::Zero | PageSource::Memory => bytes.fill(0),
            }
        }
        Ok(())
    }
}

/// Lays `new` over `runs`, which are ascending and apart. Returns what it replaced.
fn lay(runs: &mut Vec<PageRun>, new: &PageRun) -> Vec<PageRun> {
    let first = runs.partition_point(|run| run.pages.end <= new.pages.start);
    let last = runs.partition_point(|run| run.pages.start < new.pages.end);
    let mut laid = Vec::with_capacity(3);
    if let Some(before) = runs[first..last].first() {
        laid.extend(part(before, before.pages.start..new.pages.start));
    }
    laid.push(new.clone());
    if let Some(behind) = runs[first..last].last() {
        laid.extend(part(behind, new.pages.end..behind.pages.end));
    }
    runs.splice(first..last, laid).collect()
}

/// Some pages of a run; `None` if there are none.
fn part(run: &PageRun, pages: Range<u32>) -> Option<PageRun> {
    let source = match &run.source {
        _ if pages.is_empty() => return None,
        PageSource::Spilled(there) => PageSource::Spilled(there.part(pages.clone())),
        other => other.clone(),
    };
    Some(PageRun { pages, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero(pages: Range<u32>) -> PageRun {
        PageRun { pages, source: PageSource::Zero }
    }

    fn memory(pages: Range<u32>) -> PageRun {
        PageRun { pages, source: PageSource::Memory }
    }

    #[test]
    fn a_run_replaces_what_it_lies_over_and_no_more() {
        let mut runs = vec![zero(0..4), zero(6..8), zero(10..16)];
        lay(&mut runs, &memory(2..12));
        assert_eq!(runs, [zero(0..2), memory(2..12), zero(12..16)]);
        lay(&mut runs, &zero(5..6));
        assert_eq!(runs, [zero(0..2), memory(2..5), zero(5..6), memory(6..12), zero(12..16)]);
        lay(&mut runs, &memory(20..21));
        assert_eq!(runs.last(), Some(&memory(20..21)));
        lay(&mut runs, &memory(0..32));
        assert_eq!(runs, [memory(0..32)]);
    }

    /// Against a plain list of pages, in any order of runs.
    #[test]
    fn pages_are_those_of_the_last_run_that_has_them() {
        for seed in 0..200u64 {
            let mut runs = Vec::new();
            let mut pages = vec![None; 64];
            let mut x = seed * 0x9e37_79b9 + 1;
            for _ in 0..12 {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (start, len, is_zero) = ((x >> 33) as u32 % 60, 1 + (x >> 50) as u32 % 9, x >> 63 == 0);
                let end = (start + len).min(64);
                let run = if is_zero { zero(start..end) } else { memory(start..end) };
                lay(&mut runs, &run);
                pages[start as usize..end as usize].fill(Some(run.source));
            }
            let mut found = vec![None; 64];
            for pair in runs.windows(2) {
                assert!(pair[0].pages.end <= pair[1].pages.start, "seed {seed}: {runs:?}");
            }
            for run in &runs {
                found[run.pages.start as usize..run.pages.end as usize].fill(Some(run.source.clone()));
            }
            assert_eq!(found, pages, "seed {seed}");
        }
    }

    #[test]
    fn a_block_is_covered_by_runs_without_a_gap() {
        let block = |runs| SpilledBlock { seen: Version(0), runs };
        assert!(block(vec![zero(0..4), zero(4..16)]).covers(16));
        assert!(!block(vec![zero(0..4), zero(5..16)]).covers(16));
        assert!(!block(vec![zero(0..4)]).covers(16));
        assert!(!block(vec![]).covers(16));
    }
}
