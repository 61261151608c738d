//! Spilling where no view lives: at a quiescent point everything that was written can be found, also in what is mapped.

use crate::error::Result;
use crate::geometry::Ranges;
use crate::memory::Residency;
use crate::pager::Pager;
use crate::pager::block::Block;
use crate::pager::spill_map::SpillMap;
use crate::pager::track::search::Written;
use crate::store::BlockChange;

impl Pager {
    /// Spills all that was written to `exposed`, and gives back the memory of its own that the span has. No
    /// thread may be using the span.
    ///
    /// # Errors
    /// Then written pages are in memory still, or spilled, or both; it may be tried again.
    pub(crate) fn spill(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        self.pinned(|| self.spill_pinned(spill_map, exposed))
    }

    /// Spills all that was written to `exposed`, and keeps it: so another span over the same blocks shows it. No
    /// thread may be writing.
    pub(crate) fn spill_and_keep(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        self.pinned(|| self.spill_written(spill_map, exposed).map(|_| ()))
    }

    fn spill_pinned(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        let written = self.spill_written(spill_map, exposed)?;
        match self.residency {
            Residency::Lazy => {
                let mut table = self.lock();
                let mut own = table.numbers(.., Block::is_charged);
                own.extend(&written.touched);
                own.sort_unstable();
                own.dedup();
                self.forget(&mut table, &own)
            }
            Residency::Eager => self.remap_spilled(spill_map, &written),
        }
    }

    fn spill_written(&self, spill_map: &SpillMap, exposed: &Ranges) -> Result<Written> {
        let written = self.written(exposed)?;
        written.changes.iter().try_for_each(|change| self.spill_change(spill_map, change))?;
        Ok(written)
    }

    /// Spills one change of what is in memory.
    fn spill_change(&self, spill_map: &SpillMap, change: &BlockChange) -> Result<()> {
        let block = change.block.0;
        let is_hole = !spill_map.has(block) && self.lock().block(block).is_none_or(Block::is_of_hole);
        let runs = self.spill_pages(spill_map, self, &change.pages, change.block, is_hole)?;
        spill_map.lay(block, change.seen, &runs);
        Ok(())
    }
}
