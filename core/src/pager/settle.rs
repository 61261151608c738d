//! Step 8 of a commit: the memory that was written to shows what was stored of it, so that the next transaction meets
//! no fault there.
//!
//! Pages are compared by where they are stored. One that was written has moved, since a commit stores nothing over what
//! anybody can see; one that lies where it did before is mapped as it should be, and stays.

use std::ops::Range;
use std::sync::Arc;

use super::plan::page_range;
use super::table::{Kind, Search, Table, is_mappable};
use super::{Pager, Residency};
use crate::descriptor::ArrayId;
use crate::error::Result;
use crate::geometry::{BlockNo, BlockSize, PAGE};
use crate::store::{BlockRecord, DataFile, Origin, Snapshot};

/// Where more blocks than this were written to, all of them are given back in a few calls rather than mapped one by
/// one: who wrote so much may not need it again.
const MOST_BLOCKS: usize = 64;

/// The same for pages of one block that do not follow each other.
const MOST_RUNS: usize = 8;

impl Pager {
    /// Maps what was written to the blocks `touched` from where `committed` has it. Returns those that have to be given
    /// back instead: so have those of them that are `zeroed`, where what was written to a hole is still in memory. The
    /// snapshot before is still held, so that everything that is mapped is as it was.
    pub(crate) fn settle(
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
            let settled = match committed.block(array, BlockNo(block))? {
                _ if zeroed.binary_search(&block).is_ok() => false,
                Some(record) => self.settle_block(&mut self.lock(), block, record, committed.file()),
                None => false,
            };
            if !settled {
                rest.push(block);
            }
        }
        Ok(rest)
    }

    /// Whether the block now shows `record`. If not, it holds anything.
    fn settle_block(&self, table: &mut Table, block: u64, record: BlockRecord, file: &Arc<dyn DataFile>) -> bool {
        let Some(entry) = table.blocks.get_mut(&block) else { return false };
        if !matches!(entry.kind, Kind::Zero | Kind::Mapped) || !is_mappable(&record) {
            return false;
        }
        let Some(moved) = moved(entry.record.as_ref(), &record, self.block_size) else { return false };
        if !self.memory.has_room_for_mappings(2 * moved.len()) {
            return false;
        }
        let start = self.block_size.start_of(BlockNo(block));
        for (pages, offset) in moved {
            let bytes = page_range(start, &pages);
            if self.span.remap(bytes.clone(), file, offset).is_err() {
                return false;
            }
            // All of an armed block is.
            if entry.search == Search::Armed && !self.span.arm(bytes).is_ok_and(|armed| armed) {
                return false;
            }
        }
        entry.kind = Kind::Mapped;
        entry.charge = None; // the kernel reclaims it from here on
        entry.record = Some(record);
        true
    }
}

/// The pages that are stored elsewhere in `new` than in `old`, in runs that follow each other in the file, each with
/// where it begins there. `None` if some became holes, or there are too many runs.
fn moved(old: Option<&BlockRecord>, new: &BlockRecord, block_size: BlockSize) -> Option<Vec<(Range<u32>, u64)>> {
    let (before, after) = (places(old, block_size), places(Some(new), block_size));
    let mut runs: Vec<(Range<u32>, u64)> = Vec::new();
    for (page, (before, after)) in (0..).zip(before.iter().zip(&after)) {
        if before == after {
            continue;
        }
        let after = (*after)?;
        match runs.last_mut() {
            Some((pages, from)) if pages.end == page && *from + pages.len() as u64 * PAGE as u64 == after => {
                pages.end += 1;
            }
            _ => runs.push((page..page + 1, after)),
        }
    }
    (runs.len() <= MOST_RUNS).then_some(runs)
}

/// For each page of a block, the byte of the file that it is stored from; `None` for a hole.
fn places(record: Option<&BlockRecord>, block_size: BlockSize) -> Vec<Option<u64>> {
    let mut places = vec![None; block_size.pages() as usize];
    for segment in record.iter().flat_map(|record| &record.segments) {
        let Origin::Extent(start) = segment.origin else { continue };
        for (page, n) in segment.pages.clone().zip(0..) {
            places[page as usize] = Some(start + n * PAGE as u64);
        }
    }
    places
}
