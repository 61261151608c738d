//! Decompressing a block.

use bigarray_core::sync::FaultMutex;
use bigarray_core::{Error, ErrorKind, Result};

use super::shuffle::unshuffle;
use super::{Algorithm, Packed};

/// Decompresses blocks, one after the other, in memory that it keeps: about three times the block.
#[derive(Default)]
pub(crate) struct Unpacker {
    payload: Vec<u8>,
    shuffled: Vec<u8>,
    block: Vec<u8>,
    #[cfg(feature = "zstd")]
    zstd: super::zstandard::Unpacking,
}

impl Unpacker {
    /// Fills `to` with the block that `packed` describes. `read` fills memory with the stored bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes that were read do not fit their checksum, which is compared before they are
    /// decompressed, or do not decompress to a block of that length; the error of `read`; [`ErrorKind::Unsupported`] if the
    /// codec is not compiled in.
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

    /// As [`unpack`](Unpacker::unpack), into memory of the unpacker: a block of `len` bytes.
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

    /// Checks that the stored bytes give a block of `len` bytes. If the codec is not compiled in, checks only their checksum.
    ///
    /// # Errors
    /// As of [`unpack`](Unpacker::unpack), but a codec that is not compiled in is no error.
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

    /// Most of the memory that it keeps.
    fn bytes(&self) -> usize {
        self.payload.capacity() + self.shuffled.capacity() + self.block.capacity()
    }

    /// Reads the payload into `self.payload`, and compares its checksum.
    fn load(&mut self, packed: &Packed, read: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        self.payload.resize(packed.bytes as usize, 0);
        read(&mut self.payload)?;
        if crc32c::crc32c(&self.payload) != packed.sum {
            return Err(Error::new(ErrorKind::Corrupt, "its compressed bytes do not fit their checksum"));
        }
        Ok(())
    }

    /// Decompresses `self.payload`, which must fill `to`.
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd")),
        allow(unreachable_code, unused_variables, reason = "no codec is compiled in")
    )]
    fn decompress(&mut self, algorithm: Algorithm, to: &mut [u8]) -> Result<()> {
        let filled: std::result::Result<usize, String> = match algorithm {
            #[cfg(feature = "lz4")]
            Algorithm::Lz4 => super::lz4::decompress(&self.payload, to),
            #[cfg(feature = "zstd")]
            Algorithm::Zstd => self.zstd.decompress(&self.payload, to),
            #[allow(unreachable_patterns, reason = "codecs that are not compiled in")]
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

/// Idle unpackers. Without them several MiB of memory would be taken from the system, and cleared, for every block.
#[derive(Default)]
pub(crate) struct Unpackers(FaultMutex<Vec<Unpacker>>);

impl Unpackers {
    /// Most that are kept: as many as resolvers,
    const KEPT: usize = 8;
    /// and no more memory than this, all together.
    const KEPT_BYTES: usize = 16 << 20;

    /// Frees them.
    pub(crate) fn forget(&self) {
        self.0.lock().clear();
    }

    /// Lends an unpacker to `f`.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Unpacker) -> R) -> R {
        let mut unpacker = self.0.lock().pop().unwrap_or_default();
        let result = f(&mut unpacker);
        let mut kept = self.0.lock();
        let bytes: usize = kept.iter().chain([&unpacker]).map(Unpacker::bytes).sum();
        if kept.len() < Unpackers::KEPT && bytes <= Unpackers::KEPT_BYTES {
            kept.push(unpacker);
        }
        result
    }
}
