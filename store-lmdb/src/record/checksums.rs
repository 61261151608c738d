//! Table `sums`: array id ‖ MiB number → the CRC32C of each page, 0 for those that are holes.

use bigarray_core::Result;

use super::{ValueReader, seal};

/// Pages of one MiB: those of one record.
pub(crate) const PAGES_PER_RECORD: usize = 256;

/// Checksums of the pages of one MiB of an array.
pub(crate) type Checksums = [u32; PAGES_PER_RECORD];

/// As stored under `key`: up to the last page that is no hole, so that the record of a small array is small.
pub(crate) fn encode_checksums(key: &[u8], sums: &Checksums) -> Vec<u8> {
    let stored = sums.iter().rposition(|sum| *sum != 0).map_or(0, |last| last + 1);
    let mut value = Vec::with_capacity(stored * 4 + 4);
    for sum in &sums[..stored] {
        value.extend_from_slice(&sum.to_le_bytes());
    }
    seal(key, value)
}

/// Decodes [`encode_checksums`].
pub(crate) fn decode_checksums(key: &[u8], value: &[u8]) -> Result<Checksums> {
    ValueReader::all("sums", key, value, |reader| {
        let mut sums = [0; PAGES_PER_RECORD];
        for sum in &mut sums {
            if reader.is_empty() {
                break;
            }
            *sum = reader.u32()?;
        }
        Ok(sums)
    })
}
