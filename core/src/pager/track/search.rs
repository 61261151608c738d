//! What was written through a span: step 1 of a commit. `push_block` chooses the means: mapped and zero pages by the page
//! table (`collect_scanned`), copies by comparison with the snapshot (`collect_compared`).
//!
//! A block that was stored to is a change, whatever was stored, as far as it is known: a fault told of it, or the page
//! table does. A store that cannot be told from a read is none.
//!
//! Runs when no view lives: no thread writes meanwhile. A load ahead may still finish, which adds clean blocks only.

use std::ops::Range;

use crate::descriptor::Version;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, PAGE, Ranges, page_range};
use crate::memory::{Residency, TakenOut, WrittenTo};
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::{Block, Kind};
use crate::pager::scratch::with_buffer;
use crate::pager::spill_map::SpillMap;
use crate::pager::track::changes::{Changes, ZEROS, unchanged};
use crate::store::{BlockChange, Bytes, Origin};

/// How writes to a piece of the span are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// The memory knows which pages were written.
    Scan(WrittenTo),
    /// Page by page against the bytes of the snapshot.
    Compare,
}

/// A piece of the span where writes are to be looked for.
struct Candidate {
    bytes: Range<usize>,
    means: Means,
}

/// What a transaction wrote to an array.
#[derive(Default)]
pub(crate) struct Written {
    /// For the store. A block that was stored to and is as it was has no pages.
    pub(crate) changes: Vec<BlockChange>,
    /// Blocks that may have been written to, ascending: their memory is given back.
    pub(crate) touched: Vec<u64>,
    /// Those of them in whose memory zeros are where holes are stored.
    pub(crate) zeroed: Vec<u64>,
}

impl Pager {
    /// The blocks of `exposed` that were stored to, with the pages whose content changed. Zero pages become holes.
    ///
    /// # Errors
    /// Anything that went wrong in this span so far: nothing of it may be committed.
    pub(crate) fn written(&self, exposed: &Ranges) -> Result<Written> {
        let mut changes = Changes::of(self.block_size);
        let mut touched = Vec::new();
        let mut found = Vec::new();
        for Candidate { bytes, means } in self.candidates(exposed) {
            match means {
                Means::Scan(written_to) => {
                    found.clear();
                    self.track.span.written(bytes, written_to, &mut found)?;
                    for range in &found {
                        touched.extend(self.block_size.blocks_in(range));
                        match written_to {
                            WrittenTo::Copied => self.collect_unprotected(range, &mut changes)?,
                            _ => self.collect_scanned(self, range, written_to, &mut changes)?,
                        }
                    }
                }
                Means::Compare => {
                    touched.push(self.block_size.block_at(bytes.start).0);
                    self.collect_compared(self, &bytes, &mut changes)?;
                }
            }
        }
        let zeroed = self.collect_zeroed(&mut changes, |part| self.track.span.stored_to(part))?;
        let table = self.lock();
        table.refuse_if_failed()?;
        for change in &mut changes.list {
            change.seen = table.version_of(change.block.0);
        }
        drop(table);
        changes.list.iter_mut().try_for_each(|change| self.take_whole(self, change))?;
        touched.sort_unstable();
        touched.dedup();
        Ok(Written { changes: changes.list, touched, zeroed })
    }

    /// What changed in `block`, whose writers are held back, in the span or in what was `taken` out of it. `None` if it
    /// was not stored to, as far as is known.
    pub(crate) fn written_to_held(
        &self,
        block: u64,
        kind: Kind,
        taken: Option<&dyn TakenOut>,
    ) -> Result<Option<BlockChange>> {
        let there: &dyn Bytes = taken.map_or(self, |taken| taken);
        let bytes = self.bytes_of(&(block..block + 1));
        let mut changes = Changes::of(self.block_size);
        if kind == Kind::Zero {
            let mut found = Vec::new();
            match taken {
                Some(taken) => taken.written(&mut found)?,
                None => self.track.span.written(bytes, WrittenTo::Zero, &mut found)?,
            }
            for range in &found {
                self.collect_scanned(there, range, WrittenTo::Zero, &mut changes)?;
            }
        } else {
            self.collect_compared(there, &bytes, &mut changes)?;
        }
        self.collect_zeroed(&mut changes, |part| match taken {
            Some(taken) => taken.stored_to(part),
            None => self.track.span.stored_to(part),
        })?;
        let mut change = changes.list.pop();
        if let Some(change) = &mut change {
            self.take_whole(there, change)?;
        }
        Ok(change)
    }

