//! Table `blocks`: array id ‖ block number → version, segments.
//!
//! ```text
//! version u64, pages of a block of this array u16, then for each segment: first page u16, pages u16, codec u8, stored length u32, chunk u64, page in chunk u16
//! ```
//! What no segment covers is a hole. A block that is a hole all over has no record.

use bigarray_core::store::{BlockRecord, Origin, Segment};
use bigarray_core::{BlockSize, Error, ErrorKind, PAGE, Result, Version};

use super::{Reader, seal};
use crate::alloc::Run;

/// A block of more segments is written whole: reading slows with them.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// Bytes as they are.
const CODEC_PLAIN: u8 = 0;

/// Pages of a block and where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredSegment {
    /// First page of the block.
    pub(crate) first: u32,
    /// Pages of the data file: as many as of the block.
    pub(crate) run: Run,
}

impl StoredSegment {
    /// The page of the block behind its last one.
    pub(crate) fn end(&self) -> u32 {
        self.first + u32::from(self.run.pages)
    }
}

/// What is stored of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredBlock {
    /// The commit that last changed its bytes.
    pub(crate) version: Version,
    /// How many it has.
    pub(crate) pages: u32,
    /// What is not a hole: ascending, apart, at least one.
    pub(crate) segments: Vec<StoredSegment>,
}

impl StoredBlock {
    /// As core sees it: with the holes, and with segments as one that follow each other in the file.
    pub(crate) fn to_record(&self) -> BlockRecord {
        let mut segments = Vec::with_capacity(2 * self.segments.len() + 1);
        let mut at = 0;
        let hole = |from, to| Segment { pages: from..to, origin: Origin::Hole };
        for StoredSegment { first, run } in &self.segments {
            if at < *first {
                segments.push(hole(at, *first));
            }
            at = first + u32::from(run.pages);
            match segments.last_mut() {
                Some(Segment { pages, origin: Origin::Extent(offset) })
                    if pages.end == *first && *offset + (pages.len() * PAGE) as u64 == run.offset() =>
                {
                    pages.end = at;
                }
                _ => segments.push(Segment { pages: *first..at, origin: Origin::Extent(run.offset()) }),
            }
        }
        if at < self.pages {
            segments.push(hole(at, self.pages));
        }
        BlockRecord { version: self.version, segments }
    }
}

/// As stored under `key`.
pub(crate) fn encode_block(key: &[u8], block: &StoredBlock) -> Vec<u8> {
    let mut value = Vec::with_capacity(14 + 19 * block.segments.len());
    value.extend_from_slice(&block.version.0.to_le_bytes());
    value.extend_from_slice(&(block.pages as u16).to_le_bytes());
    for StoredSegment { first, run } in &block.segments {
        value.extend_from_slice(&(*first as u16).to_le_bytes());
        value.extend_from_slice(&run.pages.to_le_bytes());
        value.push(CODEC_PLAIN);
        value.extend_from_slice(&(u32::from(run.pages) * PAGE as u32).to_le_bytes());
        value.extend_from_slice(&run.chunk.to_le_bytes());
        value.extend_from_slice(&run.first.to_le_bytes());
    }
    seal(key, value)
}

/// Back from what was stored.
pub(crate) fn decode_block(key: &[u8], value: &[u8]) -> Result<StoredBlock> {
    let mut reader = Reader::new("blocks", key, value)?;
    let version = Version(reader.u64()?);
    let pages_of_block = u32::from(reader.u16()?);
    BlockSize::new(pages_of_block as usize * PAGE).map_err(|e| reader.bad(&e.to_string()))?;
    let mut segments: Vec<StoredSegment> = Vec::new();
    while !reader.is_empty() {
        let first = u32::from(reader.u16()?);
        let pages = reader.u16()?;
        let codec = reader.u8()?;
        let stored_bytes = reader.u32()?;
        let run = Run { chunk: reader.u64()?, first: reader.u16()?, pages };
        if codec != CODEC_PLAIN {
            let text = format!("a block is stored with codec {codec}, which this version of bigarray does not know");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let segment = StoredSegment { first, run };
        if !run.is_sound()
            || stored_bytes != u32::from(pages) * PAGE as u32
            || segments.last().is_some_and(|before| before.end() > first)
            || segment.end() > pages_of_block
        {
            return Err(reader.bad("its segments do not fit"));
        }
        segments.push(segment);
    }
    if segments.is_empty() || segments.len() > MAX_SEGMENTS {
        return Err(reader.bad("it has no segments, or too many"));
    }
    Ok(StoredBlock { version, pages: pages_of_block, segments })
}
