//! A block that commits left in many pieces is copied to pages of its own.

use bigarray_core::store::{BlockChange, PageSource};
use bigarray_core::{BlockNo, Codec, Error, ErrorKind, PAGE, Result};

use super::blocks::{Blocks, ChangedBlock, Target};
use super::overlay::lay_over;
use super::sums::SumsWriter;
use crate::alloc::{CHUNK_PAGES, Run};
use crate::codec::Packed;
use crate::crash;
use crate::reading::read_block;
use crate::record::{MAX_SEGMENTS, Place, StoredBlock, StoredSegment, Unit, runs_of};

/// How many pieces a block of so many pages may be in, holes between them counted.
///
/// Each piece is a mapping when the block is read: a first scan of blocks of 3, 9, 17 and 33 pieces takes 2.1, 2.4, 2.9
/// and 4.7 times as long as one of whole blocks. Each copy writes all pages of the block. One-page commits to random
/// pages have a block of 2 MiB copied at every tenth: 51 pages a commit, which leaves some of 64 to the index, for 10
/// pieces on average. (Up to 32 pieces: 32 pages, for 16 pieces.)
///
/// To copy only the pieces that are cheapest to join was tried, and takes 44 pages a commit for 10 pieces. But what it
/// frees lies as scattered as what it joins had: no chunk is ever wholly free again, and the file grew by a third, where
/// whole blocks grow it by 2 %.
///
/// A block that is mostly holes is left alone as long as its record has room: a copy stores zeros in their place. So is
/// one of which a part is compressed: it is put together when it is read, and no piece of it takes a mapping.
fn most_pieces(block: &StoredBlock) -> usize {
    let is_packed = block.segments.iter().any(|segment| segment.run().is_none());
    if is_packed || 4 * stored_pages(block) < block.pages { MAX_SEGMENTS } else { (block.pages as usize / 25).max(4) }
}

fn stored_pages(block: &StoredBlock) -> u32 {
    block.segments.iter().map(|segment| u32::from(segment.pages)).sum()
}

/// A commit that changes so many pages of a block leaves a piece that is worth a mapping.
const WORTH_A_MAPPING: usize = 16;

