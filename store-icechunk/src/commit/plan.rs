//! What a change does to the arrays and chunks of the state that it lands on. No chunk is read here.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::ArrayChange;
use bigarray_core::{BlockNo, Descriptor, Error, ErrorKind, PAGE, Result, Version};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;

use crate::snapshot::{Entry, IcechunkSnapshot};
use crate::zarr::{self, Grid, Metadata};

/// What becomes of one array.
pub(super) enum Plan {
    /// It stays as it is: the transaction only depends on it.
    Stay,
    /// It is removed.
    Remove(Arc<Entry>),
    /// It gets another name, and the transaction does nothing else.
    Move(Arc<Entry>, String),
    /// It is made, or changed.
    Store(Box<Stored>),
}

/// An array that is made or changed.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) metadata: Metadata,
    /// The array that it was; `None` if it is created.
    pub(super) before: Option<Arc<Entry>>,
    /// Whether it becomes a node of its own, in place of the one of `before`: it is created, or gets another name or
    /// another grid of chunks.
    pub(super) is_new_node: bool,
    /// Whether its metadata is another one.
    pub(super) is_described_anew: bool,
    /// Chunks to be put together, in the order of their bytes.
    pub(super) chunks: Vec<Chunk>,
    /// Chunks that go, and are not among those.
    pub(super) dropped: Vec<ChunkIndices>,
    /// Chunks of a new node that stay where they are stored.
    pub(super) kept: Vec<(ChunkIndices, ChunkPayload)>,
}

/// A chunk to be put together.
pub(super) struct Chunk {
    pub(super) index: ChunkIndices,
    /// The bytes of the array that it has.
    pub(super) bytes: Range<usize>,
    /// What lies under the changed pages.
    pub(super) base: Base,
    /// Whether it stays as it is stored if nothing is behind the bytes of `base` that count.
    pub(super) is_for_its_end: bool,
}

/// What lies under the changed pages of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: the array's fill value.
    Empty,
    /// The bytes that a stored chunk has up to this byte of the array; the fill value behind.
    Chunk(ChunkPayload, usize),
    /// The bytes that the array of this version had under another grid, up to this one.
    Array(Version, usize),
}

/// What `change` does to an array of `tip`, which it does not conflict with. `is_rename` says that the transaction does
/// nothing but to give arrays other names.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an array that can only be read, [`ErrorKind::TooLarge`], [`ErrorKind::Invalid`].
pub(super) fn plan(change: &ArrayChange<'_>, tip: &IcechunkSnapshot, is_rename: bool) -> Result<Plan> {
    if !change.stores() {
        return Ok(Plan::Stay);
    }
    let before = match &change.before {
        Some((name, _)) => Some(tip.catalog.array(name).ok_or_else(|| gone(name))?),
        None => None,
    };
    let Some((name, after)) = &change.after else {
        return Ok(before.map_or(Plan::Stay, |before| Plan::Remove(Arc::clone(before))));
    };
    if after.skip > 0 {
        let text = format!("array {name:?}: chunks are counted from the first row, which cannot be dropped");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let Some(before) = before else {
        zarr::check_array_name(name)?;
        let metadata = with_attributes(Metadata::create(name, after, token())?, name, change)?;
        let metadata = metadata.with_free_axes(name, |axis| tip.catalog.has_axis(name, axis))?;
        return chunks(change, tip, stored(name, metadata, None), true).map(Plan::Store);
    };
    let is_renamed = before.name != *name;
    if is_renamed {
        zarr::check_array_name(name)?;
    }
    if is_renamed && is_rename {
        return Ok(Plan::Move(Arc::clone(before), name.clone()));
    }
    let shape = shape_after(change, &before.descriptor, after);
    let is_written = !matches!(shape, Shape::Same) || !change.blocks.is_empty();
    if let Some(reason) = before.metadata.read_only().filter(|_| is_written) {
        return Err(Error::new(ErrorKind::Unsupported, format!("array {name:?} can only be read: {reason}")));
    }
    let (mut metadata, keeps_chunks) = match shape {
        Shape::Same => (before.metadata.clone(), true),
        Shape::Grown => (before.metadata.resized(&after.shape, None)?, true),
        Shape::Cut => (before.metadata.resized(&after.shape, Some(token()))?, true),
        Shape::Other => before.metadata.reshaped(name, &after.shape, token())?,
    };
    if is_renamed {
        metadata = metadata.renamed(&before.name, name)?;
    }
    let mut stored = stored(name, with_attributes(metadata, name, change)?, Some(Arc::clone(before)));
    stored.is_new_node = is_renamed || matches!(shape, Shape::Other);
    if stored.is_new_node {
        stored.metadata = stored.metadata.with_free_axes(name, |axis| tip.catalog.has_axis(name, axis))?;
    }
    stored.is_described_anew = stored.is_new_node || stored.metadata != before.metadata;
    chunks(change, tip, stored, keeps_chunks).map(Plan::Store)
}

/// A token that no other shape has.
fn token() -> u64 {
    fastrand::u64(1..)
}

fn gone(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("array {name:?}: another transaction removed or renamed it; run it again"))
}

