//! Step 8 of a commit: the memory that was written to shows what was stored of it, so that the next transaction meets
//! no fault there.
//!
//! Pages are compared by where they are stored. One that was written has moved, since a commit stores nothing over what
//! a snapshot refers to; one that lies where it did before is mapped as it should be, and stays.

use std::sync::Arc;

use crate::descriptor::ArrayId;
use crate::error::Result;
use crate::geometry::BlockNo;
use crate::memory::Residency;
use crate::page_map::{PageMap, Piece};
use crate::pager::Pager;
use crate::pager::block::Kind;
use crate::pager::table::Table;
use crate::store::{BlockRecord, DataFile, Origin, Snapshot};

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
        if self.residency == Residency::Eager || self.policy.copy || touched.len() > MOST_BLOCKS {
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
            if self.span.remap(bytes.clone(), file, offset).is_err() {
                return false;
            }
            // A tracked block is tracked whole.
            if there.is_tracked() && !matches!(self.span.track_writes(bytes.clone()), Ok(true)) {
                return false;
            }
        }
        table.remap_committed(block, record)
    }
}
