//! Records of blocks. Blocks and chunks overlap as they fall: the chunks over a block say what its version is and which
//! of its pages are stored.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::{BlockRecord, Origin, Segment};
use bigarray_core::{BlockNo, PAGE, Result, Version};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::{ChunkPayload, ManifestExtents};

use super::catalog::Entry;
use super::source::Source;
use crate::errors::Located;

/// So many blocks are looked up one by one. Of more, all references are gone through, of which a manifest has thousands.
const FEW: u64 = 64;

/// A chunk that is stored: its index, the bytes of the array that it has, and where they are.
pub(crate) struct StoredChunk {
    pub(crate) index: ChunkIndices,
    pub(crate) bytes: Range<usize>,
    pub(crate) payload: ChunkPayload,
}

impl Source {
    /// The record of one block; `None` if no chunk over it is stored.
    pub(crate) fn block(&self, entry: &Entry, block: BlockNo) -> Result<Option<BlockRecord>> {
        let chunks = entry.chunks_over(&entry.bytes_of_block(block));
        let references = self.references(entry, &chunks)?;
        let mut record = Record::new(entry, block);
        for (index, payload) in chunks.iter().zip(&references) {
            if let Some(payload) = payload {
                record.add(&entry.bytes_of_chunk(index), payload);
            }
        }
        Ok(record.finish())
    }

    /// Visits the records of those blocks of `range` that there are, ascending.
    pub(crate) fn blocks(
        &self,
        entry: &Entry,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        let size = entry.descriptor.block_size;
        let end = range.end.min(size.blocks_for(entry.descriptor.nbytes()));
        if range.start >= end {
            return Ok(());
        }
        if end - range.start <= FEW || !entry.is_linear() {
            // Every block of the last has parts of chunks over other blocks, too.
            for block in range.start..end {
                if let Some(record) = self.block(entry, BlockNo(block))?
                    && visit(BlockNo(block), record).is_break()
                {
                    return Ok(());
                }
            }
            return Ok(());
        }
        let bytes = size.start_of(BlockNo(range.start))..size.start_of(BlockNo(end));
        let mut open: Option<Record<'_>> = None;
        let mut is_over = false;
        self.stored_chunks(entry, bytes, &mut |chunk| {
            for block in size.blocks_in(&chunk.bytes) {
                if !(range.start..end).contains(&block) {
                    continue;
                }
                if open.as_ref().is_some_and(|record| record.block.0 != block) {
                    let done = open.take().and_then(|record| Some((record.block, record.finish()?)));
                    if done.is_some_and(|(block, record)| visit(block, record).is_break()) {
                        is_over = true;
                        return ControlFlow::Break(());
                    }
                }
                open.get_or_insert_with(|| Record::new(entry, BlockNo(block))).add(&chunk.bytes, &chunk.payload);
            }
            ControlFlow::Continue(())
        })?;
        if !is_over && let Some((block, record)) = open.and_then(|record| Some((record.block, record.finish()?))) {
            let _ = visit(block, record);
        }
        Ok(())
    }

