//! Files of the disk cache that are open, and found right.

use std::sync::Arc;

use bigarray_core::signals;
use nix::sys::resource::{Resource, getrlimit};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use crate::disk_cache::{ChunkFile, Key};

/// Files that are open at most, beside those that are just mapped: what is opened ahead of a reader, twice.
const OPEN_FILES: usize = 128;

/// No more than this part of the descriptors that the process may have.
const PART_OF_DESCRIPTORS: u64 = 16;

/// Files of chunks, open and found right. Blocks of one chunk are looked at once, and neighbours of them are one mapping,
/// as the kernel joins those of one open file. A file that is mapped need not stay open.
pub(super) struct OpenFiles(pub(super) Cache<Which, Arc<ChunkFile>>);

/// A chunk, and the bytes that it has decoded. What is right for one array need not be for another that refers to the same
/// bytes of an object: it may decode them otherwise, and to more.
pub(super) type Which = (Key, usize);

impl OpenFiles {
    pub(super) fn new() -> OpenFiles {
        let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let files = most_open(descriptors);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(files).weight_capacity(files as u64).hot_allocation(0.5).shards(1);
        let options = options.build().expect("capacities are given");
        let (hash, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        OpenFiles(Cache::with_options(options, UnitWeighter, hash, lifecycle))
    }

    /// Looks without waiting.
    pub(super) fn get(&self, which: &Which) -> Option<Arc<ChunkFile>> {
        // A fault that a signal handler waits for may look here too.
        let _held = signals::hold();
        self.0.get(which)
    }
}

/// Files that are open at most, in a process that may have so many descriptors.
fn most_open(descriptors: u64) -> usize {
    usize::try_from(descriptors / PART_OF_DESCRIPTORS).unwrap_or(OPEN_FILES).clamp(1, OPEN_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_descriptors_keep_few_files_open() {
        let most = [0, 16, 256, 1024, 2048, 4096, u64::MAX].map(most_open);
        assert_eq!(most, [1, 1, 16, 64, 128, 128, 128]);
    }
}
