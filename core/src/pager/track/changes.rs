//! Changed pages of an array, collected into runs.

use std::ops::Range;

use crate::descriptor::Version;
use crate::geometry::{BlockNo, BlockSize, PAGE};
use crate::store::{BlockChange, PageRun, PageSource};

pub(crate) static ZEROS: [u8; PAGE] = [0; PAGE];

pub(crate) fn source_of(zero: bool) -> PageSource {
    if zero { PageSource::Zero } else { PageSource::Memory }
}

/// A block that was stored to and is as it was.
pub(crate) fn unchanged(block: u64) -> BlockChange {
    BlockChange { block: BlockNo(block), seen: Version(0), pages: Vec::new() }
}

/// Collects changed pages, ascending, into runs.
pub(crate) struct Changes {
    pages_per_block: u64,
    pub(crate) list: Vec<BlockChange>,
    /// Bytes in which zeros may have been written to holes.
    pub(crate) zeros: Vec<Range<usize>>,
}

impl Changes {
    pub(crate) fn of(block_size: BlockSize) -> Changes {
        Changes { pages_per_block: u64::from(block_size.pages()), list: Vec::new(), zeros: Vec::new() }
    }

    pub(crate) fn push_zeros(&mut self, bytes: Range<usize>) {
        match self.zeros.last_mut() {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            _ => self.zeros.push(bytes),
        }
    }

    /// What is collected of `block`, the last one.
    pub(crate) fn of_block(&mut self, block: u64) -> Option<&mut BlockChange> {
        if self.list.last().is_none_or(|last| last.block.0 != block) {
            self.list.push(unchanged(block));
        }
        self.list.last_mut()
    }

    pub(crate) fn push(&mut self, page: u64, zero: bool) {
        let block = page / self.pages_per_block;
        let page = (page % self.pages_per_block) as u32;
        let Some(change) = self.of_block(block) else { return };
        match change.pages.last_mut() {
            Some(run) if run.pages.end == page && run.source == source_of(zero) => run.pages.end += 1,
            _ => change.pages.push(PageRun { pages: page..page + 1, source: source_of(zero) }),
        }
    }
}