    /// Visits the stored chunks over `bytes` of an array in the order of their bytes, until `visit` breaks.
    pub(crate) fn stored_chunks(
        &self,
        entry: &Entry,
        bytes: Range<usize>,
        visit: &mut dyn FnMut(StoredChunk) -> ControlFlow<()>,
    ) -> Result<()> {
        for group in groups(entry, &bytes) {
            let mut chunks = Vec::new();
            for manifest in self.manifests(entry, group)?.into_values() {
                let what = || format!("array {:?}: a manifest", entry.name);
                for reference in Arc::clone(&manifest).iter(entry.node.clone()).at(self.url(), what())? {
                    let (index, payload) = reference.at(self.url(), what())?;
                    let of_chunk = entry.bytes_of_chunk(&index);
                    if of_chunk.start < bytes.end && bytes.start < of_chunk.end {
                        chunks.push(StoredChunk { index, bytes: of_chunk, payload });
                    }
                }
            }
            chunks.sort_unstable_by_key(|chunk| chunk.bytes.start);
            for chunk in chunks {
                if visit(chunk).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// Numbers of the manifests whose chunks may lie over `bytes`: those whose chunks mix are in one group, groups follow
/// each other.
fn groups(entry: &Entry, bytes: &Range<usize>) -> Vec<Vec<usize>> {
    let mut spans: Vec<(Range<usize>, usize)> =
        (0..).zip(&entry.manifests).map(|(number, place)| (span_of(entry, &place.extents), number)).collect();
    spans.retain(|(span, _)| span.start < bytes.end && bytes.start < span.end);
    spans.sort_unstable_by_key(|(span, _)| span.start);
    let mut groups: Vec<(usize, Vec<usize>)> = Vec::new();
    for (span, number) in spans {
        match groups.last_mut() {
            Some((end, group)) if span.start < *end => {
                group.push(number);
                *end = span.end.max(*end);
            }
            _ => groups.push((span.end, vec![number])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// The bytes of an array from the first to the last chunk that can lie within `extents`.
fn span_of(entry: &Entry, extents: &ManifestExtents) -> Range<usize> {
    let first = ChunkIndices(extents.iter().map(|axis| axis.start).collect());
    let last = ChunkIndices(extents.iter().map(|axis| axis.end.saturating_sub(1)).collect());
    entry.bytes_of_chunk(&first).start..entry.bytes_of_chunk(&last).end
}

/// The record of a block, as chunks over it come, ascending.
struct Record<'a> {
    entry: &'a Entry,
    block: BlockNo,
    bytes: Range<usize>,
    hasher: DefaultHasher,
    /// Pages with bytes of a chunk, ascending, apart.
    stored: Vec<Range<u32>>,
}

impl<'a> Record<'a> {
    fn new(entry: &'a Entry, block: BlockNo) -> Record<'a> {
        let bytes = entry.descriptor.block_size.range_of(block);
        let mut hasher = DefaultHasher::new();
        // Else the bytes that chunks have of the array say where all of its values are. Growth moves none of them, so it
        // makes no other version but of the block that the array ended in.
        if entry.metadata.fill().is_some() || !entry.is_linear() {
            let array = &entry.descriptor;
            let lengths = (0..).zip(&array.shape).filter(|(axis, _)| Some(*axis) != array.growth_axis());
            (array.shape.len(), lengths.collect::<Vec<_>>(), &array.fill).hash(&mut hasher);
            entry.bytes_of_block(block).hash(&mut hasher);
        }
        Record { entry, block, bytes, hasher, stored: Vec::new() }
    }

    fn add(&mut self, of_chunk: &Range<usize>, payload: &ChunkPayload) {
        // Where the array ends in the chunk, bytes behind that show as the array grows.
        (of_chunk, payload).hash(&mut self.hasher);
        if !self.entry.is_linear() {
            // Runs of the chunk are all over the block.
            if self.stored.is_empty() {
                self.stored.push(0..self.entry.descriptor.block_size.pages());
            }
            return;
        }
        let first = of_chunk.start.max(self.bytes.start) - self.bytes.start;
        let end = of_chunk.end.min(self.bytes.end) - self.bytes.start;
        let pages = (first / PAGE) as u32..end.div_ceil(PAGE) as u32;
        match self.stored.last_mut() {
            Some(last) if last.end >= pages.start => last.end = pages.end.max(last.end),
            _ => self.stored.push(pages),
        }
    }

    /// `None` if no chunk over the block is stored.
    fn finish(mut self) -> Option<BlockRecord> {
        let pages = self.entry.descriptor.block_size.pages();
        if self.stored.is_empty() {
            return None;
        }
        if self.entry.metadata.fill().is_some() {
            let segments = vec![Segment { pages: 0..pages, origin: Origin::Produced }];
            return Some(BlockRecord { version: Version(self.hasher.finish().max(1)), segments });
        }
        let mut segments = Vec::new();
        let mut at = 0;
        for run in std::mem::take(&mut self.stored) {
            if at < run.start {
                segments.push(Segment { pages: at..run.start, origin: Origin::Hole });
            }
            at = run.end;
            segments.push(Segment { pages: run, origin: Origin::Produced });
        }
        if at < pages {
            segments.push(Segment { pages: at..pages, origin: Origin::Hole });
        }
        Some(BlockRecord { version: Version(self.hasher.finish().max(1)), segments })
    }
}
