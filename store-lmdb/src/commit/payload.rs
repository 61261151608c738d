//! The payload of a commit: the place of each run of changed pages in the data file, and writing it.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use bigarray_core::store::{Change, PageSource};
use bigarray_core::{BlockNo, Error, ErrorKind, PAGE, Result};

use super::pack::{PlacedUnit, write_packed};
use super::parallel::{MAX_THREADS, in_parallel};
use crate::alloc::{Pool, Run};
use crate::data::Data;
use crate::record::Unit;
use crate::shared::Shared;
use crate::space::{ClaimCommit, with_room};

/// Pieces that follow each other in the file are copied together and written by one call, up to so many bytes: single pages
/// of many arrays would else be a call each, and a request to the disk.
const BATCH_BYTES: usize = 256 << 10;

/// Changed pages of a block that are stored uncompressed, and where.
pub(super) struct PlacedRun {
    /// The entry in [`Change::arrays`].
    array: usize,
    block: BlockNo,
    /// First page of the block.
    pub(super) first: u32,
    pub(super) run: Run,
    /// Its first page, counted through the payload.
    at: usize,
}

impl PlacedRun {
    fn bytes(&self) -> usize {
        usize::from(self.run.pages) * PAGE
    }

    /// Whether `next` lies right behind it in the file.
    fn follows_in_file(&self, next: &PlacedRun) -> bool {
        self.run.offset() + self.bytes() as u64 == next.run.offset()
    }
}

/// All changed pages that are not zero.
pub(super) struct Payload {
    /// Compressed blocks, ordered by array and block. They are written already.
    units: Vec<PlacedUnit>,
    /// Uncompressed pages, ordered by array, block and page.
    pieces: Vec<PlacedRun>,
    /// Checksum of each page, once written.
    checksums: Vec<AtomicU32>,
}

/// The runs of changed pages in memory that are not in `units`: entry in [`Change::arrays`], block, pages.
pub(super) fn runs_of<'c>(
    change: &'c Change<'_>,
    units: &'c [PlacedUnit],
) -> impl Iterator<Item = (usize, BlockNo, Range<u32>)> + 'c {
    let is_packed = |array, block| units.binary_search_by_key(&(array, block), |u| (u.array, u.block)).is_ok();
    change.arrays.iter().enumerate().flat_map(move |(array, a)| {
        a.blocks.iter().filter(move |b| !is_packed(array, b.block)).flat_map(move |b| {
            b.pages
                .iter()
                .filter(|run| run.source == PageSource::Memory)
                .map(move |run| (array, b.block, run.pages.clone()))
        })
    })
}

/// The number of changed pages in memory.
pub(super) fn pages_of(change: &Change<'_>) -> usize {
    runs_of(change, &[]).map(|(_, _, pages)| pages.len()).sum()
}

/// Changed pages that follow each other in an array, how many each time.
fn groups_of(change: &Change<'_>, units: &[PlacedUnit]) -> Vec<u64> {
    let mut groups = Vec::new();
    // The array, and the page behind the last one, counted from the array's first block.
    let mut end = None;
    for (array, block, pages) in runs_of(change, units) {
        let of_block = change.arrays[array].after.as_ref().map_or(0, |(_, after)| u64::from(after.block_size.pages()));
        let first = block.0 * of_block + u64::from(pages.start);
        match groups.last_mut() {
            Some(last) if end == Some((array, first)) => *last += pages.len() as u64,
            _ => groups.push(pages.len() as u64),
        }
        end = Some((array, first + pages.len() as u64));
    }
    groups
}

impl Payload {
    /// Places the pages that are not in `units` in `space`, front to back. It must be large enough.
    pub(super) fn place(
        change: &Change<'_>,
        units: Vec<PlacedUnit>,
        space: impl IntoIterator<Item = Run>,
    ) -> Result<Payload> {
        let mut space = Pool::new(space);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (array, block, pages) in runs_of(change, &units) {
            let mut first = pages.start;
            for run in space.draw(pages.len() as u64) {
                pieces.push(PlacedRun { array, block, first, run, at });
                first += u32::from(run.pages);
                at += usize::from(run.pages);
            }
            if first < pages.end {
                return Err(Error::new(ErrorKind::Corrupt, "data file: less space was handed out than asked for"));
            }
        }
        Ok(Payload { units, pieces, checksums: (0..at).map(|_| AtomicU32::new(0)).collect() })
    }

