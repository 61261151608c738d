//! Compressing a block.

use bigarray_core::{Codec, PAGE, Result};

use super::shuffle::shuffle;
use super::{Encoding, Packed};

/// Compresses blocks, one after the other, in memory that it keeps: about twice the block, and the codec's own.
#[derive(Default)]
pub(crate) struct Packer {
    shuffled: Vec<u8>,
    packed: Vec<u8>,
    #[cfg(feature = "zstd")]
    zstd: super::zstandard::Packing,
}

impl Packer {
    /// Compresses `block`, of an array with `codec` and elements of `item_bytes`. Returns the description for its record and
    /// the bytes to store, up to the end of their last page; `None` if these are more than 7/8 of the `plain_pages` that
    /// the block takes as it is. A block that hardly shrinks is better stored as it is, since it can be mapped then.
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd")),
        allow(unreachable_code, unused_variables, reason = "no codec is compiled in")
    )]
    pub(crate) fn pack(
        &mut self,
        codec: Codec,
        item_bytes: usize,
        block: &[u8],
        plain_pages: u32,
    ) -> Result<Option<(Packed, &[u8])>> {
        let Some(encoding) = Encoding::of(codec, item_bytes)? else { return Ok(None) };
        let most_pages = plain_pages * 7 / 8;
        if most_pages == 0 {
            return Ok(None);
        }
        let from = if encoding.shuffled_by > 0 {
            self.shuffled.resize(block.len(), 0);
            shuffle(encoding.shuffled_by.into(), block, &mut self.shuffled);
            &self.shuffled[..]
        } else {
            block
        };
        let bytes: usize = match encoding.algorithm {
            #[cfg(feature = "lz4")]
            super::Algorithm::Lz4 => super::lz4::compress(from, &mut self.packed)?,
            #[cfg(feature = "zstd")]
            super::Algorithm::Zstd => {
                let Codec::Zstd { level, .. } = codec else { return Ok(None) };
                self.zstd.compress(level, from, &mut self.packed)?
            }
            #[allow(unreachable_patterns, reason = "codecs that are not compiled in")]
            missing => {
                let _ = from;
                return missing.check().map(|()| None);
            }
        };
        let pages = bytes.div_ceil(PAGE);
        if pages > most_pages as usize {
            return Ok(None);
        }
        let sum = crc32c::crc32c(&self.packed[..bytes]);
        self.packed.resize(pages * PAGE, 0);
        // The buffer may hold the end of an earlier block.
        self.packed[bytes..].fill(0);
        Ok(Some((Packed { encoding, bytes: bytes as u32, sum }, &self.packed)))
    }
}
