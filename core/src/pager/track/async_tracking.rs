//! Making the next search for writes cheap.
//!
//! To find the pages of a mapped block that were written, the system looks at each one that is resident. That is always
//! right, needs no preparation, and is what a commit of one page over a large resident array spends its time on. A
//! block that is handed out mutably, whole, in a second transaction is
//! [tracked](crate::memory::TrackWrites::track_writes), so that the third and all later ones pay by what was written.
//! Not in the first: what is tracked before it is resident comes in page by page, and the first scan would take several
//! times as long.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::geometry::{BlockNo, Ranges, runs};
use crate::pager::Pager;
use crate::pager::table::Table;

impl Pager {
    /// Counts that `exposed`, of an array from byte `start` to before block `end`, was handed out mutably and is as it was,
    /// and arms what was so before. To be called when no thread uses the span and what was written is gone from the table.
    pub(crate) fn track_exposed(&self, table: &mut Table, exposed: &Ranges, (start, end): (usize, u64)) {
        if !self.track.can_track.load(Ordering::Relaxed) {
            return;
        }
        let mut chosen = Vec::new();
        for range in exposed.iter() {
            // Blocks that are exposed whole: to search a part of one is cheap anyway. The first one begins where the array does,
            // and the last one ends where it ends.
            let first = match range.start <= start {
                true => self.block_size.block_at(start).0,
                false => self.block_size.blocks_for(range.start),
            };
            let to_the_end = range.end > self.block_size.start_of(BlockNo(end.saturating_sub(1)));
            let last = if to_the_end { end } else { self.block_size.block_at(range.end).0 };
            for (block, exposures) in table.count_exposures(first..last.max(first)) {
                // Not worth it yet? Looked at again after twice as many.
                if exposures >= 2 && exposures.is_power_of_two() && self.is_worth_tracking(block) {
                    chosen.push(block);
                }
            }
        }
        for run in runs(&chosen) {
            // A tracked block is no more one mapping with its neighbours.
            if !self.memory.has_room_for_mappings(2) {
                return;
            }
            match self.track.span.track_writes(self.bytes_of(&run)) {
                Ok(true) => table.track_async(run),
                // Searched page by page, as before.
                Ok(false) => return self.track.can_track.store(false, Ordering::Relaxed),
                Err(_) => {}
            }
        }
    }

    /// Whether pages of a tracked block, which were mapped anew, are tracked.
    pub(crate) fn tracks_again(&self, pages: Range<usize>) -> bool {
        matches!(self.track.span.track_writes(pages), Ok(true))
    }

    /// Whether most of the block is resident: the rest becomes slower to come in.
    fn is_worth_tracking(&self, block: u64) -> bool {
        let bytes = self.bytes_of(&(block..block + 1));
        let len = bytes.len();
        self.track.span.resident(bytes).is_ok_and(|resident| resident >= len / 2)
    }
}
