//! Compressing the blocks of an array, and decompressing them. Pure: it does not know where the bytes lie.
//!
//! A block is compressed as one: all its pages, holes as zeros. Each codec is behind a feature of its name. Without the
//! feature, records of the codec are still decoded, so that the database can be checked and its space be managed; only the
//! bytes cannot be read.

#[cfg(feature = "lz4")]
mod lz4;
mod pack;
mod packers;
mod shuffle;
#[cfg(test)]
mod tests;
mod unpack;
#[cfg(feature = "zstd")]
mod zstandard;

use bigarray_core::{Codec, Error, ErrorKind, PAGE, Result};

pub(crate) use pack::Packer;
pub(crate) use packers::{MOST_BYTES, Packers};
pub(crate) use unpack::{Unpacker, Unpackers};

/// Levels of Zstandard that are allowed. Those below 0 compress less than LZ4.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// A compression algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// LZ4, block format.
    Lz4,
    /// Zstandard, a frame.
    Zstd,
}

impl Algorithm {
    /// Refuses an algorithm that is not compiled in.
    fn check(self) -> Result<()> {
        let (name, feature, is_there) = match self {
            Algorithm::Lz4 => ("LZ4", "lz4", cfg!(feature = "lz4")),
            Algorithm::Zstd => ("Zstandard", "zstd", cfg!(feature = "zstd")),
        };
        if is_there {
            return Ok(());
        }
        let text = format!("{name} is not compiled in: it takes the feature `{feature}` of bigarray");
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}

/// How the bytes of a block were encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) algorithm: Algorithm,
    /// Bytes of an element, by which the block was shuffled first; 0: not shuffled. Longer elements than this number can
    /// express are not shuffled: a block has too few of them.
    pub(crate) shuffled_by: u16,
}

impl Encoding {
    /// The encoding by `codec` of elements of `item_bytes`; `None` if they are stored as they are.
    fn of(codec: Codec, item_bytes: usize) -> Result<Option<Encoding>> {
        let (algorithm, shuffle) = match codec {
            Codec::None => return Ok(None),
            Codec::Lz4 { shuffle } => (Algorithm::Lz4, shuffle),
            Codec::Zstd { shuffle, .. } => (Algorithm::Zstd, shuffle),
            unknown => return Err(Error::new(ErrorKind::Unsupported, format!("codec {unknown} is not known here"))),
        };
        let shuffled_by = if shuffle && item_bytes > 1 { u16::try_from(item_bytes).unwrap_or(0) } else { 0 };
        Ok(Some(Encoding { algorithm, shuffled_by }))
    }
}

/// A compressed block, as its record describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) encoding: Encoding,
    /// Stored bytes.
    pub(crate) bytes: u32,
    /// Their CRC32C.
    pub(crate) sum: u32,
}

impl Packed {
    /// Pages that it takes in the data file.
    pub(crate) fn pages(&self) -> u32 {
        self.bytes.div_ceil(PAGE as u32)
    }
}

/// Memory that a thread needs to compress blocks of `block_bytes`, one after the other, the block included. The numbers for
/// Zstandard were measured with blocks of 2 MiB.
pub(crate) fn packing_bytes(codec: Codec, block_bytes: usize) -> usize {
    let tables = match codec {
        Codec::Zstd { level: ..=6, .. } => 2,
        Codec::Zstd { level: 7..=8, .. } => 3,
        Codec::Zstd { level: 9, .. } => 6,
        Codec::Zstd { level: 10..=12, .. } => 11,
        Codec::Zstd { .. } => 17,
        _ => 0,
    };
    (3 + tables) * block_bytes
}

/// Refuses a codec that cannot be used.
///
/// # Errors
/// [`ErrorKind::Unsupported`], naming it and the feature that it needs; [`ErrorKind::Invalid`] for a level that does not
/// exist.
pub(crate) fn check(codec: Codec) -> Result<()> {
    if let Codec::Zstd { level, .. } = codec
        && !LEVELS.contains(&level)
    {
        let text = format!("Zstandard has levels {} to {}, not {level}", LEVELS.start(), LEVELS.end());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Encoding::of(codec, 1)?.map_or(Ok(()), |encoding| encoding.algorithm.check())
}