/// If a commit was the last of those that filled a block from front to end: how many pieces the block may be in, now that
/// nobody is expected to come back to it. What is copied then is copied once.
fn most_pieces_when_full(change: &BlockChange, array: &Target<'_>, old: &[StoredSegment]) -> Option<usize> {
    let pages = array.size.pages();
    if !change.pages.last().is_some_and(|run| run.pages.end == pages && run.source != PageSource::Zero) {
        return None;
    }
    let end = array.size.range_of(change.block).end;
    let is_done = if end <= array.grown.start {
        // The array was there all along, and empty. (A last page that is written again and again ends nothing.)
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
    /// Copies a block that a commit has just changed to pages of its own, if it is in too many pieces: compressed, if the
    /// array has a codec and it shrinks. Before it was in `old`; `is_claimed` says of which runs of it a claim decides.
    pub(super) fn gather(
        &mut self,
        block: &mut ChangedBlock<'_>,
        old: &[StoredSegment],
        is_claimed: &dyn Fn(&Run) -> bool,
        sums: &mut SumsWriter,
    ) -> Result<()> {
        let ChangedBlock { array, change, stored, .. } = &*block;
        let full = most_pieces_when_full(change, array, old).filter(|_| 2 * stored_pages(stored) >= stored.pages);
        let most = full.unwrap_or(usize::MAX).min(most_pieces(stored));
        let is_fine = stored.to_record().segments.len() <= most && stored.segments.len() <= MAX_SEGMENTS;
        // What was compressed when it was written whole, or did not shrink then, is as good as it gets.
        let could_shrink = array.codec != Codec::None
            && full.is_some()
            && stored_pages(stored) > 1
            && !matches!(stored.segments[..], [StoredSegment { place: Place::Unit(_), .. }])
            && change.pages.iter().map(|run| run.pages.len()).sum::<usize>() < stored.pages as usize;
        // Nor is anything gained where the commit changes no page.
        if stored.segments.is_empty() || change.pages.is_empty() || (is_fine && !could_shrink) {
            return Ok(());
        }
        let of = |e: Error| {
            let (dir, number) = (self.data.dir().display(), change.block.0);
            e.context(format_args!("{dir}: array {:?} (id {}), block {number}", array.name, array.id.0))
        };
        let mut bytes = vec![0; array.size.bytes()];
        read_block(self.data, &mut self.unpacker, &stored.segments, &mut bytes).map_err(of)?;

        let all = 0..stored.pages;
        let whole = match self.pack(block, full.is_some(), &bytes, sums)? {
            Some(unit) => {
                block.sums.fill(Some(0));
                vec![StoredSegment::unit(all.end, unit)]
            }
            None if is_fine => return Ok(()),
            None => self.copy(block, full.is_some(), &bytes)?,
        };
        self.wrote = true;
        crash::point("block copied");
        let over = lay_over(&block.stored.segments, std::slice::from_ref(&all), &whole);
        block.stored.segments = over.segments;
        // What was claimed goes back with the claim.
        self.freed.extend(over.freed.into_iter().filter(|run| !is_claimed(run)));
        Ok(())
    }

    /// Stores a block, whose bytes are given, compressed; `None` if it does not shrink, or has no room in one piece.
    fn pack(
        &mut self,
        block: &ChangedBlock<'_>,
        is_full: bool,
        bytes: &[u8],
        sums: &mut SumsWriter,
    ) -> Result<Option<Unit>> {
        let mut packer = std::mem::take(&mut self.packer);
        let packed = packer.pack(block.array.codec, block.array.item_bytes, bytes, stored_pages(&block.stored));
        let stored = match packed {
            Ok(Some((packed, payload))) => {
                self.verify(block, bytes, sums)?;
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
        self.data.start_writing(unit.offset(), payload.len());
        Ok(Some(unit))
    }

    /// Sees that pages which are to be compressed are what was written: from then on, their own checksums are gone.
    fn verify(&self, block: &ChangedBlock<'_>, bytes: &[u8], sums: &mut SumsWriter) -> Result<()> {
        let ChangedBlock { array, change, stored, .. } = block;
        let plain = stored.segments.iter().filter(|s| s.run().is_some());
        for page in plain.flat_map(|s| s.first..s.end()) {
            let sum = match block.sums[page as usize] {
                Some(sum) => sum,
                None => {
                    let at = change.block.0 * u64::from(stored.pages) + u64::from(page);
                    sums.get(&mut self.txn.borrow_mut(), at)?
                }
            };
            if crc32c::crc32c(&bytes[page as usize * PAGE..][..PAGE]) != sum {
                let text = format!(
                    "{}: page {page} of block {} of array {:?} (id {}) is corrupt: its bytes do not fit their checksum",
                    self.data.dir().display(),
                    change.block.0,
                    array.name,
                    array.id.0
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
        }
        Ok(())
    }

    /// Stores a block, whose bytes are given, as it is: from its first stored page to its last, holes between them as
    /// zeros.
    fn copy(&mut self, block: &mut ChangedBlock<'_>, is_full: bool, bytes: &[u8]) -> Result<Vec<StoredSegment>> {
        let segments = &block.stored.segments;
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(Vec::new()) };
        let span = first.first..last.end();
        // What had no checksum of its own gets one.
        let mut at = span.start;
        for segment in segments {
            block.sums[at as usize..segment.first as usize].fill(Some(self.sum_of_zeros));
            at = segment.end();
            if segment.run().is_none() {
                for page in segment.first as usize..at as usize {
                    block.sums[page] = Some(crc32c::crc32c(&bytes[page * PAGE..][..PAGE]));
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
            self.data.start_writing(run.offset(), now.len());
            whole.push(StoredSegment::plain(first, run));
            first += u32::from(run.pages);
        }
        Ok(whole)
    }

    /// Room for a block that is full: behind the block before, so that both are one mapping, or are read in one go. In
    /// one run, or in two that follow each other; `None` if the block is not full, or the file cannot grow.
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
        // Those to come are to lie behind it, if there are some: more of them the more there are before it.
        let room = u64::from(pages).saturating_mul(if is_last { number + 1 } else { 1 });
        let run = self.space.allocate_piece(pages, room.min(u64::from(CHUNK_PAGES) / 2) as u16)?;
        Ok(run.map(|run| vec![run]))
    }
}
