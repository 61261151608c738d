//! Table `sums`: array id ‖ MiB number → the CRC32C of each page, 0 for those that are holes.

use bigarray_core::Result;

use super::{Reader, seal};

/// Pages of one MiB: those of one record.
pub(crate) const SUMS: usize = 256;

/// Checksums of the pages of one MiB of an array.
pub(crate) type Sums = [u32; SUMS];

/// As stored under `key`.
pub(crate) fn encode_sums(key: &[u8], sums: &Sums) -> Vec<u8> {
    let mut value = Vec::with_capacity(SUMS * 4 + 4);
    for sum in sums {
        value.extend_from_slice(&sum.to_le_bytes());
    }
    seal(key, value)
}

/// Decodes [`encode_sums`].
pub(crate) fn decode_sums(key: &[u8], value: &[u8]) -> Result<Sums> {
    let mut reader = Reader::new("sums", key, value)?;
    let mut sums = [0; SUMS];
    for sum in &mut sums {
        *sum = reader.u32()?;
    }
    reader.end()?;
    Ok(sums)
}
