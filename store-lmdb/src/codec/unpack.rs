//! Decompressing a block.

use std::sync::Mutex;

use bigarray_core::signals::{self, Locked};
use bigarray_core::{Error, ErrorKind, Result};

use super::shuffle::unshuffle;
use super::{Algorithm, Packed};

/// Decompresses one block after the other, in memory that it keeps: about three times the block.
#[derive(Default)]
pub(crate) struct Unpacker {
    payload: Vec<u8>,
    shuffled: Vec<u8>,
    block: Vec<u8>,
    #[cfg(feature = "zstd")]
    zstd: super::zstandard::Unpacking,
}

impl Unpacker {
    /// Fills `to` with the block that `packed` tells of. `read` is handed memory for what is stored, as long as that.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if what was read is not what was stored, found before it is decompressed, or does not
    /// give a block of that length; what `read` fails with; [`ErrorKind::Unsupported`] if the codec is not compiled in.
    pub(crate) fn unpack(
        &mut self,
        packed: &Packed,
        to: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        packed.encoding.algorithm.check()?;
        self.load(packed, read)?;
        if packed.encoding.shuffled_by == 0 {
            return self.decompress(packed.encoding.algorithm, to);
        }
        let mut shuffled = std::mem::take(&mut self.shuffled);
        shuffled.resize(to.len(), 0);
        let done = self.decompress(packed.encoding.algorithm, &mut shuffled);
        if done.is_ok() {
            unshuffle(packed.encoding.shuffled_by.into(), &shuffled, to);
        }
        self.shuffled = shuffled;
        done
    }

    /// The same, into memory of its own: a block of `len` bytes.
    pub(crate) fn unpack_block(
        &mut self,
        packed: &Packed,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<&[u8]> {
        let mut block = std::mem::take(&mut self.block);
        block.resize(len, 0);
        let done = self.unpack(packed, &mut block, read);
        self.block = block;
        done.map(|()| &self.block[..])
    }

    /// Sees that what is stored gives a block of `len` bytes; if the codec is not compiled in, that its checksum is right.
    ///
    /// # Errors
    /// As of [`unpack`](Unpacker::unpack), never for want of the codec.
    pub(crate) fn verify(
        &mut self,
        packed: &Packed,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        if packed.encoding.algorithm.check().is_err() {
            return self.load(packed, read);
        }
        self.unpack_block(packed, len, read).map(drop)
    }

    /// Memory that it keeps, but for little.
    fn bytes(&self) -> usize {
        self.payload.capacity() + self.shuffled.capacity() + self.block.capacity()
    }

    /// Takes the payload at hand.
    fn load(&mut self, packed: &Packed, read: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        self.payload.resize(packed.bytes as usize, 0);
        read(&mut self.payload)?;
        if crc32c::crc32c(&self.payload) != packed.sum {
            return Err(Error::new(ErrorKind::Corrupt, "its compressed bytes do not fit their checksum"));
        }
        Ok(())
    }

    /// Decompresses the payload at hand, which must fill `to`.
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd")),
        allow(unreachable_code, unused_variables, reason = "there is no codec")
    )]
    fn decompress(&mut self, algorithm: Algorithm, to: &mut [u8]) -> Result<()> {
        let filled: std::result::Result<usize, String> = match algorithm {
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => super::lz4::decompress(&self.payload, to),
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => self.zstd.decompress(&self.payload, to),
            #[allow(unreachable_patterns, reason = "the codecs that this build does not have")]
            missing => return missing.check(),
        };
        let corrupt = |why: String| Err(Error::new(ErrorKind::Corrupt, why));
        match filled {
            Ok(filled) if filled == to.len() => Ok(()),
            Ok(filled) => corrupt(format!("it decompresses to {filled} bytes instead of {}", to.len())),
            Err(why) => corrupt(format!("it cannot be decompressed: {why}")),
        }
    }
}

/// Unpackers that nobody uses at the moment. Their memory, several MiB each, would otherwise be taken from the system
/// and cleared for every block.
#[derive(Default)]
pub(crate) struct Unpackers(Mutex<Vec<Unpacker>>);

impl Unpackers {
    /// As many as threads that resolve faults,
    const KEPT: usize = 8;
    /// but no more memory than this, all together.
    const KEPT_BYTES: usize = 16 << 20;

    /// Gives their memory back to the system.
    pub(crate) fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> Locked<'_, Vec<Unpacker>> {
        signals::lock(&self.0)
    }

    /// Lends one to `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Unpacker) -> R) -> R {
        let mut unpacker = self.kept().pop().unwrap_or_default();
        let result = f(&mut unpacker);
        let mut kept = self.kept();
        let bytes: usize = kept.iter().chain([&unpacker]).map(Unpacker::bytes).sum();
        if kept.len() < Unpackers::KEPT && bytes <= Unpackers::KEPT_BYTES {
            kept.push(unpacker);
        }
        result
    }
}
