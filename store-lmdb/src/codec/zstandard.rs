//! Zstandard: one frame.

use bigarray_core::{Error, Result};
use zstd::bulk::{Compressor, Decompressor};

/// A compressor, and the level that it was last used with.
#[derive(Default)]
pub(super) struct Packing(Option<(i32, Compressor<'static>)>);

impl Packing {
    /// Compresses `from` into `to`, which is made long enough; returns the compressed length.
    pub(super) fn compress(&mut self, level: i32, from: &[u8], to: &mut Vec<u8>) -> Result<usize> {
        let failed = |e| Error::io("Zstandard compresses no more", e);
        to.resize(zstd::zstd_safe::compress_bound(from.len()), 0);
        if self.0.as_ref().is_none_or(|(at, _)| *at != level) {
            self.0 = Some((level, Compressor::new(level).map_err(failed)?));
        }
        let Some((_, compressor)) = &mut self.0 else { return Ok(0) };
        compressor.compress_to_buffer(from, &mut to[..]).map_err(failed)
    }
}

/// A decompressor, made when it is first used.
#[derive(Default)]
pub(super) struct Unpacking(Option<Decompressor<'static>>);

impl Unpacking {
    /// Decompresses `from` into `to`; returns the filled length, or what is wrong with `from`.
    pub(super) fn decompress(&mut self, from: &[u8], to: &mut [u8]) -> std::result::Result<usize, String> {
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().map_err(|e| e.to_string())?),
        };
        decompressor.decompress_to_buffer(from, to).map_err(|e| e.to_string())
    }
}
