//! Blocks that a commit stores compressed: those of arrays with a codec whose pages are all written, or all that have bytes of
//! the array.
//!
//! A block is compressed as one or not at all, so that a fault decompresses one unit. Later changes are laid over it
//! uncompressed, page by page.

use bigarray_core::store::{ArrayChange, BlockChange, Change, PageSource};
use bigarray_core::sync::Mutex;
use bigarray_core::{BlockNo, Codec, Descriptor, PAGE, Result, Version};

use super::parallel::in_parallel;
use crate::codec::{MOST_BYTES, Packed, Packers, packing_bytes};
use crate::record::Unit;
use crate::space::{ClaimCommit, with_room};

/// Fewer pages than these are not compressed. This also spares an array that grows in small appends: as long as its last
/// block is no longer than an append, each append writes all of it.
const LEAST_PAGES: usize = 8;

/// A block that shrank when it was compressed.
pub(super) struct PackedBlock {
    /// The entry in [`Change::arrays`].
    pub(super) array: usize,
    pub(super) block: BlockNo,
    pub(super) packed: Packed,
    /// The bytes to store, up to the end of their last page.
    pub(super) bytes: Vec<u8>,
}

/// A block that is stored compressed, and where.
pub(super) struct PlacedUnit {
    /// The entry in [`Change::arrays`].
    pub(super) array: usize,
    pub(super) block: BlockNo,
    pub(super) unit: Unit,
}

/// Compresses those blocks of `change` that can be compressed, in order. For a small payload: all are kept in memory.
pub(super) fn pack(change: &Change<'_>, packers: &Packers) -> Result<Vec<PackedBlock>> {
    let mut buffer = Vec::new();
    let mut blocks = Vec::new();
    for whole in whole_blocks(change) {
        whole.pack(packers, &mut buffer, |packed, bytes| {
            blocks.push(PackedBlock { array: whole.at, block: whole.block.block, packed, bytes: bytes.to_vec() });
            Ok(())
        })?;
    }
    Ok(blocks)
}

/// Compresses those blocks of `change` that can be compressed, and writes them to pages of `claim`. For a large payload:
/// each of a few threads has one block in memory. The compressed size is known only afterwards, and pages that are claimed
/// in vain may lengthen the file: so they are claimed as they are taken.
pub(super) fn write_packed(change: &Change<'_>, claim: &ClaimCommit<'_>) -> Result<Vec<PlacedUnit>> {
    let blocks: Vec<WholeBlock<'_>> = whole_blocks(change).collect();
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let units = Mutex::new(Vec::with_capacity(blocks.len()));
    let bytes = blocks.iter().map(|whole| packing_bytes(whole.after.codec, whole.after.block_size.bytes()));
    let threads = MOST_BYTES / bytes.max().unwrap_or(MOST_BYTES);
    let packers = &claim.claim.shared.packers;
    in_parallel(blocks.len(), threads.max(1), Vec::new, |buffer, at| {
        let whole = &blocks[at];
        whole.pack(packers, buffer, |packed, bytes| {
            let taken = claim.take(packed.pages().into())?;
            let unit = Unit::at_page(taken.start, packed);
            let shared = &claim.claim.shared;
            with_room(shared, || shared.data.write_at(unit.offset(), bytes))?;
            let placed = PlacedUnit { array: whole.at, block: whole.block.block, unit };
            units.lock().push(placed);
            Ok(())
        })
    })?;
    let mut units = units.into_inner();
    units.sort_unstable_by_key(|placed| (placed.array, placed.block));
    Ok(units)
}

/// A block that may be compressed.
struct WholeBlock<'c> {
    /// The entry in [`Change::arrays`].
    at: usize,
    array: &'c ArrayChange<'c>,
    name: &'c str,
    after: &'c Descriptor,
    block: &'c BlockChange,
}

fn whole_blocks<'c>(change: &'c Change<'_>) -> impl Iterator<Item = WholeBlock<'c>> {
    change.arrays.iter().enumerate().flat_map(|(at, array)| {
        let after = array.after.iter().filter(|(_, after)| after.codec != Codec::None);
        after.flat_map(move |(name, after)| {
            let blocks = array.blocks.iter().filter(|block| is_whole(array, after, block));
            blocks.map(move |block| WholeBlock { at, array, name, after, block })
        })
    })
}

impl WholeBlock<'_> {
    /// Compresses the block, and calls `store` with it if it shrinks. Its pages are joined in `buffer` if necessary.
    fn pack(
        &self,
        packers: &Packers,
        buffer: &mut Vec<u8>,
        mut store: impl FnMut(Packed, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let WholeBlock { array, after, block, .. } = self;
        let pages = stored_pages(block);
        let mut pack = |bytes: &[u8]| {
            packers.with(after.codec, bytes.len(), |packer| {
                match packer.pack(after.codec, after.item_size, bytes, pages as u32)? {
                    Some((packed, bytes)) => store(packed, bytes),
                    None => Ok(()),
                }
            })
        };
        let start = after.block_size.start_of(block.block);
        let in_memory = || block.pages.iter().filter(|run| run.source == PageSource::Memory);
        let done = if pages == after.block_size.pages() as usize && block.pages.len() == 1 {
            array.bytes.with(start..start + after.block_size.bytes(), &mut pack)
        } else {
            // Joined. Missing pages have no row: they read as what was never written, once the array grows over them.
            buffer.clear();
            buffer.resize(after.block_size.bytes(), 0);
            if let Some(fill) = &after.fill {
                fill.write(start, buffer);
                for run in block.pages.iter().filter(|run| run.source == PageSource::Zero) {
                    buffer[run.pages.start as usize * PAGE..run.pages.end as usize * PAGE].fill(0);
                }
            }
            let mut joined = in_memory().try_for_each(|run| {
                let range = run.pages.start as usize * PAGE..run.pages.end as usize * PAGE;
                array.bytes.with(start + range.start..start + range.end, &mut |new| {
                    buffer[range.clone()].copy_from_slice(new);
                    Ok(())
                })
            });
            if joined.is_ok() {
                joined = pack(buffer);
            }
            joined
        };
        done.map_err(|e| e.context(format_args!("array {:?}", self.name)))
    }
}

/// Whether no stored page of the block remains, and enough pages are written: for a block that is mostly holes, storing
/// single pages takes less time.
fn is_whole(array: &ArrayChange<'_>, after: &Descriptor, block: &BlockChange) -> bool {
    if block.pages.iter().any(|run| matches!(run.source, PageSource::Spilled(_))) {
        return false;
    }
    // Pages with bytes of the array: what others have is not shown.
    let (start, size) = (after.block_size.start_of(block.block), after.block_size.bytes());
    let first = after.skip.saturating_sub(start).min(size) / PAGE;
    let last = after.end().saturating_sub(start).min(size).div_ceil(PAGE);
    let is_empty = block.seen == Version(0) || array.dropped_from.is_some_and(|from| from <= block.block.0);
    // Pages behind the end, which a shrink made zero, do not count.
    let inside = |page: u32| (page as usize).clamp(first, last.max(first));
    let written: usize = block.pages.iter().map(|run| inside(run.pages.end) - inside(run.pages.start)).sum();
    let pages = last.saturating_sub(first);
    (is_empty || written >= pages) && stored_pages(block) >= LEAST_PAGES.max(pages / 4)
}

/// The number of changed pages in memory.
fn stored_pages(block: &BlockChange) -> usize {
    block.pages.iter().filter(|run| run.source == PageSource::Memory).map(|run| run.pages.len()).sum()
}
