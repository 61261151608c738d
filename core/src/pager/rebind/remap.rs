//! Step 8 of a commit: the memory that was written to shows what was stored of it, so that the next transaction meets
//! no fault there. The same for what was spilled, in an eager span.
//!
//! Pages are compared by where they are stored. One that was written has moved, since a commit stores nothing over what
//! a snapshot refers to; one that lies where it did before is mapped as it should be, and stays.

use std::sync::Arc;

use crate::descriptor::ArrayId;
use crate::error::Result;
use crate::geometry::{BlockNo, page_range, runs};
use crate::memory::Residency;
use crate::page_map::{PageMap, Piece};
use crate::pager::Pager;
use crate::pager::block::{Block, Kind};
use crate::pager::spill_map::SpillMap;
use crate::pager::table::Table;
use crate::pager::track::search::Written;
use crate::store::{BlockRecord, DataFile, Origin, PageSource, Snapshot};

/// Where more blocks than this were written to, all of them are given back in a few calls rather than mapped one by
/// one: so many blocks may not be needed again.
const MOST_BLOCKS: usize = 64;

/// The same for pages of one block that do not follow each other.
const MOST_RUNS: usize = 8;

impl Pager {
    /// Maps what was written to the blocks `touched` from where `committed` has it. Returns those that have to be given
    /// back instead: so have those of them that are `zeroed`, where what was written to a hole is still in memory. The
    /// snapshot before is still held, so that everything that is mapped is as it was.
    pub(crate) fn remap_committed(
        &self,
        touched: &[u64],
        zeroed: &[u64],
        array: ArrayId,
        committed: &dyn Snapshot,
    ) -> Result<Vec<u64>> {
        // Where look-ups may block nothing can be mapped, and a commit that has landed waits for no network.
        let is_in_vain = self.residency == Residency::Eager || self.options.copy || committed.lookups_may_block();
        if is_in_vain || touched.len() > MOST_BLOCKS {
            return Ok(touched.to_vec());
        }
        let mut rest = Vec::new();
        for &block in touched {
            let is_remapped = match committed.block(array, BlockNo(block))? {
                _ if zeroed.binary_search(&block).is_ok() => false,
                Some(record) => self.remap_block(&mut self.lock(), block, record, committed.file()),
                None => false,
            };
            if !is_remapped {
                rest.push(block);
            }
        }
        Ok(rest)
    }

    /// Whether the block now shows `record`. If not, it holds anything.
    fn remap_block(&self, table: &mut Table, block: u64, record: BlockRecord, file: &Arc<dyn DataFile>) -> bool {
        let Some(there) = table.block(block) else { return false };
        let is_whole = record.segments.last().is_none_or(|last| last.pages.end == self.block_size.pages());
        if !matches!(there.kind(), Kind::Zero | Kind::Mapped) || !record.is_mappable() || !is_whole {
            return false;
        }
        let before = PageMap::of_block(block, there.record(), self.block_size);
        let moved = before.diff(&PageMap::of_block(block, Some(&record), self.block_size));
        let moved = moved.pieces();
        let has_holes = moved.iter().any(|piece| piece.origin == Origin::Hole);
        if has_holes || moved.len() > MOST_RUNS || !self.memory.has_room_for_mappings(2 * moved.len()) {
            return false;
        }
        for Piece { bytes, origin } in moved {
            let Origin::Extent(offset) = *origin else { return false };
            if self.rebind.span.remap(bytes.clone(), file, offset).is_err() {
                return false;
            }
            // A tracked block is tracked whole.
            if there.is_tracked() && !self.tracks_again(bytes.clone()) {
                return false;
            }
        }
        table.remap_committed(block, record)
    }

    /// The same at a quiescent point, for what an eager span has of `written`, which was spilled: nothing can be missing
    /// there.
    pub(crate) fn remap_spilled(&self, spill_map: &SpillMap, written: &Written) -> Result<()> {
        written.changes.iter().try_for_each(|change| self.map_spilled(spill_map, change.block.0))?;
        // Zeros written to zero memory: nothing tells of it from here on. Where there is no room to split mappings it
        // stays until the transaction ends: all between would go too, and no fault brings that back.
        let mut table = self.lock();
        let bare: Vec<u64> = written.touched.iter().copied().filter(|block| !table.has(*block)).collect();
        for run in runs(&bare) {
            if self.memory.has_room_for_mappings(2) {
                self.rebind.span.reset(self.bytes_of(&run))?;
                continue;
            }
            for block in run {
                table.install(block, Block::zero(None, None));
                table.mark_spilled(block);
            }
        }
        Ok(())
    }

    /// Maps spilled pages of a block in place of the memory that they were written from. The pages stay as they are until
    /// the transaction ends, and are let go of before that.
    fn map_spilled(&self, spill_map: &SpillMap, block: u64) -> Result<()> {
        let Some(there) = spill_map.block(block) else { return Ok(()) };
        let mut table = self.lock();
        if there.runs.is_empty() {
            // It is as it was, and will have another version.
            table.mark_spilled(block);
            return Ok(());
        }
        let Some(file) = table.shown.binding().map(|binding| binding.snapshot.file().clone()) else { return Ok(()) };
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
            if let Err(error) = self.rebind.span.remap(bytes.clone(), &file, offset) {
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
