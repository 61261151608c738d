//! Table `blocks`: array id ‖ block number → version, segments.
//!
//! ```text
//! version u64, pages of a block of this array u16, then for each segment: first page u16, pages u16, codec u8, stored length u32, chunk u64, page in chunk u16; if compressed also: shuffled by u16, checksum u32
//! ```
//! Pages that no segment covers are a hole. A block that was never stored to has no record. A block that became a hole has a
//! record without segments, for its version.

use std::ops::Range;

use bigarray_core::store::{BlockRecord, Origin, Segment};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Error, ErrorKind, PAGE, Result, Version};

use super::{ValueReader, seal};
use crate::alloc::{CHUNK_PAGES, Run};
use crate::codec::{Algorithm, Encoding, Packed};

/// A block of more segments is copied: reading becomes slower with each.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// Codec of uncompressed bytes.
const PLAIN: u8 = 0;
/// Codec of bytes compressed by LZ4.
const LZ4: u8 = 1;
/// Codec of bytes compressed by Zstandard.
const ZSTD: u8 = 2;

/// A whole block, compressed, in consecutive pages of the data file, which may lie in two chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// The chunk in which it begins.
    pub(crate) chunk: u64,
    /// Its first page in that chunk.
    pub(crate) page: u16,
    /// The compressed block.
    pub(crate) packed: Packed,
}

impl Unit {
    /// The unit that begins at that page of the data file.
    pub(crate) fn at_page(page: u64, packed: Packed) -> Unit {
        let of_chunk = u64::from(CHUNK_PAGES);
        Unit { chunk: page / of_chunk, page: (page % of_chunk) as u16, packed }
    }

    /// Its pages: one run, or two in consecutive chunks.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + use<> {
        let pages = self.packed.pages() as u16;
        let first = Run { chunk: self.chunk, first: self.page, pages: pages.min(CHUNK_PAGES - self.page) };
        let rest = Run { chunk: self.chunk.saturating_add(1), first: 0, pages: pages - first.pages };
        [first, rest].into_iter().filter(|run| run.pages > 0)
    }

    /// Its first byte in the data file.
    pub(crate) fn offset(&self) -> u64 {
        Run { chunk: self.chunk, first: self.page, pages: 1 }.offset()
    }

    /// Whether it is valid: of at most `most_pages`, in pages that a file can have.
    fn is_sound(&self, most_pages: u32) -> bool {
        (1..=most_pages).contains(&self.packed.pages()) && self.page < CHUNK_PAGES && self.runs().all(|r| r.is_sound())
    }
}

/// Where pages of a block are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// Uncompressed, in as many pages of the data file as of the block, from this one on.
    Plain { chunk: u64, page: u16 },
    /// In a compressed block, at their place in it. Other pages of the block may lie elsewhere by now.
    Unit(Unit),
}

/// Pages of a block, and where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredSegment {
    /// First page of the block.
    pub(crate) first: u32,
    /// How many pages.
    pub(crate) pages: u16,
    /// Where they are stored.
    pub(crate) location: Location,
}

impl StoredSegment {
    /// Pages that are stored uncompressed.
    pub(crate) fn plain(first: u32, run: Run) -> StoredSegment {
        StoredSegment { first, pages: run.pages, location: Location::Plain { chunk: run.chunk, page: run.first } }
    }

    /// All pages of a block, compressed.
    pub(crate) fn unit(pages: u32, unit: Unit) -> StoredSegment {
        StoredSegment { first: 0, pages: pages as u16, location: Location::Unit(unit) }
    }

    /// Some of its pages.
    pub(crate) fn part(&self, pages: Range<u32>) -> StoredSegment {
        let location = match self.location {
            Location::Plain { chunk, page } => {
                Location::Plain { chunk, page: page + (pages.start - self.first) as u16 }
            }
            unit => unit,
        };
        StoredSegment { first: pages.start, pages: pages.len() as u16, location }
    }

    /// The page of the block behind its last one.
    pub(crate) fn end(&self) -> u32 {
        self.first + u32::from(self.pages)
    }

    /// The run of the data file that holds the pages; `None` if they are compressed.
    pub(crate) fn run(&self) -> Option<Run> {
        match self.location {
            Location::Plain { chunk, page } => Some(Run { chunk, first: page, pages: self.pages }),
            Location::Unit(_) => None,
        }
    }
}

/// The units to which segments refer, each once. A block seldom has more than one.
pub(crate) fn units_of(segments: &[StoredSegment]) -> Vec<Unit> {
    let mut units = Vec::new();
    for segment in segments {
        if let Location::Unit(unit) = segment.location
            && !units.contains(&unit)
        {
            units.push(unit);
        }
    }
    units
}

/// The pages of the data file to which segments refer, each once.
pub(crate) fn runs_of(segments: &[StoredSegment]) -> Vec<Run> {
    let units = units_of(segments);
    segments.iter().filter_map(StoredSegment::run).chain(units.iter().flat_map(Unit::runs)).collect()
}

