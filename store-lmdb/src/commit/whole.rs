//! A block that commits left in many pieces is copied to pages of its own.

use bigarray_core::store::{BlockChange, DataFile, PageSource};
use bigarray_core::{BlockNo, Error, ErrorKind, PAGE, Result};

use super::blocks::{Blocks, Target};
use super::overlay::lay_over;
use crate::alloc::{CHUNK_PAGES, Run};
use crate::crash;
use crate::record::{MAX_SEGMENTS, StoredBlock, StoredSegment};

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
/// A block that is mostly holes is left alone as long as its record has room: a copy stores zeros in their place.
fn most_pieces(block: &StoredBlock) -> usize {
    if 4 * stored_pages(block) < block.pages { MAX_SEGMENTS } else { (block.pages as usize / 25).max(4) }
}

fn stored_pages(block: &StoredBlock) -> u32 {
    block.segments.iter().map(|segment| u32::from(segment.run.pages)).sum()
}

/// A commit that changes so many pages of a block leaves a piece that is worth a mapping.
const WORTH_A_MAPPING: usize = 16;

/// If a commit was the last of those that filled a block from front to end: how many pieces the block may be in, now that
/// nobody is expected to come back to it. What is copied then is copied once.
fn most_pieces_when_full(change: &BlockChange, array: &Target, old: &[StoredSegment]) -> Option<usize> {
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
    /// Copies a block that a commit has just changed to pages of its own, if it is in too many pieces. Before it was in
    /// `old`; `payload` is where the new pages are. Returns pages of holes that have become zeros on disk.
    pub(super) fn gather(
        &mut self,
        block: &mut StoredBlock,
        change: &BlockChange,
        array: &Target,
        old: &[StoredSegment],
        payload: &[StoredSegment],
    ) -> Result<Vec<u32>> {
        let full = most_pieces_when_full(change, array, old).filter(|_| 2 * stored_pages(block) >= block.pages);
        let most = full.unwrap_or(usize::MAX).min(most_pieces(block));
        if block.to_record().segments.len() <= most && block.segments.len() <= MAX_SEGMENTS {
            return Ok(Vec::new());
        }
        let (Some(first), Some(last)) = (block.segments.first(), block.segments.last()) else { return Ok(Vec::new()) };
        let span = first.first..last.end();
        let mut bytes = vec![0; span.len() * PAGE];
        let (mut zeroed, mut at) = (Vec::new(), span.start);
        for segment in &block.segments {
            zeroed.extend(at..segment.first);
            at = segment.end();
            let from = (segment.first - span.start) as usize * PAGE;
            self.data.read_at(segment.run.offset(), &mut bytes[from..][..usize::from(segment.run.pages) * PAGE])?;
        }

        let pages = span.len() as u16;
        let runs = match full {
            Some(_) => self.place_full(array, change.block, pages)?,
            None => self.space.allocate_whole(pages, pages)?,
        };
        if runs.len() > MAX_SEGMENTS {
            let text = "the data file is full: what is free lies too scattered to write a block to";
            return Err(Error::new(ErrorKind::StoreFull, text));
        }
        let mut whole = Vec::with_capacity(runs.len());
        let (mut first, mut rest) = (span.start, &bytes[..]);
        for run in runs {
            let (now, later) = rest.split_at(usize::from(run.pages) * PAGE);
            self.data.write_at(run.offset(), now)?;
            self.data.start_writing(run.offset(), now.len());
            whole.push(StoredSegment { first, run });
            (first, rest) = (first + u32::from(run.pages), later);
        }
        self.wrote = true;
        crash::point("block copied");
        let over = lay_over(&block.segments, &[span], &whole);
        block.segments = over.segments;
        // What was claimed goes back with the claim.
        let is_claimed = |run: &Run| self.claimed && payload.iter().any(|s| s.run.chunk == run.chunk);
        self.freed.extend(over.freed.into_iter().filter(|run| !is_claimed(run)));
        Ok(zeroed)
    }

    /// Room for a block that is full: behind the block before, so that both are one mapping.
    fn place_full(&mut self, array: &Target, block: BlockNo, pages: u16) -> Result<Vec<Run>> {
        let stored = |block: u64| self.txn.borrow().tables().stored_block(array.id, BlockNo(block));
        let before = block.0.checked_sub(1).map(stored).transpose()?.flatten();
        let last = before.and_then(|before| before.segments.last().copied());
        let is_last = stored(block.0 + 1)?.is_none();
        if let Some(last) = last.filter(|s| s.end() == array.size.pages())
            && let Some(runs) = self.space.allocate_behind(&last.run, pages)?
        {
            return Ok(runs);
        }
        // Those to come are to lie behind it, if there are some: more of them the more there are before it.
        let room = u64::from(pages).saturating_mul(if is_last { block.0 + 1 } else { 1 });
        self.space.allocate_whole(pages, room.min(u64::from(CHUNK_PAGES) / 2) as u16)
    }
}
