//! Tables of the space in the data file: `chunks` (chunk → bitmap of free pages), `fits` (class ‖ chunk → nothing: the
//! chunks of `chunks` by their longest run), `freed` (transaction ‖ part → runs), `claims` (owner → ranges of pages).

use bigarray_core::Result;

use super::{ValueReader, bad, seal};
use crate::alloc::{Bitmap, CHUNK_PAGES, FreedKey, Owner, Pages, Run};

/// Key in `chunks`.
pub(crate) fn chunk_key(chunk: u64) -> [u8; 8] {
    chunk.to_be_bytes()
}

/// Decodes [`chunk_key`].
pub(crate) fn parse_chunk_key(key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(key.try_into().map_err(|_| bad("chunks", key, "its key is not 8 bytes"))?))
}

/// As stored under `key`.
pub(crate) fn encode_bitmap(key: &[u8], free: &Bitmap) -> Vec<u8> {
    seal(key, free.to_bytes().to_vec())
}

/// Decodes [`encode_bitmap`].
pub(crate) fn decode_bitmap(key: &[u8], value: &[u8]) -> Result<Bitmap> {
    ValueReader::all("chunks", key, value, |reader| Ok(Bitmap::from_bytes(&reader.bytes()?)))
}

/// Key in `fits`.
pub(crate) fn class_key(class: u8, chunk: u64) -> [u8; 9] {
    let mut key = [class; 9];
    key[1..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Decodes [`class_key`].
pub(crate) fn parse_class_key(key: &[u8]) -> Result<(u8, u64)> {
    let parts = key.split_first().and_then(|(class, chunk)| Some((*class, u64::from_be_bytes(chunk.try_into().ok()?))));
    parts.ok_or_else(|| bad("fits", key, "its key is not 9 bytes"))
}

/// The empty value in `fits`, as stored under `key`.
pub(crate) fn encode_class(key: &[u8]) -> Vec<u8> {
    seal(key, Vec::new())
}

/// Checks the empty value in `fits`.
pub(crate) fn decode_class(key: &[u8], value: &[u8]) -> Result<()> {
    ValueReader::all("fits", key, value, |_| Ok(()))
}

/// Key in `freed`.
pub(crate) fn freed_key(at: FreedKey) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&at.txn.to_be_bytes());
    key[8..].copy_from_slice(&at.part.to_be_bytes());
    key
}

/// Decodes [`freed_key`].
pub(crate) fn parse_freed_key(key: &[u8]) -> Result<FreedKey> {
    let parts = key.split_first_chunk::<8>().and_then(|(txn, part)| {
        Some(FreedKey { txn: u64::from_be_bytes(*txn), part: u32::from_be_bytes(part.try_into().ok()?) })
    });
    parts.ok_or_else(|| bad("freed", key, "its key is not 12 bytes"))
}

/// As stored under `key`.
pub(crate) fn encode_freed(key: &[u8], runs: &[Run]) -> Vec<u8> {
    let mut value = Vec::with_capacity(12 * runs.len() + 4);
    for run in runs {
        value.extend_from_slice(&run.chunk.to_le_bytes());
        value.extend_from_slice(&run.first.to_le_bytes());
        value.extend_from_slice(&run.pages.to_le_bytes());
    }
    seal(key, value)
}

/// Decodes [`encode_freed`].
pub(crate) fn decode_freed(key: &[u8], value: &[u8]) -> Result<Vec<Run>> {
    let mut reader = ValueReader::new("freed", key, value)?;
    let mut runs = Vec::new();
    while !reader.is_empty() {
        let run = Run { chunk: reader.u64()?, first: reader.u16()?, pages: reader.u16()? };
        if !run.is_sound() {
            return Err(reader.bad("it lists pages that cannot be"));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// Decodes the key of a claim.
pub(crate) fn parse_owner(key: &[u8]) -> Result<Owner> {
    let bytes = key.try_into().map_err(|_| bad("claims", key, "its key is no owner"))?;
    Ok(Owner::from_bytes(bytes))
}

/// Set in the first number of a claimed range of pages. Without it the range is one of chunks, as programs claimed before
/// pages were: those refuse this one, which lies outside any file.
const OF_PAGES: u64 = 1 << 63;

/// As stored under `owner`.
pub(crate) fn encode_claim(owner: &[u8], claimed: &[Pages]) -> Vec<u8> {
    let mut value = Vec::with_capacity(16 * claimed.len() + 4);
    for pages in claimed {
        value.extend_from_slice(&(pages.start | OF_PAGES).to_le_bytes());
        value.extend_from_slice(&pages.end.to_le_bytes());
    }
    seal(owner, value)
}

/// Decodes [`encode_claim`].
pub(crate) fn decode_claim(owner: &[u8], value: &[u8]) -> Result<Vec<Pages>> {
    let mut reader = ValueReader::new("claims", owner, value)?;
    let mut claimed = Vec::new();
    while !reader.is_empty() {
        let (start, end) = (reader.u64()?, reader.u64()?);
        let of_chunk = u64::from(CHUNK_PAGES);
        let pages = match start & OF_PAGES {
            0 => start.checked_mul(of_chunk).zip(end.checked_mul(of_chunk)).map(|(start, end)| start..end),
            _ => Some(start & !OF_PAGES..end),
        };
        match pages.filter(|pages| !pages.is_empty()) {
            Some(pages) => claimed.push(pages),
            None => return Err(reader.bad("it lists pages that cannot be")),
        }
    }
    Ok(claimed)
}