/// The record of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredBlock {
    /// The commit that last stored to it.
    pub(crate) version: Version,
    /// Pages of the block.
    pub(crate) pages: u32,
    /// The pages that are no hole: ascending, disjoint, at most [`MAX_SEGMENTS`].
    pub(crate) segments: Vec<StoredSegment>,
}

impl StoredBlock {
    /// Refuses a record that is not of an array with blocks of `size`. `name` is that of the array.
    pub(crate) fn check_size(&self, name: &str, array: ArrayId, block: BlockNo, size: BlockSize) -> Result<()> {
        if self.pages == size.pages() {
            return Ok(());
        }
        let text = format!(
            "block {} of array {name:?} (id {}) is corrupt: its record is of {} pages, and its array has blocks of {}",
            block.0,
            array.0,
            self.pages,
            size.pages()
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// The record for core.
    pub(crate) fn to_record(&self) -> BlockRecord {
        let stored = self.segments.iter().map(|segment| {
            let origin = segment.run().map_or(Origin::Produced, |run| Origin::Extent(run.offset()));
            Segment { pages: segment.first..segment.end(), origin }
        });
        BlockRecord::new(self.version, self.pages, stored)
    }
}

/// As stored under `key`.
pub(crate) fn encode_block(key: &[u8], block: &StoredBlock) -> Vec<u8> {
    let mut value = Vec::with_capacity(14 + 25 * block.segments.len());
    value.extend_from_slice(&block.version.0.to_le_bytes());
    value.extend_from_slice(&(block.pages as u16).to_le_bytes());
    for segment in &block.segments {
        let (codec, bytes, chunk, page) = match &segment.location {
            Location::Plain { chunk, page } => (PLAIN, u32::from(segment.pages) * PAGE as u32, chunk, page),
            Location::Unit(Unit { chunk, page, packed }) => match packed.encoding.algorithm {
                Algorithm::Lz4 => (LZ4, packed.bytes, chunk, page),
                Algorithm::Zstd => (ZSTD, packed.bytes, chunk, page),
            },
        };
        value.extend_from_slice(&(segment.first as u16).to_le_bytes());
        value.extend_from_slice(&segment.pages.to_le_bytes());
        value.push(codec);
        value.extend_from_slice(&bytes.to_le_bytes());
        value.extend_from_slice(&chunk.to_le_bytes());
        value.extend_from_slice(&page.to_le_bytes());
        if let Location::Unit(unit) = &segment.location {
            value.extend_from_slice(&unit.packed.encoding.shuffled_by.to_le_bytes());
            value.extend_from_slice(&unit.packed.sum.to_le_bytes());
        }
    }
    seal(key, value)
}

/// Decodes [`encode_block`]. A codec need not be compiled in for that.
pub(crate) fn decode_block(key: &[u8], value: &[u8]) -> Result<StoredBlock> {
    let mut reader = ValueReader::new("blocks", key, value)?;
    let version = Version(reader.u64()?);
    let pages_of_block = u32::from(reader.u16()?);
    BlockSize::new(pages_of_block as usize * PAGE).map_err(|e| reader.bad(&e.to_string()))?;
    let mut segments: Vec<StoredSegment> = Vec::new();
    while !reader.is_empty() {
        let segment = decode_segment(&mut reader, pages_of_block)?;
        if segments.last().is_some_and(|before| before.end() > segment.first) || segment.end() > pages_of_block {
            return Err(reader.bad("its segments do not fit"));
        }
        segments.push(segment);
    }
    if segments.len() > MAX_SEGMENTS {
        return Err(reader.bad("it has too many segments"));
    }
    Ok(StoredBlock { version, pages: pages_of_block, segments })
}

fn decode_segment(reader: &mut ValueReader<'_>, pages_of_block: u32) -> Result<StoredSegment> {
    let first = u32::from(reader.u16()?);
    let pages = reader.u16()?;
    let codec = reader.u8()?;
    let bytes = reader.u32()?;
    let (chunk, page) = (reader.u64()?, reader.u16()?);
    let algorithm = match codec {
        PLAIN => {
            let run = Run { chunk, first: page, pages };
            if !run.is_sound() || bytes != u32::from(pages) * PAGE as u32 {
                return Err(reader.bad("it refers to pages that cannot be"));
            }
            return Ok(StoredSegment::plain(first, run));
        }
        LZ4 => Algorithm::Lz4,
        ZSTD => Algorithm::Zstd,
        _ => {
            let text = format!("a block is stored with codec {codec}, which this version of bigarray does not know");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
    };
    let encoding = Encoding { algorithm, shuffled_by: reader.u16()? };
    let unit = Unit { chunk, page, packed: Packed { encoding, bytes, sum: reader.u32()? } };
    if pages == 0 || !unit.is_sound(pages_of_block) {
        return Err(reader.bad("it refers to compressed pages that cannot be"));
    }
    Ok(StoredSegment { first, pages, location: Location::Unit(unit) })
}
