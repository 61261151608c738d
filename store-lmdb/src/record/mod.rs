//! Keys and values of the index's tables, encoded as bytes, and decoded with checks of bounds and checksum. Numbers in keys
//! are big-endian, so that they sort; in values little-endian.
//!
//! Every value ends in the CRC32C of its key and of the bytes before, so a record under a wrong key is noticed.

mod array;
mod block;
mod checksums;
mod database_id;
mod header;
mod meta;
mod space;
mod tally;
#[cfg(test)]
mod tests;

use bigarray_core::{ArrayId, BlockNo, Error, ErrorKind, Result};

pub(crate) use array::{
    StoredAttr, attr_key, attr_name, count_array, decode_array, decode_attr, discount_array, encode_array, encode_attr,
};
pub(crate) use block::{
    Location, MAX_SEGMENTS, StoredBlock, StoredSegment, Unit, decode_block, encode_block, runs_of, units_of,
};
pub(crate) use checksums::{Checksums, PAGES_PER_RECORD, decode_checksums, encode_checksums};
pub(crate) use database_id::DatabaseId;
pub(crate) use header::{decode_header, encode_header};
pub(crate) use meta::Meta;
pub(crate) use space::{
    chunk_key, class_key, decode_bitmap, decode_claim, decode_class, decode_freed, encode_bitmap, encode_claim,
    encode_class, encode_freed, freed_key, parse_chunk_key, parse_class_key, parse_freed_key, parse_owner,
};
pub(crate) use tally::{Tallies, Tally};

/// Bytes of the checksum at the end of a value.
const CRC_BYTES: usize = 4;

/// Appends the checksum to a value that is stored under `key`.
pub(crate) fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc(key, &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

/// Checks the checksum of a value, and returns the value without it. `table` is for the message.
pub(crate) fn unseal<'v>(table: &str, key: &[u8], value: &'v [u8]) -> Result<&'v [u8]> {
    match value.split_last_chunk::<CRC_BYTES>() {
        Some((value, stored)) if u32::from_le_bytes(*stored) == crc(key, value) => Ok(value),
        _ => Err(bad(table, key, "its checksum does not fit")),
    }
}

fn crc(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

/// The error for a record that is not what was written.
pub(crate) fn bad(table: &str, key: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("record \"{}\" of table {table} is corrupt: {why}", key.escape_ascii()))
}

/// Key of a block, or of a MiB of checksums: array id ‖ number.
pub(crate) fn numbered_key(array: ArrayId, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&array.0.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Decodes [`numbered_key`].
pub(crate) fn parse_numbered_key(table: &str, key: &[u8]) -> Result<(ArrayId, u64)> {
    let (array, number) = key
        .split_first_chunk::<8>()
        .and_then(|(a, n)| Some((u64::from_be_bytes(*a), u64::from_be_bytes(n.try_into().ok()?))))
        .ok_or_else(|| bad(table, key, "its key is not 16 bytes"))?;
    Ok((ArrayId(array), number))
}

/// Key of a block.
pub(crate) fn block_key(array: ArrayId, block: BlockNo) -> [u8; 16] {
    numbered_key(array, block.0)
}

/// Takes numbers from the front of a value. A value that is too short is an error.
pub(crate) struct ValueReader<'v> {
    table: &'static str,
    key: &'v [u8],
    rest: &'v [u8],
}

impl<'v> ValueReader<'v> {
    /// Reads all of the sealed `value` by `read`. More bytes are an error.
    pub(crate) fn all<T>(
        table: &'static str,
        key: &'v [u8],
        value: &'v [u8],
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut reader = ValueReader::new(table, key, value)?;
        let read = read(&mut reader)?;
        if reader.is_empty() { Ok(read) } else { Err(reader.bad("it is too long")) }
    }

    /// Begins to read the sealed `value`.
    pub(crate) fn new(table: &'static str, key: &'v [u8], value: &'v [u8]) -> Result<ValueReader<'v>> {
        Ok(ValueReader { table, key, rest: unseal(table, key, value)? })
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.bad("it is too short"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn slice(&mut self, bytes: usize) -> Result<&'v [u8]> {
        let (slice, rest) = self.rest.split_at_checked(bytes).ok_or_else(|| self.bad("it is too short"))?;
        self.rest = rest;
        Ok(slice)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.bytes()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.bytes()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn bad(&self, why: &str) -> Error {
        bad(self.table, self.key, why)
    }
}
