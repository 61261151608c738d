//! Compares the bytes of blocks with their checksums: read in the order of the file, by two threads, one of which checks
//! records meanwhile.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, Scope};

use bigarray_core::store::DataFile as _;
use bigarray_core::sync::Mutex;
use bigarray_core::{ArrayId, Damage, Error, ErrorKind, PAGE, Result};

use super::Check;
use super::arrays::Arrays;
use super::findings::Findings;
use crate::codec::{Packed, Unpacker};
use crate::data::Data;

/// Bytes read at once: they stay in a core's cache until their checksums are computed.
const READ: usize = 256 << 10;

/// A block of an array, by id and number.
type At = (ArrayId, u64);

/// Pieces of payload that are read together.
#[derive(Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    /// The checksums of their pages.
    sums: Vec<u32>,
}

/// Consecutive bytes of the file that belong to one block.
struct Piece {
    at: At,
    offset: u64,
    /// Bytes in the file: whole pages.
    bytes: usize,
    kind: Kind,
}

enum Kind {
    /// Uncompressed pages, from this page of the block on. The range is that of their checksums in the batch.
    Pages { first: u32, sums: Range<usize> },
    /// A compressed block of that length.
    Unit { packed: Packed, block_bytes: usize },
}

impl Batch {
    /// The number of pieces. Sixteen checksums count as one, since they take as much memory.
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

    /// Sorts the pieces by their place in the file, and returns ranges of pieces that are read at once.
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

/// A thread that reads payload, besides the one that checks records.
pub(super) struct Helper<'c> {
    works: Sender<Arc<Work<'c>>>,
    done: Receiver<()>,
}

impl<'c> Helper<'c> {
    /// Starts the thread, which ends when this is dropped. `None` if it cannot be started: the other thread suffices.
    pub(super) fn start<'s>(scope: &'s Scope<'s, 'c>) -> Option<Helper<'c>> {
        let (works, to_do) = mpsc::channel::<Arc<Work<'c>>>();
        let (told, done) = mpsc::channel();
        let run = move || {
            for work in to_do {
                work.run(|| {});
                // Without a receiver the check has failed, and nothing is left to do.
                let _ = told.send(());
            }
        };
        thread::Builder::new().spawn_scoped(scope, run).ok().map(|_| Helper { works, done })
    }
}

impl<'c> Check<'c> {
    /// Finishes the batch before, begins to read and compare `batch`, and empties it.
    pub(super) fn read_payload(&mut self, arrays: &Arrays, batch: &mut Batch) -> Result<()> {
        self.finish_payload(arrays)?;
        let work = Arc::new(Work::new(self.data, std::mem::take(batch)));
        if let Some(helper) = &self.helper {
            // The thread can only have ended by a panic, which its scope passes on.
            let _ = helper.works.send(work.clone());
        }
        self.reading = Some(work);
        Ok(())
    }

    /// Finishes the batch that is being read, and notes its findings.
    pub(super) fn finish_payload(&mut self, arrays: &Arrays) -> Result<()> {
        let Some(work) = self.reading.take() else { return Ok(()) };
        let before = self.told.done_bytes;
        work.run(|| {
            self.told.done_bytes = before + work.done_bytes.load(Ordering::Relaxed);
            (self.progress)(self.told);
        });
        if let Some(helper) = &self.helper {
            let _ = helper.done.recv();
        }
        let bytes = work.done_bytes.load(Ordering::Relaxed);
        let found = std::mem::take(&mut *work.found.lock());
        self.told.done_bytes = before + bytes;
        (self.progress)(self.told);
        self.report.verified_pages += bytes / PAGE as u64;
        self.findings.count(found.more);
        for ((id, block), what) in found.first {
            if let Some(array) = arrays.get(id) {
                self.findings.note(Damage::of_block(&array.name, block, what));
            }
        }
        found.failed.map_or(Ok(()), Err)
    }
}

/// A batch that is being read: the threads take readings from it, and add findings.
pub(super) struct Work<'c> {
    data: &'c Data,
    batch: Batch,
    readings: Vec<Range<usize>>,
    next: AtomicUsize,
    done_bytes: AtomicU64,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    first: Vec<(At, String)>,
    more: u64,
    /// An error that ends the check.
    failed: Option<Error>,
}

impl<'c> Work<'c> {
    fn new(data: &'c Data, mut batch: Batch) -> Work<'c> {
        let readings = batch.readings();
        let (next, done_bytes, found) = (AtomicUsize::new(0), AtomicU64::new(0), Mutex::default());
        Work { data, batch, readings, next, done_bytes, found }
    }

    /// Takes readings until none is left. Calls `after` after each.
    fn run(&self, mut after: impl FnMut()) {
        let mut unpacker = Unpacker::default();
        let mut buf = Vec::new();
        while let Some(reading) = self.readings.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let pieces = &self.batch.pieces[reading.clone()];
            let bytes: usize = pieces.iter().map(|piece| piece.bytes).sum();
            if buf.len() < bytes {
                buf.resize(bytes.max(READ), 0);
            }
            // If they cannot be read together, they are read one by one, to find the piece that fails.
            let is_read = bytes <= READ && self.data.read_at(pieces[0].offset, &mut buf[..bytes]).is_ok();
            let mut from = 0;
            for piece in pieces {
                if let Err(e) = self.compare(piece, &mut buf[from..from + piece.bytes], is_read, &mut unpacker) {
                    self.note(piece, e);
                }
                from += piece.bytes;
            }
            self.done_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            after();
        }
    }

    /// Compares the bytes of a piece with their checksums. They are in `buf` if it `is_read`.
    fn compare(&self, piece: &Piece, buf: &mut [u8], is_read: bool, unpacker: &mut Unpacker) -> Result<()> {
        match &piece.kind {
            Kind::Pages { first, sums } => {
                let (mut wrong, mut pages) = (Vec::new(), *first..);
                for (n, sums) in self.batch.sums[sums.clone()].chunks(READ / PAGE).enumerate() {
                    // A piece that is read together with others is one such part.
                    let part = &mut buf[..sums.len() * PAGE];
                    if !is_read {
                        self.data.read_at(piece.offset.saturating_add((n * READ) as u64), part)?;
                    }
                    let found = pages.by_ref().zip(part.chunks_exact(PAGE).map(crc32c::crc32c).zip(sums));
                    wrong.extend(found.filter(|(_, (found, sum))| found != *sum));
                }
                let Some((page, (found, sum))) = wrong.first() else { return Ok(()) };
                let mut text = format!("page {page} has checksum {found:08x} instead of {sum:08x}");
                if wrong.len() > 1 {
                    text += &format!(", and {} more of its pages have others than they should", wrong.len() - 1);
                }
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            Kind::Unit { packed, block_bytes } => {
                if !is_read {
                    self.data.read_at(piece.offset, buf)?;
                }
                unpacker.verify(packed, *block_bytes, |to| {
                    to.copy_from_slice(&buf[..to.len()]);
                    Ok(())
                })
            }
        }
    }

    /// Notes a finding. A disk that cannot read the bytes is damage too.
    fn note(&self, piece: &Piece, error: Error) {
        let mut found = self.found.lock();
        match error.kind() {
            ErrorKind::Corrupt | ErrorKind::Io if found.first.len() < Findings::KEPT => {
                found.first.push((piece.at, error.to_string()));
            }
            ErrorKind::Corrupt | ErrorKind::Io => found.more += 1,
            _ => drop(found.failed.get_or_insert(error)),
        }
    }
}
