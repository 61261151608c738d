//! The bytes of a commit: where each run of changed pages goes in the data file, and getting it there.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use bigarray_core::store::{Change, PageSource};
use bigarray_core::{BlockNo, Error, ErrorKind, PAGE, Result};

use super::pack::{PlacedUnit, write_packed};
use super::parallel::{MAX_THREADS, in_parallel};
use super::with_room;
use crate::alloc::Run;
use crate::data::Data;
use crate::record::{StoredSegment, Unit};
use crate::shared::Shared;
use crate::spill::{Committing, runs_of as runs_of_pages};

/// Changed pages of a block, and where they are stored.
pub(super) struct Piece {
    /// The entry in [`Change::arrays`].
    array: usize,
    block: BlockNo,
    /// First page of the block.
    pub(super) first: u32,
    pub(super) run: Run,
    /// Its first page, counted through the payload.
    at: usize,
}

impl Piece {
    pub(super) fn segment(&self) -> StoredSegment {
        StoredSegment::plain(self.first, self.run)
    }
}

/// All changed pages that are not zero.
pub(super) struct Payload {
    /// Compressed blocks, by array and block, ascending: written already.
    units: Vec<PlacedUnit>,
    /// By array, block and page, ascending.
    pieces: Vec<Piece>,
    /// Checksum of each page, once written.
    sums: Vec<AtomicU32>,
}

/// The runs of changed pages that have bytes and are not of `units`: entry in [`Change::arrays`], block, pages.
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

/// How many pages have bytes.
pub(super) fn pages_of(change: &Change<'_>) -> usize {
    runs_of(change, &[]).map(|(_, _, pages)| pages.len()).sum()
}

impl Payload {
    /// Lays what is not of `units` into `space`, front to back. It must be large enough.
    pub(super) fn place(
        change: &Change<'_>,
        units: Vec<PlacedUnit>,
        space: impl IntoIterator<Item = Run>,
    ) -> Result<Payload> {
        let mut space = space.into_iter();
        let mut rest: Option<Run> = None;
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (array, block, mut pages) in runs_of(change, &units) {
            while !pages.is_empty() {
                let Some(free) = rest.take().or_else(|| space.next()) else {
                    return Err(Error::new(ErrorKind::Corrupt, "data file: less space was handed out than asked for"));
                };
                let taken = free.pages.min(pages.len() as u16);
                let run = Run { pages: taken, ..free };
                pieces.push(Piece { array, block, first: pages.start, run, at });
                pages.start += u32::from(taken);
                at += usize::from(taken);
                if taken < free.pages {
                    rest = Some(Run { first: free.first + taken, pages: free.pages - taken, ..free });
                }
            }
        }
        Ok(Payload { units, pieces, sums: (0..at).map(|_| AtomicU32::new(0)).collect() })
    }

    /// Writes the payload of `change`, which is large, to pages of `claim`: blocks that become smaller by that compressed.
    pub(super) fn write_early(shared: &Shared, change: &Change<'_>, claim: &Committing<'_>) -> Result<Payload> {
        let units = write_packed(change, claim)?;
        let plain: usize = runs_of(change, &units).map(|(_, _, pages)| pages.len()).sum();
        let taken = if plain > 0 { claim.take_many(plain as u64)? } else { Vec::new() };
        let payload = Payload::place(change, units, taken.into_iter().flat_map(runs_of_pages))?;
        // Where the disk is full of a part of it, the index has no room for what would make some for the whole.
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

    /// The block compressed, if it is.
    pub(super) fn unit_of_block(&self, array: usize, block: BlockNo) -> Option<Unit> {
        let at = self.units.binary_search_by_key(&(array, block), |u| (u.array, u.block)).ok()?;
        Some(self.units[at].unit)
    }

    /// The pieces of one block.
    pub(super) fn of_block(&self, array: usize, block: BlockNo) -> &[Piece] {
        let from = self.pieces.partition_point(|p| (p.array, p.block) < (array, block));
        let len = self.pieces[from..].partition_point(|p| (p.array, p.block) == (array, block));
        &self.pieces[from..from + len]
    }

    /// Checksums of the pages of a piece.
    pub(super) fn sums_of(&self, piece: &Piece) -> impl Iterator<Item = u32> {
        self.sums[piece.at..][..usize::from(piece.run.pages)].iter().map(|sum| sum.load(Ordering::Relaxed))
    }

    /// Writes everything, in this thread.
    pub(super) fn write(&self, change: &Change<'_>, data: &Data) -> Result<()> {
        self.pieces.iter().try_for_each(|piece| self.write_piece(piece, change, data))
    }

    /// Writes everything, with the help of other threads.
    fn write_in_parallel(&self, change: &Change<'_>, shared: &Shared) -> Result<()> {
        in_parallel(
            self.pieces.len(),
            MAX_THREADS,
            || (),
            |(), at| with_room(shared, || self.write_piece(&self.pieces[at], change, &shared.data)),
        )
    }

    fn write_piece(&self, piece: &Piece, change: &Change<'_>, data: &Data) -> Result<()> {
        let array = &change.arrays[piece.array];
        let Some((name, descriptor)) = &array.after else { return Ok(()) };
        let start = descriptor.block_size.start_of(piece.block) + piece.first as usize * PAGE;
        let len = usize::from(piece.run.pages) * PAGE;
        let of = |e: Error| e.context(format_args!("array {name:?}"));
        array.bytes.with(start..start + len, &mut |bytes| {
            for (sum, page) in self.sums[piece.at..].iter().zip(bytes.chunks_exact(PAGE)) {
                sum.store(crc32c::crc32c(page), Ordering::Relaxed);
            }
            data.write_at(piece.run.offset(), bytes).map_err(of)?;
            data.start_writing(piece.run.offset(), len);
            Ok(())
        })
    }
}