    /// Extends a change of a block that consists of its array's fill value to all of its pages: once it is stored, none is
    /// produced any more. `there` has its bytes. A block of which all is spilled is stored already.
    fn take_whole(&self, there: &dyn Bytes, change: &mut BlockChange) -> Result<()> {
        let block = change.block;
        let binding = {
            let table = self.lock();
            if table.version_of(block.0) != Version(0) {
                return Ok(());
            }
            table.shown.binding().cloned()
        };
        let spilled = |binding: &Binding| binding.spill_map.as_ref().and_then(|map| map.block(block.0));
        let is_filled = |binding: &Binding| {
            binding.fill.is_some() && !spilled(binding).is_some_and(|there| there.covers(self.block_size.pages()))
        };
        if !binding.as_ref().is_some_and(is_filled) {
            return Ok(());
        }
        let mut whole = Changes::of(self.block_size);
        let bytes = self.block_size.range_of(block);
        there.with(bytes.clone(), &mut |there| {
            (bytes.start / PAGE..)
                .zip(there.chunks(PAGE))
                .for_each(|(page, bytes)| whole.push(page as u64, bytes == ZEROS));
            Ok(())
        })?;
        change.pages = whole.list.pop().map_or(Vec::new(), |change| change.pages);
        Ok(())
    }

    /// Blocks in whose memory zeros were found where there are holes. Those that were surely stored to are changes,
    /// too.
    fn collect_zeroed(
        &self,
        changes: &mut Changes,
        stored_to: impl Fn(Range<usize>) -> Result<bool>,
    ) -> Result<Vec<u64>> {
        // A block of an array that no other transaction has tells nothing if it was stored to and is as it was.
        let is_committed = self.lock().shown.binding().is_some_and(|binding| binding.array.is_some());
        let mut zeroed = Vec::new();
        for run in std::mem::take(&mut changes.zeros) {
            for block in self.block_size.blocks_in(&run) {
                if zeroed.last() != Some(&block) {
                    zeroed.push(block);
                }
                let whole = self.bytes_of(&(block..block + 1));
                let part = run.start.max(whole.start)..run.end.min(whole.end);
                if let Err(at) = changes.list.binary_search_by_key(&block, |change| change.block.0)
                    && is_committed
                    && stored_to(part)?
                {
                    changes.list.insert(at, unchanged(block));
                }
            }
        }
        Ok(zeroed)
    }

    /// Superset of the blocks of `exposed` with uncommitted bytes, for an abort.
    pub(crate) fn maybe_written(&self, exposed: &Ranges) -> Result<Vec<u64>> {
        let mut blocks = Vec::new();
        for range in self.maybe_written_bytes(exposed)? {
            blocks.extend(self.block_size.blocks_in(&range));
        }
        blocks.sort_unstable();
        blocks.dedup();
        Ok(blocks)
    }

    /// The same as bytes: written pages, and copied blocks that a writer was let through to.
    pub(crate) fn maybe_written_bytes(&self, exposed: &Ranges) -> Result<Vec<Range<usize>>> {
        let mut found = Vec::new();
        for Candidate { bytes, means } in self.candidates(exposed) {
            match means {
                Means::Scan(written_to) => self.track.span.written(bytes, written_to, &mut found)?,
                Means::Compare => found.push(bytes),
            }
        }
        Ok(found)
    }

    /// Writes what was written here to the same place of `other`, for an array that outgrew its span.
    ///
    /// # Errors
    /// As [`written`](Pager::written).
    pub(crate) fn copy_written_to(&self, other: &Pager, spill_map: &SpillMap, exposed: &Ranges) -> Result<()> {
        for BlockChange { block, seen, pages } in self.written(exposed)?.changes {
            for run in &pages {
                let range = page_range(self.block_size.start_of(block), &run.pages);
                // Everything that can fail about loading what lies below fails here, as a value.
                other.prefetch(&range, true)?;
                other.lock().note_store(block.0);
                self.with(range.clone(), &mut |bytes| {
                    other.write(range.start, bytes);
                    Ok(())
                })?;
            }
            if pages.is_empty() {
                spill_map.lay(block.0, seen, &[]);
            }
        }
        Ok(())
    }

    /// Where in `exposed` writes may be, ascending, neighbours of one kind joined.
    fn candidates(&self, exposed: &Ranges) -> Vec<Candidate> {
        let table = self.lock();
        let mut list: Vec<Candidate> = Vec::new();
        for range in exposed.iter() {
            let pages = range.start / PAGE * PAGE..range.end.next_multiple_of(PAGE).min(self.bytes.end);
            let mut push = |bytes: Range<usize>, means: Means| {
                let bytes = bytes.start.max(pages.start)..bytes.end.min(pages.end);
                match list.last_mut() {
                    _ if bytes.is_empty() => {}
                    Some(last) if last.bytes.end == bytes.start && last.means == means && means != Means::Compare => {
                        last.bytes.end = bytes.end;
                    }
                    // Two exposed ranges may meet in one page.
                    Some(last) if last.bytes.end > bytes.start => {
                        let rest = last.bytes.end..bytes.end.max(last.bytes.end);
                        if !rest.is_empty() {
                            list.push(Candidate { bytes: rest, means });
                        }
                    }
                    _ => list.push(Candidate { bytes, means }),
                }
            };
            let pages = pages.start.max(self.bytes.start)..pages.end;
            let blocks = self.block_size.blocks_in(&pages);
            let mut at = blocks.start;
            for (block, there) in table.blocks(blocks.clone()) {
                if self.residency == Residency::Eager && at < block {
                    push(self.bytes_of(&(at..block)), Means::Scan(WrittenTo::Zero));
                }
                at = block + 1;
                self.push_block(block, there, &mut push);
            }
            if self.residency == Residency::Eager && at < blocks.end {
                push(self.bytes_of(&(at..blocks.end)), Means::Scan(WrittenTo::Zero));
            }
        }
        list
    }

