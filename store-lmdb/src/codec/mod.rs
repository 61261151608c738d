//! Compressing the blocks of an array, and back. Pure: where the bytes lie is for others to know.
//!
//! A block is compressed as one: all its pages, holes as zeros. Each codec is behind a feature of its name; without it
//! records of the codec are still understood, so that the database can be checked and its space be managed, and only
//! the bytes cannot be had.

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

/// Levels of Zstandard. It has others, below 0, that compress less than LZ4.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// What compressed the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// LZ4, block format.
    Lz4,
    /// Zstandard, a frame.
    Zstd,
}

impl Algorithm {
    /// Refuses what is not compiled in.
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

/// How the bytes of a block became those that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) algorithm: Algorithm,
    /// Bytes of an element, by which they were shuffled first; 0: they were not. Longer elements than the number can say
    /// are not shuffled: there are too few of them in a block.
    pub(crate) shuffled_by: u16,
}

impl Encoding {
    /// What `codec` does to elements of `item_bytes`; `None` if it leaves them as they are.
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

/// What a record tells of a compressed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) encoding: Encoding,
    /// Bytes that are stored.
    pub(crate) bytes: u32,
    /// Their CRC32C.
    pub(crate) sum: u32,
}

impl Packed {
    /// Pages of the data file that it takes.
    pub(crate) fn pages(&self) -> u32 {
        self.bytes.div_ceil(PAGE as u32)
    }
}

/// Memory that a thread needs to compress blocks of `block_bytes` one after the other, the block itself included: for
/// Zstandard, as measured for blocks of 2 MiB, more the higher the level.
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

/// Refuses a codec that arrays cannot be stored with.
///
/// # Errors
/// [`ErrorKind::Unsupported`] naming it and the feature that it takes; [`ErrorKind::Invalid`] for a level that there is
/// not.
pub(crate) fn check(codec: Codec) -> Result<()> {
    if let Codec::Zstd { level, .. } = codec
        && !LEVELS.contains(&level)
    {
        let text = format!("Zstandard has levels {} to {}, not {level}", LEVELS.start(), LEVELS.end());
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Encoding::of(codec, 1)?.map_or(Ok(()), |encoding| encoding.algorithm.check())
}
