//! How much of a range is in memory.

use std::ops::Range;

use crate::error::Result;
use crate::geometry::{PAGE, page_ceil};
use crate::memory::Residency;
use crate::page_map::Piece;
use crate::pager::Pager;
use crate::pager::block::Kind;
use crate::signals;

impl Pager {
    /// Bytes of `bytes` that an access finds without storage: all that was copied, zero memory, and of what is mapped the
    /// pages that the system has in memory.
    pub(crate) fn resident_bytes(&self, bytes: &Range<usize>) -> Result<usize> {
        self.memory.check_process()?;
        let _held = signals::hold_between_waits();
        let mut resident = self.installed_bytes(bytes);
        for Piece { bytes: mapped, .. } in self.mapped_in(bytes) {
            for pages in partial_pages_apart(&mapped, bytes) {
                let within = pages.start.max(bytes.start)..pages.end.min(bytes.end);
                let cached = self.load.span.cached(pages)?.min(within.len());
                resident = resident.saturating_sub(within.len() - cached);
            }
        }
        Ok(resident)
    }

    fn installed_bytes(&self, bytes: &Range<usize>) -> usize {
        let within = |blocks: Range<u64>| {
            let there = self.bytes_of(&blocks);
            (there.start.max(bytes.start)..there.end.min(bytes.end)).len()
        };
        let table = self.lock();
        let blocks = self.block_size.blocks_in(bytes);
        let installed = table.blocks(blocks.clone()).filter(|(_, there)| there.kind() != Kind::Poisoned);
        let installed: usize = installed.map(|(block, _)| within(block..block + 1)).sum();
        // What is missing in an eager span is zero memory.
        let gaps = || table.gaps(blocks.clone()).into_iter().map(within).sum::<usize>();
        installed + if self.residency == Residency::Eager { gaps() } else { 0 }
    }
}

/// The pages `mapped` in up to three runs: a page of which `bytes` begin in the middle, those that lie in `bytes` whole,
/// and a page of which `bytes` end in the middle. A page in parts counts with these parts, if it is there at all.
fn partial_pages_apart(mapped: &Range<usize>, bytes: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let first = page_ceil(bytes.start).clamp(mapped.start, mapped.end);
    let last = (bytes.end / PAGE * PAGE).clamp(first, mapped.end);
    [mapped.start..first, first..last, last..mapped.end].into_iter().filter(|pages| !pages.is_empty())
}
