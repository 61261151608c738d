//! LZ4, block format: the record says how long both sides are, so no frame is needed.

use bigarray_core::{Error, ErrorKind, Result};

/// Compresses `from` into `to`, which is made long enough; returns the compressed length.
pub(super) fn compress(from: &[u8], to: &mut Vec<u8>) -> Result<usize> {
    to.resize(lz4_flex::block::get_maximum_output_size(from.len()), 0);
    lz4_flex::block::compress_into(from, to)
        .map_err(|e| Error::new(ErrorKind::Io, "LZ4 compresses no more").with_source(e))
}

/// Decompresses `from` into `to`; returns the filled length, or what is wrong with `from`.
pub(super) fn decompress(from: &[u8], to: &mut [u8]) -> std::result::Result<usize, String> {
    lz4_flex::block::decompress_into(from, to).map_err(|e| e.to_string())
}
