//! Chunks put together: changed pages laid over what is stored, encoded, on their way to storage.

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::store::{ArrayChange, Bytes, PageSource};
use bigarray_core::{FillValue, PAGE, Result};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;

use super::plan::{Base, Chunk, Stored};
use super::put::Uploads;
use crate::snapshot::{Entry, Source, Wanted};

/// A chunk that was put together.
pub(super) struct Built {
    /// Over this. Over anything else it would be another.
    pub(super) base: Base,
    /// Where it is going to be; `None` if it is the array's fill value.
    pub(super) payload: Option<ChunkPayload>,
}

/// Puts `chunk` together. `None` if it may stay as it is stored.
///
/// # Errors
/// Those of reading what is stored and of the change's bytes.
pub(super) fn build(
    source: &Arc<Source>,
    change: &ArrayChange<'_>,
    stored: &Stored,
    chunk: &Chunk,
    uploads: &mut Uploads,
) -> Result<Option<Built>> {
    let metadata = &stored.metadata;
    // Chunks begin with an element.
    let fill = metadata.fill();
    let mut bytes = vec![0; metadata.grid().chunk_bytes()];
    if let Some(fill) = fill {
        fill.write(0, &mut bytes);
    }
    let is_covered = covered(change, &chunk.bytes) == chunk.bytes.len();
    match (&chunk.base, &stored.before) {
        _ if is_covered => {}
        (Base::Chunk(payload, end), Some(before)) => {
            let under = decoded(source, before, &chunk.index, payload)?;
            let kept = end.saturating_sub(chunk.bytes.start).min(under.len());
            if chunk.is_for_its_end && is_fill(fill, kept, &under[kept..]) {
                return Ok(None);
            }
            bytes[..kept].copy_from_slice(&under[..kept]);
        }
        (Base::Array(_, end), Some(before)) => {
            let end = chunk.bytes.end.min(*end).max(chunk.bytes.start);
            source.read(before, chunk.bytes.start, &mut bytes[..end - chunk.bytes.start])?;
        }
        _ => {}
    }
    overlay(change, &chunk.bytes, &mut bytes)?;
    let payload = match is_fill(fill, 0, &bytes) {
        true => None,
        false => Some(uploads.put(metadata.chain().encode(bytes)?)?),
    };
    Ok(Some(Built { base: chunk.base.clone(), payload }))
}

/// Whether `bytes` of a chunk, from byte `at` of it on, are what they are where it is not stored.
fn is_fill(fill: Option<&FillValue>, at: usize, bytes: &[u8]) -> bool {
    match fill.map(FillValue::bytes) {
        Some(element) => (at..).zip(bytes).all(|(at, byte)| *byte == element[at % element.len()]),
        None => bytes.iter().all(|byte| *byte == 0),
    }
}

fn decoded(
    source: &Arc<Source>,
    entry: &Arc<Entry>,
    index: &ChunkIndices,
    payload: &ChunkPayload,
) -> Result<bytes::Bytes> {
    let wanted = vec![Wanted { index: index.0.clone(), payload: payload.clone() }];
    Ok(source.chunks(entry, wanted)?.remove(0))
}

/// How many of `bytes` are in changed pages.
fn covered(change: &ArrayChange<'_>, bytes: &Range<usize>) -> usize {
    let mut covered = 0;
    let _ = each_run(change, bytes, &mut |part, _| {
        covered += part.len();
        Ok(())
    });
    covered
}

/// Lays the changed pages of `bytes` over `into`, which begins with them.
fn overlay(change: &ArrayChange<'_>, bytes: &Range<usize>, into: &mut [u8]) -> Result<()> {
    each_run(change, bytes, &mut |part, run| {
        let into = &mut into[part.start - bytes.start..part.end - bytes.start];
        match &run.source {
            PageSource::Zero => into.fill(0),
            PageSource::Memory => copy(change.bytes, part, into)?,
            PageSource::Spilled(pages) => {
                // Whole pages are read; the chunk may begin or end within one.
                let first = (part.start - run.start) / PAGE;
                let last = (part.end - run.start).div_ceil(PAGE);
                let mut whole = vec![0; (last - first) * PAGE];
                pages.slot.read(run.first_page + first as u32, &mut whole)?;
                let from = part.start - run.start - first * PAGE;
                into.copy_from_slice(&whole[from..from + into.len()]);
            }
        }
        Ok(())
    })
}

/// A run of changed pages, by its place in the array.
struct Run<'a> {
    start: usize,
    /// Of its block.
    first_page: u32,
    source: &'a PageSource,
}

/// Visits the parts of `bytes` that are in changed pages, ascending.
fn each_run(
    change: &ArrayChange<'_>,
    bytes: &Range<usize>,
    visit: &mut dyn FnMut(Range<usize>, Run<'_>) -> Result<()>,
) -> Result<()> {
    let Some((_, after)) = &change.after else { return Ok(()) };
    let size = after.block_size;
    let blocks = size.blocks_in(bytes);
    let first = change.blocks.partition_point(|block| block.block.0 < blocks.start);
    for block in change.blocks[first..].iter().take_while(|block| block.block.0 < blocks.end) {
        for run in &block.pages {
            let start = size.start_of(block.block) + run.pages.start as usize * PAGE;
            let part = start.max(bytes.start)..(start + run.pages.len() * PAGE).min(bytes.end);
            if part.start < part.end {
                visit(part, Run { start, first_page: run.pages.start, source: &run.source })?;
            }
        }
    }
    Ok(())
}

fn copy(from: &dyn Bytes, range: Range<usize>, into: &mut [u8]) -> Result<()> {
    let mut at = 0;
    from.with(range, &mut |bytes| {
        into[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
        Ok(())
    })
}
