//! Blosc, by the library that defines the format: a call to compress and a call to decompress.
//!
//! All unsafe code of the crate is here. The calls of the library that are used keep no state and start no thread.

use std::ffi::CStr;

use bigarray_core::{Error, ErrorKind, Result};

/// Bytes that a chunk takes more if it cannot be compressed.
pub(super) const OVERHEAD: usize = blosc_src::BLOSC_MAX_OVERHEAD as usize;

/// How to compress, as Zarr's metadata say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) compressor: Compressor,
    /// 0, which does not compress, to 9.
    pub(super) level: u8,
    pub(super) shuffle: Shuffle,
    /// Bytes of what is shuffled; nothing is, if it is 1 or more than 255.
    pub(super) type_size: usize,
    /// Bytes of a block; 0: as the library thinks fit.
    pub(super) block_size: usize,
}

/// What compresses the blocks of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compressor {
    BloscLz,
    Lz4,
    Lz4Hc,
    Zstd,
}

/// How bytes are sorted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shuffle {
    No,
    /// By their place in the element.
    Bytes,
    /// By the place of each bit in the element.
    Bits,
}

impl Compressor {
    pub(super) const ALL: [Compressor; 4] = [Compressor::BloscLz, Compressor::Lz4, Compressor::Lz4Hc, Compressor::Zstd];

    fn c_name(self) -> &'static CStr {
        match self {
            Compressor::BloscLz => c"blosclz",
            Compressor::Lz4 => c"lz4",
            Compressor::Lz4Hc => c"lz4hc",
            Compressor::Zstd => c"zstd",
        }
    }

    /// Its name in Zarr's metadata.
    pub(super) fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }
}

impl Shuffle {
    pub(super) const ALL: [Shuffle; 3] = [Shuffle::No, Shuffle::Bytes, Shuffle::Bits];

    /// Its name in Zarr's metadata.
    pub(super) fn name(self) -> &'static str {
        match self {
            Shuffle::No => "noshuffle",
            Shuffle::Bytes => "shuffle",
            Shuffle::Bits => "bitshuffle",
        }
    }

    fn flag(self) -> i32 {
        let flag = match self {
            Shuffle::No => blosc_src::BLOSC_NOSHUFFLE,
            Shuffle::Bytes => blosc_src::BLOSC_SHUFFLE,
            Shuffle::Bits => blosc_src::BLOSC_BITSHUFFLE,
        };
        flag as i32
    }
}

/// Compresses a chunk.
pub(super) fn compress(settings: &Settings, from: &[u8]) -> Result<Vec<u8>> {
    let mut to = vec![0; from.len() + OVERHEAD];
    // SAFETY: the pointers are those of two slices, given with their lengths, and of a string that lives for ever. The
    // library reads the one slice, and writes to the other, not beyond the lengths (its documentation says so).
    let length = unsafe {
        blosc_src::blosc_compress_ctx(
            settings.level.into(),
            settings.shuffle.flag(),
            settings.type_size,
            from.len(),
            from.as_ptr().cast(),
            to.as_mut_ptr().cast(),
            to.len(),
            settings.compressor.c_name().as_ptr(),
            settings.block_size,
            1,
        )
    };
    match usize::try_from(length) {
        Ok(length @ 1..) => {
            to.truncate(length);
            Ok(to)
        }
        _ => {
            let text = format!("Blosc does not compress a chunk of {} bytes (it says {length})", from.len());
            Err(Error::new(ErrorKind::Unsupported, text))
        }
    }
}

/// Decompresses a chunk of at most `limit` bytes.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn decompress(from: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut length = 0;
    // SAFETY: pointer and length are those of a slice. The library looks at its head only, which it sees is there.
    let is_valid = unsafe { blosc_src::blosc_cbuffer_validate(from.as_ptr().cast(), from.len(), &raw mut length) } == 0;
    if !is_valid {
        return Err(format!("{} bytes are not in Blosc's format", from.len()));
    }
    if length > limit {
        return Err(format!("Blosc would make {length} bytes of it, and {limit} are the most"));
    }
    let mut to = vec![0; length];
    // SAFETY: `from` is as long as its head says: that was checked. The library does not read beyond that, and does not
    // write beyond the length of `to`, whatever the other bytes are (its documentation says so).
    let filled = unsafe { blosc_src::blosc_decompress_ctx(from.as_ptr().cast(), to.as_mut_ptr().cast(), length, 1) };
    match usize::try_from(filled) {
        Ok(filled) if filled == length => Ok(to),
        _ => Err(format!("Blosc cannot decompress it (it says {filled})")),
    }
}