fn stored(name: &str, metadata: Metadata, before: Option<Arc<Entry>>) -> Box<Stored> {
    let (chunks, dropped, kept) = Default::default();
    let name = name.to_owned();
    Box::new(Stored { name, metadata, before, is_new_node: true, is_described_anew: true, chunks, dropped, kept })
}

fn with_attributes(metadata: Metadata, array: &str, change: &ArrayChange<'_>) -> Result<Metadata> {
    change
        .attrs
        .iter()
        .try_fold(metadata, |metadata, attr| metadata.with_attribute(array, &attr.name, attr.after.as_ref()))
}

/// What a change does to the shape.
enum Shape {
    Same,
    Grown,
    /// It is shorter, or was for a while.
    Cut,
    /// The elements are others, though the bytes may be the same.
    Other,
}

fn shape_after(change: &ArrayChange<'_>, before: &Descriptor, after: &Descriptor) -> Shape {
    if !change.touches_array() {
        return Shape::Same;
    }
    let is_same = before.shape == after.shape;
    match () {
        () if !is_same && !after.grew_from(before) && !before.grew_from(after) => Shape::Other,
        () if change.dropped_from.is_some() || before.shape != after.shape && !after.grew_from(before) => Shape::Cut,
        () if is_same => Shape::Same,
        () => Shape::Grown,
    }
}

/// Finds the chunks that `change` stores or drops. `keeps_chunks` says that each has the bytes of the array that it had,
/// under another index perhaps.
fn chunks(
    change: &ArrayChange<'_>,
    tip: &IcechunkSnapshot,
    mut stored: Box<Stored>,
    keeps_chunks: bool,
) -> Result<Box<Stored>> {
    let Some((_, after)) = &change.after else { return Ok(stored) };
    // Not the end of `after`: where only attributes are set, the array may have grown since.
    let end = stored.metadata.grid().bytes();
    let mut touched = touched(change, after, stored.metadata.grid());
    let Some(before) = stored.before.clone() else {
        let new = |(index, bytes)| Chunk { index, bytes, base: Base::Empty, is_for_its_end: false };
        stored.chunks = touched.into_values().map(new).collect();
        return Ok(stored);
    };
    // The bytes before that count: the others were dropped, or there were no more.
    let cut = change.dropped_from.map_or(usize::MAX, |block| after.block_size.start_of(BlockNo(block)));
    let kept_end = cut.min(before.descriptor.nbytes()).min(end);
    if keeps_chunks {
        return laid_over(tip, stored, &before, touched, kept_end, end);
    }
    // Every chunk with stored bytes is put together anew.
    let grid = stored.metadata.grid();
    tip.source.stored_chunks(&before, 0..kept_end, &mut |chunk| {
        touched.extend(over(grid, chunk.bytes.start..chunk.bytes.end.min(kept_end)));
        ControlFlow::Continue(())
    })?;
    let base = Base::Array(before.descriptor.changed, kept_end);
    let anew = |(index, bytes)| Chunk { index, bytes, base: base.clone(), is_for_its_end: false };
    stored.chunks = touched.into_values().map(anew).collect();
    Ok(stored)
}

