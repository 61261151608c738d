//! Chunks that are fetched before they are asked for: those over a window of blocks, which moves on as blocks are read.

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::BlockNo;
use icechunk::format::ChunkIndices;

use super::catalog::Entry;
use super::chunks::Wanted;
use super::source::Source;

/// Bytes that are fetched ahead of a reader: thirty requests of 2 MiB at a time hide a round trip of 20 ms at 1 GB/s.
const WINDOW_BYTES: u64 = 64 << 20;

impl Source {
    /// Begins to fetch the chunks over `blocks` that are not in memory, and goes on as they are read. `by_mapping`: of those
    /// that can be mapped the file is opened, where it is on disk.
    pub(super) fn will_need(self: &Arc<Self>, entry: &Arc<Entry>, blocks: Range<u64>, by_mapping: bool) {
        let end = blocks.end.min(entry.descriptor.block_size.blocks_for(entry.descriptor.nbytes()));
        let first = blocks.start..end.min(blocks.start + self.window(entry));
        if first.is_empty() {
            return;
        }
        if first.end < end {
            self.announced.push(entry.descriptor.id, first.end..end, by_mapping);
        }
        self.fetch_ahead(entry, first, by_mapping);
    }

    /// A block is read: those that come next are fetched.
    pub(super) fn reads(self: &Arc<Self>, entry: &Arc<Entry>, block: BlockNo) {
        if let Some((next, by_mapping)) = self.announced.near(entry.descriptor.id, block, self.window(entry)) {
            self.fetch_ahead(entry, next, by_mapping);
        }
    }

    /// In blocks. No more than what leaves the cache room for what is read.
    fn window(&self, entry: &Entry) -> u64 {
        let bytes = WINDOW_BYTES.min(self.cache_bytes / 4);
        (bytes / entry.descriptor.block_size.bytes() as u64).max(1)
    }

    /// Begins to fetch the chunks over `blocks` that are not in memory. Which these are is found out by the runtime's
    /// threads: of tiled arrays it may be many thousands, and the monitor is here, with the lock of a block table.
    fn fetch_ahead(self: &Arc<Self>, entry: &Arc<Entry>, blocks: Range<u64>, by_mapping: bool) {
        let (source, entry) = (Arc::clone(self), Arc::clone(entry));
        self.repository.runtime().spawn(async move {
            let size = entry.descriptor.block_size;
            let bytes = size.start_of(BlockNo(blocks.start))..size.start_of(BlockNo(blocks.end));
            let chunks = entry.chunks_over(&bytes);
            let (_, missing) =
                source.known_manifests(&entry, chunks.iter().filter_map(|index| entry.manifest_of(&index.0)));
            if !missing.is_empty() {
                // Their references first. A reader that comes to them sees the error, if it still is one then.
                let Ok(fetched) = source.repository.fetching(&entry.name, entry.ids_of(&missing)).await else { return };
                source.keep(&fetched);
            }
            let wanted = source.stored(&entry, &chunks);
            let wanted = if by_mapping { source.open_ahead(&entry, wanted).await } else { wanted };
            source.fetch_apart(&entry, wanted);
        });
    }

    /// Those of `chunks` that are stored and not in memory. Waits for nothing: chunks whose references are not in memory
    /// are left.
    fn stored(&self, entry: &Arc<Entry>, chunks: &[ChunkIndices]) -> Vec<Wanted> {
        let (manifests, _) = self.known_manifests(entry, chunks.iter().filter_map(|index| entry.manifest_of(&index.0)));
        let wanted = chunks.iter().filter_map(|index| {
            let manifest = manifests.get(&entry.manifest_of(&index.0)?)?;
            let payload = manifest.get_chunk_payload(&entry.node, index).ok().filter(|payload| !self.has(payload))?;
            Some(Wanted { index: index.0.clone(), payload })
        });
        wanted.collect()
    }
}
