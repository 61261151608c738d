//! Defragmenting: a block that commits left in many pieces is copied to consecutive pages.

use bigarray_core::store::{BlockChange, PageSource};
use bigarray_core::{BlockNo, Codec, Error, ErrorKind, PAGE, Result};

use super::blocks::{Blocks, ChangedBlock, Target};
use super::checksums::ChecksumWriter;
use super::overlay::{lay_over, without};
use crate::alloc::{CHUNK_PAGES, Run};
use crate::codec::Packed;
use crate::crash;
use crate::reading::{MISFIT, read_pages, wrong_page};
use crate::record::{Location, MAX_SEGMENTS, StoredBlock, StoredSegment, Unit, runs_of};

/// Most pieces that a block may be in, holes between them counted.
///
/// Each piece is a mapping when the block is read: a first scan of blocks of 3, 9, 17 and 33 pieces takes 2.1, 2.4, 2.9
/// and 4.7 times as long as one of whole blocks. Each copy writes all pages of the block. With one-page commits to random
/// pages, every tenth copies a block of 2 MiB: 51 pages a commit on average, of the 64 that a commit may write, for 10
/// pieces on average. (With up to 32 pieces it is 32 pages, for 16 pieces.)
///
/// Copying only the pieces that are cheapest to join takes 44 pages a commit for 10 pieces. But it frees pages as scattered
/// as the pieces were: no chunk ever became wholly free again, and the file grew by a third, against 2 % with whole blocks.
///
/// A block that is mostly holes is not copied while its record has room: a copy stores zeros for the holes. Nor is a block
/// that is partly compressed: it is read by copying, so that its pieces take no mappings.
pub(super) fn most_pieces(block: &StoredBlock) -> usize {
    let is_packed = block.segments.iter().any(|segment| segment.run().is_none());
    if is_packed || 4 * stored_pages(block) < block.pages { MAX_SEGMENTS } else { (block.pages as usize / 25).max(4) }
}

fn stored_pages(block: &StoredBlock) -> u32 {
    block.segments.iter().map(|segment| u32::from(segment.pages)).sum()
}

/// A commit that changes at least this many pages of a block leaves a piece that is worth a mapping.
const WORTH_A_MAPPING: usize = 16;

/// The most pieces that a block may be in after a commit filled its last page: no more appends to it are expected, so it is
/// copied once. `None` if the commit did not fill it.
fn most_pieces_when_full(change: &BlockChange, array: &Target<'_>, old: &[StoredSegment]) -> Option<usize> {
    let pages = array.size.pages();
    if !change.pages.last().is_some_and(|run| run.pages.end == pages && run.source != PageSource::Zero) {
        return None;
    }
    let end = array.size.range_of(change.block).end;
    let is_done = if end <= array.grown.start {
        // The array did not grow, and the block was not full. (Writing its last page again does not fill it.)
        old.last().is_none_or(|segment| segment.end() < pages)
    } else {
        // An append went past it.
        end <= array.grown.end
    };
    let changed: usize = change.pages.iter().map(|run| run.pages.len()).sum();
    let most = if changed < WORTH_A_MAPPING { 1 } else { (pages as usize / 128).max(2) };
    is_done.then_some(most)
}