/// Chunks by their first byte: the index, and the bytes of the array.
type Chunks = BTreeMap<usize, (ChunkIndices, Range<usize>)>;

/// The chunks that pages are written to.
fn touched(change: &ArrayChange<'_>, after: &Descriptor, grid: &Grid) -> Chunks {
    let end = after.nbytes();
    let mut touched = Chunks::new();
    for block in &change.blocks {
        let start = after.block_size.start_of(block.block);
        for run in &block.pages {
            // Behind the end of the array there is only the fill value, which no chunk needs.
            let at = |page: u32| (start + page as usize * PAGE).min(end);
            touched.extend(over(grid, at(run.pages.start)..at(run.pages.end)));
        }
    }
    touched
}

/// The chunks over `bytes` of the array.
fn over(grid: &Grid, bytes: Range<usize>) -> impl Iterator<Item = (usize, (ChunkIndices, Range<usize>))> {
    grid.chunks_over(bytes).filter_map(|piece| {
        let bytes = grid.pieces_of(&piece.index).next()?.array;
        Some((bytes.start, (ChunkIndices(piece.index), bytes)))
    })
}

/// The same where a chunk with changed pages has those of the stored chunk under them.
fn laid_over(
    tip: &IcechunkSnapshot,
    mut stored: Box<Stored>,
    before: &Arc<Entry>,
    touched: Chunks,
    kept_end: usize,
    end: usize,
) -> Result<Box<Stored>> {
    let under: Vec<ChunkIndices> = touched
        .values()
        .filter_map(|(_, bytes)| over(before.metadata.grid(), bytes.start..bytes.start + 1).next())
        .map(|(_, (index, _))| index)
        .collect();
    let references = tip.source.references(before, &under)?;
    let mut chunks: BTreeMap<usize, Chunk> = BTreeMap::new();
    let mut references = references.into_iter();
    for (start, (index, bytes)) in touched {
        let is_under = start < before.descriptor.nbytes();
        let payload = if is_under { references.next().flatten() } else { None };
        let base = match payload {
            Some(payload) if start < kept_end => Base::Chunk(payload, kept_end),
            _ => Base::Empty,
        };
        chunks.insert(start, Chunk { index, bytes, base, is_for_its_end: false });
    }
    // What lies behind the bytes that count must not show as the array grows.
    let is_cut = kept_end < before.descriptor.nbytes() || kept_end < end;
    let from = if stored.is_new_node { 0 } else { kept_end.saturating_sub(1) };
    if stored.is_new_node || is_cut {
        let grid = stored.metadata.grid().clone();
        tip.source.stored_chunks(before, from..usize::MAX, &mut |chunk| {
            let start = chunk.bytes.start;
            if chunks.contains_key(&start) {
                return ControlFlow::Continue(());
            }
            if start >= kept_end {
                if !stored.is_new_node {
                    stored.dropped.push(chunk.index);
                }
                return ControlFlow::Continue(());
            }
            let Some((_, (index, bytes))) = over(&grid, start..start + 1).next() else {
                return ControlFlow::Continue(());
            };
            if is_cut && start + grid.chunk_bytes() > kept_end {
                let base = Base::Chunk(chunk.payload, kept_end);
                chunks.insert(start, Chunk { index, bytes, base, is_for_its_end: true });
            } else if stored.is_new_node {
                stored.kept.push((index, chunk.payload));
            }
            ControlFlow::Continue(())
        })?;
    }
    stored.chunks = chunks.into_values().collect();
    Ok(stored)
}
