//! The bytes of blocks against their checksums: read in the order of the file, by two threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bigarray_core::store::DataFile as _;
use bigarray_core::{ArrayId, Damage, Error, ErrorKind, PAGE, Result};

use super::Check;
use super::arrays::Arrays;
use super::findings::Findings;
use crate::alloc::CHUNK;
use crate::codec::{Packed, Unpacker};
use crate::data::Data;

/// Bytes of one reading, at most.
const READ: usize = CHUNK as usize;

/// A block of an array.
type At = (ArrayId, u64);

/// Pieces of payload to be read together.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    /// The checksums of their pages.
    sums: Vec<u32>,
}

/// What follows each other in the file, of one block.
struct Piece {
    at: At,
    offset: u64,
    /// In the file: whole pages.
    bytes: usize,
    kind: Kind,
}

enum Kind {
    /// As they are, from this page of the block on; their checksums in the batch.
    Pages { first: u32, sums: Range<usize> },
    /// Compressed: gives so many bytes.
    Unit { packed: Packed, block_bytes: usize },
}

impl Batch {
    /// Pieces, or as many as their checksums take the memory of.
    pub(super) fn len(&self) -> usize {
        self.pieces.len() + self.sums.len() / 16
    }

    pub(super) fn add_pages(&mut self, at: At, offset: u64, first: u32, sums: &[u32]) {
        let from = self.sums.len();
        self.sums.extend_from_slice(sums);
        let kind = Kind::Pages { first, sums: from..self.sums.len() };
        self.pieces.push(Piece { at, offset, bytes: sums.len() * PAGE, kind });
    }

    pub(super) fn add_unit(&mut self, at: At, offset: u64, packed: Packed, block_bytes: usize) {
        let bytes = packed.pages() as usize * PAGE;
        self.pieces.push(Piece { at, offset, bytes, kind: Kind::Unit { packed, block_bytes } });
    }

    /// Puts the pieces in the order of the file, and returns what of them is read at once.
    fn readings(&mut self) -> Vec<Range<usize>> {
        self.pieces.sort_unstable_by_key(|piece| piece.offset);
        let mut readings: Vec<Range<usize>> = Vec::new();
        let (mut end, mut bytes) = (0, 0);
        for (i, piece) in self.pieces.iter().enumerate() {
            match readings.last_mut() {
                Some(last) if end == piece.offset && bytes + piece.bytes <= READ => {
                    last.end = i + 1;
                    bytes += piece.bytes;
                }
                _ => {
                    readings.push(i..i + 1);
                    bytes = piece.bytes;
                }
            }
            end = piece.offset.saturating_add(piece.bytes as u64);
        }
        readings
    }
}

impl Check<'_> {
    /// Reads what is in `batch` and compares it, and empties it.
    pub(super) fn payload(&mut self, arrays: &Arrays, batch: &mut Batch) -> Result<()> {
        let readings = batch.readings();
        let work = Work {
            data: self.data,
            batch,
            readings: &readings,
            next: AtomicUsize::new(0),
            done_bytes: AtomicU64::new(0),
            found: Mutex::default(),
        };
        let before = self.told.done_bytes;
        let told = &mut self.told;
        thread::scope(|scope| {
            // One thread alone does it too.
            let _ = thread::Builder::new().spawn_scoped(scope, || work.run(|| {}));
            work.run(|| {
                told.done_bytes = before + work.done_bytes.load(Ordering::Relaxed);
                (self.progress)(*told);
            });
        });
        let bytes = work.done_bytes.into_inner();
        let found = work.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.told.done_bytes = before + bytes;
        (self.progress)(self.told);
        self.report.verified_pages += bytes / PAGE as u64;
        self.findings.count(found.more);
        for ((id, block), what) in found.first {
            if let Some(array) = arrays.get(id) {
                self.findings.note(Damage::of_block(&array.name, block, what));
            }
        }
        *batch = Batch::default();
        found.failed.map_or(Ok(()), Err)
    }
}

/// What threads take from and add to.
struct Work<'w> {
    data: &'w Data,
    batch: &'w Batch,
    readings: &'w [Range<usize>],
    next: AtomicUsize,
    done_bytes: AtomicU64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    first: Vec<(At, String)>,
    more: u64,
    /// What keeps from looking on.
    failed: Option<Error>,
}

impl Work<'_> {
    /// Does what nobody has taken, until all is done; `after` each reading.
    fn run(&self, mut after: impl FnMut()) {
        let mut unpacker = Unpacker::default();
        let mut buf = Vec::new();
        while let Some(reading) = self.readings.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let pieces = &self.batch.pieces[reading.clone()];
            let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
            if buf.len() < bytes {
                buf.resize(bytes.max(READ), 0);
            }
            let all = self.data.read_at(pieces[0].offset, &mut buf[..bytes]);
            let mut from = 0;
            for piece in pieces {
                let buf = &mut buf[from..from + piece.bytes];
                // What cannot be read together is read one by one, to see which it is.
                let read = if all.is_err() { self.data.read_at(piece.offset, buf) } else { Ok(()) };
                let looked = read.and_then(|()| self.look(piece, buf, &mut unpacker));
                if let Err(e) = looked {
                    self.note(piece, e);
                }
                from += piece.bytes;
            }
            self.done_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            after();
        }
    }

    /// Compares the bytes of a piece.
    fn look(&self, piece: &Piece, bytes: &[u8], unpacker: &mut Unpacker) -> Result<()> {
        match &piece.kind {
            Kind::Pages { first, sums } => {
                let sums = &self.batch.sums[sums.clone()];
                let found = bytes.chunks_exact(PAGE).map(crc32c::crc32c);
                let mut wrong = (*first..).zip(found.zip(sums)).filter(|(_, (found, sum))| found != *sum);
                let Some((page, (found, sum))) = wrong.next() else { return Ok(()) };
                let mut text = format!("page {page} has checksum {found:08x} instead of {sum:08x}");
                let more = wrong.count();
                if more > 0 {
                    text += &format!(", and {more} more of its pages have others than they should");
                }
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            Kind::Unit { packed, block_bytes } => unpacker.verify(packed, *block_bytes, |to| {
                to.copy_from_slice(&bytes[..to.len()]);
                Ok(())
            }),
        }
    }

    /// A disk that cannot give the bytes back any more is damage too.
    fn note(&self, piece: &Piece, error: Error) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Io if found.first.len() < Findings::KEPT => {
                found.first.push((piece.at, error.to_string()));
            }
            ErrorKind::Corrupt | ErrorKind::Io => found.more += 1,
            _ => drop(found.failed.get_or_insert(error)),
        }
    }
}