    /// Writes the payload of `change`, which is large, to pages of `claim`. Blocks that shrink are compressed.
    pub(super) fn write_early(shared: &Shared, change: &Change<'_>, claim: &ClaimCommit<'_>) -> Result<Payload> {
        let units = write_packed(change, claim)?;
        let groups = groups_of(change, &units);
        let runs = if groups.is_empty() { Vec::new() } else { claim.take_groups(&groups)? };
        let payload = Payload::place(change, units, runs)?;
        // If the disk is full, the part that was written takes the room that the index needs to make room.
        with_room(shared, || {
            payload.write_in_parallel(change, shared).inspect_err(|e| {
                if e.is_store_full() {
                    payload.pieces.iter().for_each(|piece| shared.data.punch_hole(&piece.run.bytes()));
                }
            })
        })?;
        Ok(payload)
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.units.is_empty()
    }

    /// The place of a block that is stored compressed.
    pub(super) fn unit_of_block(&self, array: usize, block: BlockNo) -> Option<Unit> {
        let at = self.units.binary_search_by_key(&(array, block), |u| (u.array, u.block)).ok()?;
        Some(self.units[at].unit)
    }

    /// The pieces of one block.
    pub(super) fn of_block(&self, array: usize, block: BlockNo) -> &[PlacedRun] {
        let from = self.pieces.partition_point(|p| (p.array, p.block) < (array, block));
        let len = self.pieces[from..].partition_point(|p| (p.array, p.block) == (array, block));
        &self.pieces[from..from + len]
    }

    /// Checksums of the pages of a piece.
    pub(super) fn checksums_of(&self, piece: &PlacedRun) -> impl Iterator<Item = u32> {
        self.checksums[piece.at..][..usize::from(piece.run.pages)].iter().map(|sum| sum.load(Ordering::Relaxed))
    }

    /// Writes all pages, in this thread.
    pub(super) fn write(&self, change: &Change<'_>, data: &Data) -> Result<()> {
        let mut buffer = Vec::new();
        self.batches().try_for_each(|batch| self.write_batch(batch, change, data, &mut buffer))
    }

    /// Writes all pages, in several threads.
    fn write_in_parallel(&self, change: &Change<'_>, shared: &Shared) -> Result<()> {
        let batches: Vec<&[PlacedRun]> = self.batches().collect();
        in_parallel(batches.len(), MAX_THREADS, Vec::new, |buffer, at| {
            with_room(shared, || self.write_batch(batches[at], change, &shared.data, buffer))
        })
    }

    /// The pieces, those together that are small and follow each other in the file.
    fn batches(&self) -> impl Iterator<Item = &[PlacedRun]> {
        let mut bytes = 0;
        self.pieces.chunk_by(move |piece, next| {
            bytes += piece.bytes();
            let joins = piece.follows_in_file(next) && bytes + next.bytes() <= BATCH_BYTES;
            if !joins {
                bytes = 0;
            }
            joins
        })
    }

    /// Writes pieces that follow each other in the file by one call.
    fn write_batch(&self, batch: &[PlacedRun], change: &Change<'_>, data: &Data, buffer: &mut Vec<u8>) -> Result<()> {
        let [first, others @ ..] = batch else { return Ok(()) };
        if others.is_empty() {
            return self.with_piece(first, change, &mut |bytes| data.write_at(first.run.offset(), bytes));
        }
        buffer.clear();
        for piece in batch {
            self.with_piece(piece, change, &mut |bytes| {
                buffer.extend_from_slice(bytes);
                Ok(())
            })?;
        }
        let of = |e: Error| match &change.arrays[first.array].after {
            Some((name, _)) => e.context(format_args!("array {name:?}")),
            None => e,
        };
        data.write_at(first.run.offset(), buffer).map_err(of)
    }

    /// Calls `f` with the bytes of a piece, whose checksums are taken.
    fn with_piece(&self, piece: &PlacedRun, change: &Change<'_>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let array = &change.arrays[piece.array];
        let Some((name, descriptor)) = &array.after else { return Ok(()) };
        let start = descriptor.block_size.start_of(piece.block) + piece.first as usize * PAGE;
        array.bytes.with(start..start + piece.bytes(), &mut |bytes| {
            for (sum, page) in self.checksums[piece.at..].iter().zip(bytes.chunks_exact(PAGE)) {
                sum.store(crc32c::crc32c(page), Ordering::Relaxed);
            }
            f(bytes).map_err(|e| e.context(format_args!("array {name:?}")))
        })
    }
}
