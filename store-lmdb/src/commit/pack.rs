//! Blocks that a commit stores compressed: those of arrays with a codec of which all is written, or all that is there.
//!
//! A block is compressed as one or not at all, so that a fault decompresses one thing. What changes a part of it later is
//! laid over as it is, a page at a time.

use bigarray_core::store::{ArrayChange, BlockChange, Change, PageSource};
use bigarray_core::{BlockNo, Codec, Descriptor, PAGE, Result, Version};

use crate::codec::{Packed, Packer};

/// Fewer pages than these are stored as they are. So are the first of an array that grows bit by bit: each append writes
/// all that there is of its last block, until it is longer than the append.
const LEAST_PAGES: usize = 8;

/// A block that became smaller.
pub(super) struct PackedBlock {
    /// The entry in [`Change::arrays`].
    pub(super) array: usize,
    pub(super) block: BlockNo,
    pub(super) packed: Packed,
    /// What is stored, up to the end of its last page.
    pub(super) bytes: Vec<u8>,
}

/// Compresses the blocks of `change` that can be, in order. For a small payload: all are kept in memory.
pub(super) fn pack(change: &Change<'_>) -> Result<Vec<PackedBlock>> {
    let (mut packer, mut bytes) = (Packer::default(), Vec::new());
    let mut blocks = Vec::new();
    for (at, array) in change.arrays.iter().enumerate() {
        let Some((name, after)) = &array.after else { continue };
        for block in array.blocks.iter().filter(|block| is_whole(array, after, block)) {
            let of = |e: bigarray_core::Error| e.context(format_args!("array {name:?}"));
            let pages = gather(array, after, block, &mut bytes)?;
            if let Some((packed, bytes)) = packer.pack(after.codec, after.item_size, &bytes, pages).map_err(of)? {
                blocks.push(PackedBlock { array: at, block: block.block, packed, bytes: bytes.to_vec() });
            }
        }
    }
    Ok(blocks)
}

/// Whether nothing of the block remains but what is written, and that is enough of it: of a block that is mostly holes,
/// pages take less time as they are.
pub(super) fn is_whole(array: &ArrayChange<'_>, after: &Descriptor, block: &BlockChange) -> bool {
    if after.codec == Codec::None || block.pages.iter().any(|run| matches!(run.source, PageSource::Ahead(_))) {
        return false;
    }
    let bytes = after.nbytes().saturating_sub(after.block_size.start_of(block.block));
    let pages = bytes.min(after.block_size.bytes()).div_ceil(PAGE);
    let is_empty = block.seen == Version(0) || array.dropped_from.is_some_and(|from| from <= block.block.0);
    let written: usize = block.pages.iter().map(|run| run.pages.len()).sum();
    (is_empty || written >= pages) && stored_pages(block) >= LEAST_PAGES.max(pages / 4)
}

/// Changed pages with bytes.
fn stored_pages(block: &BlockChange) -> usize {
    block.pages.iter().filter(|run| run.source == PageSource::Memory).map(|run| run.pages.len()).sum()
}

/// Puts the block together in `bytes`, zeros where it has none; returns how many pages have some.
fn gather(array: &ArrayChange<'_>, after: &Descriptor, block: &BlockChange, bytes: &mut Vec<u8>) -> Result<u32> {
    bytes.clear();
    bytes.resize(after.block_size.bytes(), 0);
    let start = after.block_size.start_of(block.block);
    for run in block.pages.iter().filter(|run| run.source == PageSource::Memory) {
        let range = run.pages.start as usize * PAGE..run.pages.end as usize * PAGE;
        array.bytes.with(start + range.start..start + range.end, &mut |new| {
            bytes[range.clone()].copy_from_slice(new);
            Ok(())
        })?;
    }
    Ok(stored_pages(block) as u32)
}
