//! Futile faults, counted by block: see [`progress`](super::progress).

use std::collections::BTreeMap;
use std::ops::Range;

/// Blocks that are counted at once; more would be many late messages, and nothing that does not end.
const COUNTED: usize = 1024;

/// Faults of an installed block that were answered by a wake alone, since it was installed.
#[derive(Default)]
pub(crate) struct FutileFaults(BTreeMap<u64, u32>);

impl FutileFaults {
    /// Counts a fault in `block`, which is in memory, and returns how many there were.
    pub(crate) fn count(&mut self, block: u64) -> u32 {
        if self.0.len() > COUNTED {
            self.0.clear();
        }
        let count = self.0.entry(block).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn forget(&mut self, block: u64) {
        self.0.remove(&block);
    }

    pub(crate) fn forget_all(&mut self, blocks: &Range<u64>) {
        self.0.retain(|block, _| !blocks.contains(block));
    }
}