impl Blocks<'_, '_, '_> {
    /// Copies a block that this commit changes, if it is in too many pieces: compressed, if the array has a codec and the
    /// block shrinks. `old` are its segments before; `claimed`, sorted, those of its runs that belong to the claim. Returns
    /// whether it was copied, and refers to none of them any more.
    pub(super) fn defragment(
        &mut self,
        block: &mut ChangedBlock<'_>,
        old: &[StoredSegment],
        claimed: &[Run],
        checksums: &mut ChecksumWriter,
    ) -> Result<bool> {
        let ChangedBlock { array, change, stored, .. } = &*block;
        let full = most_pieces_when_full(change, array, old).filter(|_| 2 * stored_pages(stored) >= stored.pages);
        let most = full.unwrap_or(usize::MAX).min(most_pieces(stored));
        let is_fine = stored.to_record().segments.len() <= most && stored.segments.len() <= MAX_SEGMENTS;
        // Not again for a block that was written whole: it was compressed then, or did not shrink.
        let could_shrink = array.codec != Codec::None
            && full.is_some()
            && stored_pages(stored) > 1
            && !matches!(stored.segments[..], [StoredSegment { location: Location::Unit(_), .. }])
            && change.pages.iter().map(|run| run.pages.len()).sum::<usize>() < stored.pages as usize;
        // Nor for a block of which the commit changes no page.
        if stored.segments.is_empty() || change.pages.is_empty() || (is_fine && !could_shrink) {
            return Ok(false);
        }
        let of = |e: Error| {
            let (dir, number) = (self.data.dir.display(), change.block.0);
            e.context(format_args!("{dir}: array {:?} (id {}), block {number}", array.name, array.id.0))
        };
        let mut bytes = vec![0; array.size.bytes()];
        read_pages(self.data, &mut self.unpacker, &stored.segments, stored.pages, 0, &mut bytes).map_err(of)?;

        let all = 0..stored.pages;
        let whole = match self.pack(block, full.is_some(), &bytes, checksums)? {
            Some(unit) => {
                block.checksums.fill(Some(0));
                vec![StoredSegment::unit(all.end, unit)]
            }
            None if is_fine => return Ok(false),
            None => self.copy(block, full.is_some(), &bytes)?,
        };
        self.wrote = true;
        crash::point("block copied");
        let over = lay_over(&block.stored.segments, std::slice::from_ref(&all), &whole);
        block.stored.segments = over.segments;
        // Claimed runs become free with the claim. A run may be in part one: what follows each other was joined.
        self.freed.extend(over.freed.into_iter().flat_map(|run| without(run, claimed)));
        Ok(true)
    }

    /// Stores a block of these bytes compressed; `None` if it does not shrink, or there is no room for it in one piece.
    fn pack(
        &mut self,
        block: &ChangedBlock<'_>,
        is_full: bool,
        bytes: &[u8],
        checksums: &mut ChecksumWriter,
    ) -> Result<Option<Unit>> {
        let mut packer = std::mem::take(&mut self.packer);
        let packed = packer.pack(block.array.codec, block.array.item_bytes, bytes, stored_pages(&block.stored));
        let stored = match packed {
            Ok(Some((packed, payload))) => {
                self.verify(block, bytes, checksums)?;
                self.store_unit(block, is_full, packed, payload)
            }
            done => done.map(|_| None),
        };
        self.packer = packer;
        stored
    }

    fn store_unit(
        &mut self,
        block: &ChangedBlock<'_>,
        is_full: bool,
        packed: Packed,
        payload: &[u8],
    ) -> Result<Option<Unit>> {
        let pages = packed.pages() as u16;
        let runs = match self.place_full(block, is_full, pages)? {
            Some(runs) => runs,
            None => self.space.allocate_piece(pages, pages)?.into_iter().collect(),
        };
        let Some(first) = runs.first() else { return Ok(None) };
        let unit = Unit { chunk: first.chunk, page: first.first, packed };
        self.data.write_at(unit.offset(), payload)?;
        Ok(Some(unit))
    }

    /// Compares pages with their checksums before they are compressed: then their own checksums are dropped.
    fn verify(&self, block: &ChangedBlock<'_>, bytes: &[u8], checksums: &mut ChecksumWriter) -> Result<()> {
        let ChangedBlock { array, change, stored, .. } = block;
        let first = change.block.0 * u64::from(stored.pages);
        let wrong = wrong_page(&stored.segments, 0, bytes, |page| match block.checksums[page as usize] {
            Some(sum) => Ok(sum),
            None => checksums.get(&mut self.txn.borrow_mut(), first + u64::from(page)),
        })?;
        let Some(page) = wrong else { return Ok(()) };
        let text = format!(
            "{}: page {page} of block {} of array {:?} (id {}) is corrupt: {MISFIT}",
            self.data.dir.display(),
            change.block.0,
            array.name,
            array.id.0
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Stores a block of these bytes uncompressed: from its first stored page to its last, holes between them as zeros.
    fn copy(&mut self, block: &mut ChangedBlock<'_>, is_full: bool, bytes: &[u8]) -> Result<Vec<StoredSegment>> {
        let segments = &block.stored.segments;
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(Vec::new()) };
        let span = first.first..last.end();
        // Pages that had no checksum of their own get one.
        let mut at = span.start;
        for segment in segments {
            block.checksums[at as usize..segment.first as usize].fill(Some(self.checksum_of_zeros));
            at = segment.end();
            if segment.run().is_none() {
                for page in segment.first as usize..at as usize {
                    block.checksums[page] = Some(crc32c::crc32c(&bytes[page * PAGE..][..PAGE]));
                }
            }
        }
        let pages = span.len() as u16;
        let runs = match self.place_full(block, is_full, pages)? {
            Some(runs) => runs,
            None => self.space.allocate_whole(pages, pages)?,
        };
        if runs.len() > MAX_SEGMENTS {
            let text = "the data file is full: what is free lies too scattered to write a block to";
            return Err(Error::new(ErrorKind::StoreFull, text));
        }
        let mut whole = Vec::with_capacity(runs.len());
        let mut first = span.start;
        for run in runs {
            let now = &bytes[first as usize * PAGE..][..usize::from(run.pages) * PAGE];
            self.data.write_at(run.offset(), now)?;
            whole.push(StoredSegment::plain(first, run));
            first += u32::from(run.pages);
        }
        Ok(whole)
    }

    /// Allocates a full block: behind the block before, so that both are one mapping, or are read at once. In one run, or in
    /// two consecutive ones; `None` if the block is not full, or the file cannot grow.
    fn place_full(&mut self, block: &ChangedBlock<'_>, is_full: bool, pages: u16) -> Result<Option<Vec<Run>>> {
        if !is_full {
            return Ok(None);
        }
        let (array, number) = (block.array, block.change.block.0);
        let stored = |block: u64| self.txn.borrow().tables().stored_block(array.id, BlockNo(block));
        let before = number.checked_sub(1).map(stored).transpose()?.flatten();
        let last = before.and_then(|before| before.segments.last().copied());
        let is_last = stored(number + 1)?.is_none();
        if let Some(last) = last.filter(|s| s.end() == array.size.pages())
            && let Some(run) = runs_of(&[last]).last()
            && let Some(runs) = self.space.allocate_behind(run, pages)?
        {
            return Ok(Some(runs));
        }
        // With room for the blocks to come, if any: more of it the more blocks there are before.
        let room = u64::from(pages).saturating_mul(if is_last { number + 1 } else { 1 });
        let run = self.space.allocate_piece(pages, room.min(u64::from(CHUNK_PAGES) / 2) as u16)?;
        Ok(run.map(|run| vec![run]))
    }
}
