//! Spilling where no view lives: at a quiescent point everything that was written can be found, also in what is mapped.

use crate::error::Result;
use crate::geometry::{Ranges, page_range, runs};
use crate::memory::Residency;
use crate::page_map::{PageMap, Piece};
use crate::pager::Pager;
use crate::pager::block::Block;
use crate::pager::spill_map::SpillMap;
use crate::store::{BlockChange, Origin, PageSource};

impl Pager {
    /// Spills all that was written to `exposed`, and gives back the memory of its own that the span has. No
    /// thread may be using the span.
    ///
    /// # Errors
    /// Then written pages are in memory still, or spilled, or both; it may be tried again.
    pub(crate) fn spill(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        self.pin();
        let done = self.spill_pinned(spill_map, exposed);
        self.unpin();
        done
    }

    /// Spills all that was written to `exposed`, and keeps it: so another span over the same blocks shows it. No
    /// thread may be writing.
    pub(crate) fn spill_and_keep(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        self.pin();
        let done = self
            .written(exposed)
            .and_then(|written| written.changes.iter().try_for_each(|change| self.spill_change(spill_map, change)));
        self.unpin();
        done
    }

    fn spill_pinned(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        let written = self.written(exposed)?;
        for change in &written.changes {
            self.spill_change(spill_map, change)?;
        }
        match self.residency {
            Residency::Lazy => {
                let mut table = self.lock();
                let mut own = table.numbers(.., Block::is_charged);
                own.extend(&written.touched);
                own.sort_unstable();
                own.dedup();
                self.forget(&mut table, &own)
            }
            Residency::Eager => {
                written.changes.iter().try_for_each(|change| self.map_spilled(spill_map, change.block.0))?;
                // Zeros written to zero memory: nothing tells of it from here on. Where there is no room to split
                // mappings it stays until the transaction ends: all between would go too, and no fault brings that
                // back.
                let mut table = self.lock();
                let bare: Vec<u64> = written.touched.iter().copied().filter(|block| !table.has(*block)).collect();
                for run in runs(&bare) {
                    if self.memory.has_room_for_mappings(2) {
                        self.span.reset(self.bytes_of(&run))?;
                        continue;
                    }
                    for block in run {
                        table.install(block, Block::zero(None, None));
                        table.mark_spilled(block);
                    }
                }
                Ok(())
            }
        }
    }

    /// Spills the page at byte `at`, whether it was written to or not.
    pub(crate) fn spill_page(&self, spill_map: &SpillMap, at: usize) -> Result<()> {
        self.pin(); // else it may be let go of before it is read
        let done = self.page_as_written(at).and_then(|page| self.spill_change(spill_map, &page));
        self.unpin();
        done
    }

    /// Spills one change of what is in memory.
    fn spill_change(&self, spill_map: &SpillMap, change: &BlockChange) -> Result<()> {
        let block = change.block.0;
        let is_hole = !spill_map.has(block) && self.lock().block(block).is_none_or(Block::is_of_hole);
        let runs = self.spill_pages(spill_map, self, &change.pages, change.block, is_hole)?;
        spill_map.lay(block, change.seen, &runs);
        Ok(())
    }

    /// Maps spilled pages of a block in place of the memory that they were written from: in an eager span nothing
    /// can be missing. The pages stay as they are until the transaction ends, and are let go of before that.
    fn map_spilled(&self, spill_map: &SpillMap, block: u64) -> Result<()> {
        let Some(there) = spill_map.block(block) else { return Ok(()) };
        let mut table = self.lock();
        if there.runs.is_empty() {
            // It is as it was, and will have another version.
            table.mark_spilled(block);
            return Ok(());
        }
        let Some(file) = table.binding().map(|binding| binding.snapshot.file().clone()) else { return Ok(()) };
        let start = self.bytes_of(&(block..block + 1)).start;
        let record = table.block(block).and_then(Block::record);
        let mut map = PageMap::of_block(block, record, self.block_size);
        for run in &there.runs {
            let PageSource::Spilled(pages) = &run.source else { continue };
            let Some(offset) = pages.slot.extent(run.pages.start) else { continue };
            if !self.memory.has_room_for_mappings(2) {
                continue; // the bytes are in memory, as before
            }
            let bytes = page_range(start, &run.pages);
            if let Err(error) = self.span.remap(bytes.clone(), &file, offset) {
                // They are spilled, but what is in memory may be anything now.
                self.poison(&mut table, block, &error);
                return Err(error);
            }
            map.overlay(Piece { bytes, origin: Origin::Extent(offset) });
        }
        table.map_spilled(block, map.into_record(there.seen, start));
        Ok(())
    }
}
