//! The allocator of the data file: allocation, claims, and when freed pages may be used again; see "Space" in
//! docs/format.md. Pure: it works on the tables of one write transaction, behind [`SpaceTable`], so a transaction that is
//! dropped half-way leaves no trace.
//!
//! The data file is cut into chunks of 2 MiB. Every page below the allocator's end is in exactly one place: referenced
//! by a segment of the newest state, listed as freed (older states may still refer to it), claimed, free,
//! or the header, which is the first page. Only free pages are recorded as such: a bitmap for each chunk that has some.

mod allocator;
mod bitmap;
mod claims;
mod freed;
mod owner;
mod placing;
mod pool;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use allocator::{Space, push_pages};
pub(crate) use bitmap::Bitmap;
pub(crate) use freed::OldestReader;
pub(crate) use owner::Owner;
pub(crate) use pool::Pool;
pub(crate) use table::{FreedKey, Growth, SpaceTable};
#[cfg(test)]
pub(crate) use tests::SimulatedTable;

use std::ops::Range;

use bigarray_core::PAGE;

/// Pages of a chunk.
pub(crate) const CHUNK_PAGES: u16 = 512;

/// Bytes of a chunk: 2 MiB.
pub(crate) const CHUNK: u64 = CHUNK_PAGES as u64 * PAGE as u64;

/// Pages of the data file, counted from its start.
pub(crate) type Pages = Range<u64>;

/// Consecutive pages of the data file inside one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Run {
    /// Number of the chunk, from 0.
    pub(crate) chunk: u64,
    /// First page in the chunk.
    pub(crate) first: u16,
    /// How many pages: at least 1, and the run ends inside the chunk.
    pub(crate) pages: u16,
}

/// The page of the header, which names the database of the data file: never free.
pub(crate) const HEADER: Run = Run { chunk: 0, first: 0, pages: 1 };

impl Run {
    /// All of a chunk.
    pub(crate) fn whole(chunk: u64) -> Run {
        Run { chunk, first: 0, pages: CHUNK_PAGES }
    }

    /// Its first byte in the data file.
    pub(crate) fn offset(&self) -> u64 {
        self.chunk * CHUNK + u64::from(self.first) * PAGE as u64
    }

    /// Its bytes in the data file.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.offset()..self.offset() + u64::from(self.pages) * PAGE as u64
    }

    /// Its pages, counted from the start of the data file.
    pub(crate) fn in_file(&self) -> Pages {
        let start = self.chunk * u64::from(CHUNK_PAGES) + u64::from(self.first);
        start..start + u64::from(self.pages)
    }

    /// The page behind its last one, in the chunk.
    pub(crate) fn end(&self) -> u16 {
        self.first.saturating_add(self.pages)
    }

    /// Whether it is a valid run: not empty, inside one chunk, at an offset that a file can have.
    pub(crate) fn is_sound(&self) -> bool {
        self.pages > 0 && self.end() <= CHUNK_PAGES && self.chunk < i64::MAX as u64 / CHUNK
    }
}

/// Splits pages into runs, one a chunk.
pub(crate) fn runs_of(pages: Pages) -> impl Iterator<Item = Run> {
    let of_chunk = u64::from(CHUNK_PAGES);
    let mut at = pages.start;
    std::iter::from_fn(move || {
        let (chunk, first) = (at / of_chunk, at % of_chunk);
        let n = (of_chunk - first).min(pages.end - at);
        at += n;
        (n > 0).then_some(Run { chunk, first: first as u16, pages: n as u16 })
    })
}