    fn push_block(&self, block: u64, there: &Block, push: &mut impl FnMut(Range<usize>, Means)) {
        let bytes = self.bytes_of(&(block..block + 1));
        match (there.kind(), there.record()) {
            (Kind::Poisoned, _) => {}
            // It may have lost its protection unseen.
            (Kind::Clean, _) => push(bytes, Means::Scan(WrittenTo::Copied)),
            (Kind::Dirty, _) => push(bytes, Means::Compare),
            (Kind::Zero, _) | (Kind::Mapped, None) => push(bytes, Means::Scan(WrittenTo::Zero)),
            (Kind::MemfdCopy, _) => push(bytes, Means::Scan(WrittenTo::Mapped)),
            (Kind::Mapped, Some(_)) if there.is_tracked() => push(bytes, Means::Scan(WrittenTo::Tracked)),
            (Kind::Mapped, Some(record)) => {
                for segment in &record.segments {
                    let written_to = match segment.origin {
                        Origin::Hole => WrittenTo::Zero,
                        Origin::Extent(_) | Origin::Produced => WrittenTo::Mapped,
                    };
                    push(page_range(bytes.start, &segment.pages), Means::Scan(written_to));
                }
            }
        }
    }

    /// What changed in pages that were written to, whose bytes are `there`.
    fn collect_scanned(
        &self,
        there: &dyn Bytes,
        range: &Range<usize>,
        written_to: WrittenTo,
        changes: &mut Changes,
    ) -> Result<()> {
        let spill_map = self.lock().shown.binding().and_then(|binding| binding.spill_map.clone());
        let pages_per_block = self.block_size.pages() as usize;
        // Pages that are spilled and in memory still, as after a failure, count as well.
        let has_bytes = |page: usize| {
            let (block, page) = (page / pages_per_block, page % pages_per_block);
            spill_map.as_ref().is_some_and(|spill_map| spill_map.has_bytes(block as u64, page as u32))
        };
        there.with(range.clone(), &mut |bytes| {
            for (page, bytes) in (range.start / PAGE..).zip(bytes.chunks(PAGE)) {
                let zero = bytes == ZEROS;
                // A zero page over a hole is what it was.
                if !zero || written_to != WrittenTo::Zero || has_bytes(page) {
                    changes.push(page as u64, zero);
                } else {
                    changes.push_zeros(page * PAGE..(page + 1) * PAGE);
                }
            }
            Ok(())
        })
    }

    /// What changed in copied pages that are not protected any more, of any number of blocks.
    fn collect_unprotected(&self, range: &Range<usize>, changes: &mut Changes) -> Result<()> {
        for block in self.block_size.blocks_in(range) {
            let bytes = self.bytes_of(&(block..block + 1));
            self.collect_compared(self, &(bytes.start.max(range.start)..bytes.end.min(range.end)), changes)?;
        }
        Ok(())
    }

    /// What changed in pages of one block, whose bytes are `there`.
    fn collect_compared(&self, there: &dyn Bytes, range: &Range<usize>, changes: &mut Changes) -> Result<()> {
        let block = self.block_size.block_at(range.start).0;
        let (binding, stored, stored_to) = self.base_of(block)?;
        // Of an array that no other transaction has it tells nothing, but that the block is not absent any more.
        if stored_to && (binding.array.is_some() || binding.fill.is_some()) {
            changes.of_block(block);
        }
        with_buffer(self.block_size.bytes(), |base| {
            self.read_shown(&binding, block, stored, base)?;
            let within = range.start - self.block_size.start_of(BlockNo(block));
            there.with(range.clone(), &mut |bytes| {
                let pages = bytes.chunks(PAGE).zip(base[within..].chunks(PAGE));
                for (page, (bytes, base)) in (range.start / PAGE..).zip(pages) {
                    if bytes != base {
                        changes.push(page as u64, bytes == ZEROS);
                    }
                }
                Ok(())
            })
        })
    }

    /// What the span shows, whether `block` is stored there, and whether it was surely stored to.
    fn base_of(&self, block: u64) -> Result<(Binding, bool, bool)> {
        let table = self.lock();
        let Some(binding) = table.shown.binding().cloned() else {
            return Err(Error::new(ErrorKind::Invalid, "the array is not open any more"));
        };
        let there = table.block(block);
        Ok((binding, there.and_then(Block::record).is_some(), there.is_some_and(Block::is_stored_to)))
    }
}
