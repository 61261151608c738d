//! The header of the data file, its first page.
//!
//! ```text
//! magic, 16 bytes; format version u32; id, 16 bytes; CRC32C of these 36 bytes u32; zeros to the end of the page
//! ```

use bigarray_core::{Error, ErrorKind, PAGE, Result};

use super::{DatabaseId, Meta};

const MAGIC: [u8; 16] = *b"bigarray data\r\n\0";
/// Bytes before the checksum.
const SUMMED: usize = 36;

/// The header of the data file of that database.
pub(crate) fn encode_header(id: DatabaseId) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    page[..16].copy_from_slice(&MAGIC);
    page[16..20].copy_from_slice(&(Meta::FORMAT_VERSION as u32).to_le_bytes());
    page[20..SUMMED].copy_from_slice(&id.0);
    let crc = crc32c::crc32c(&page[..SUMMED]);
    page[SUMMED..SUMMED + 4].copy_from_slice(&crc.to_le_bytes());
    page
}

/// The id of the database whose data file begins with `page`.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if `page` is no header; [`ErrorKind::Unsupported`] for another version of the format.
pub(crate) fn decode_header(page: &[u8; PAGE]) -> Result<DatabaseId> {
    if page[..16] != MAGIC {
        let what = if page.iter().all(|byte| *byte == 0) { "zeros" } else { "other bytes" };
        return Err(Error::new(ErrorKind::Corrupt, format!("it begins with {what} instead of a header")));
    }
    let mut fields = [0; SUMMED];
    fields.copy_from_slice(&page[..SUMMED]);
    if crc32c::crc32c(&fields) != u32::from_le_bytes([page[36], page[37], page[38], page[39]]) {
        return Err(Error::new(ErrorKind::Corrupt, "the checksum of its header does not fit"));
    }
    let version = u32::from_le_bytes([page[16], page[17], page[18], page[19]]);
    if u64::from(version) != Meta::FORMAT_VERSION {
        let known = Meta::FORMAT_VERSION;
        let text = format!("it has format version {version}; this version of bigarray reads version {known}");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let mut id = [0; 16];
    id.copy_from_slice(&page[20..SUMMED]);
    Ok(DatabaseId(id))
}
