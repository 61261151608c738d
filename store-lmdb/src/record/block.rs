//! Table `blocks`: array id ‖ block number → version, segments.
//!
//! ```text
//! version u64, then for each segment: first page u16, pages u16, codec u8, stored length u32, chunk u64, page in chunk u16
//! ```
//! What no segment covers is a hole. A block that is a hole all over has no record.

use bigarray_core::store::{Origin, Segment};
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

/// What is stored of a block: ascending, apart, not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredBlock {
    /// The commit that last changed its bytes.
    pub(crate) version: Version,
    /// What is not a hole.
    pub(crate) segments: Vec<StoredSegment>,
}

impl StoredBlock {
    /// With the holes between and behind, up to the `pages` of the block.
    pub(crate) fn with_holes(&self, pages: u32) -> Vec<Segment> {
        let mut all = Vec::with_capacity(2 * self.segments.len() + 1);
        let mut at = 0;
        let hole = |from, to| Segment { pages: from..to, origin: Origin::Hole };
        for segment in &self.segments {
            if at < segment.first {
                all.push(hole(at, segment.first));
            }
            all.push(Segment { pages: segment.first..segment.end(), origin: Origin::Extent(segment.run.offset()) });
            at = segment.end();
        }
        if at < pages {
            all.push(hole(at, pages));
        }
        all
    }
}

/// As stored under `key`.
pub(crate) fn encode_block(key: &[u8], block: &StoredBlock) -> Vec<u8> {
    let mut value = Vec::with_capacity(12 + 19 * block.segments.len());
    value.extend_from_slice(&block.version.0.to_le_bytes());
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

/// Back from what was stored; `size` is the array's.
pub(crate) fn decode_block(key: &[u8], value: &[u8], size: BlockSize) -> Result<StoredBlock> {
    let mut reader = Reader::new("blocks", key, value)?;
    let version = Version(reader.u64()?);
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
            || segment.end() > size.pages()
        {
            return Err(reader.bad("its segments do not fit"));
        }
        segments.push(segment);
    }
    if segments.is_empty() || segments.len() > MAX_SEGMENTS {
        return Err(reader.bad("it has no segments, or too many"));
    }
    Ok(StoredBlock { version, segments })
}
