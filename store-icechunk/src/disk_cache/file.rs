//! What a file has: the bytes of a chunk, and behind them a seal.
//!
//! ```text
//! the chunk   from the beginning, so that its pages are pages of the file
//! the key     UTF-8: which chunk it is
//! 8           magic, in which is the version of the format
//! 8           bytes of the chunk, little endian
//! 4           CRC-32C of all before it, little endian
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bigarray_core::store::DataFile;
use bigarray_core::{Error, Result};

use super::directory::is_own;
use crate::checksum::{Sum, crc32c};

/// The time of the last use is as exact as this.
pub(super) const USE_STEP: Duration = Duration::from_secs(60);

/// Another format has another one. Files of the first one were not synced before they had their names, which is what a
/// mapping relies on.
const MAGIC: &[u8; 8] = b"bigchnk2";

/// Read at a time to be summed: it stays in a processor's cache.
const STEP: usize = 256 << 10;

/// The file of a chunk that was found right, and stays so. It may have no name any more.
pub(crate) struct ChunkFile {
    pub(super) file: File,
    opened: Instant,
    /// The second, from then on, in which it was marked as used last.
    marked: AtomicU64,
}

impl ChunkFile {
    /// Marked as used now.
    pub(super) fn new(file: File) -> ChunkFile {
        ChunkFile { file, opened: Instant::now(), marked: AtomicU64::new(0) }
    }

    /// Whether it is to be marked as used again. The caller marks it.
    pub(super) fn is_to_be_marked(&self) -> bool {
        self.is_to_be_marked_after(self.opened.elapsed())
    }

    fn is_to_be_marked_after(&self, open: Duration) -> bool {
        let (now, last) = (open.as_secs(), self.marked.load(Ordering::Relaxed));
        now >= last.saturating_add(USE_STEP.as_secs())
            && self.marked.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl DataFile for ChunkFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|error| Error::io("a file of the disk cache", error))
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// What stands behind `chunk`.
pub(super) fn seal(key: &str, chunk: &[u8]) -> Vec<u8> {
    let mut seal = unsummed_seal(key, chunk.len());
    let mut sum = Sum::default();
    sum.add(chunk);
    sum.add(&seal);
    seal.extend(sum.total().to_le_bytes());
    seal
}

fn unsummed_seal(key: &str, chunk_bytes: usize) -> Vec<u8> {
    [key.as_bytes(), MAGIC, &(chunk_bytes as u64).to_le_bytes()].concat()
}

/// The chunk of `key`, which has so many bytes; `None` if the file is not what was sealed, or others can have written it.
///
/// # Errors
/// Those of the disk.
pub(super) fn read(file: &File, key: &str, chunk_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let expected = unsummed_seal(key, chunk_bytes);
    let summed = chunk_bytes + expected.len();
    let whole = summed + size_of::<u32>();
    if !is_own_file(file, whole)? {
        return Ok(None);
    }
    // Not zeroed first, which is a tenth of the work.
    let mut bytes = Vec::with_capacity(whole);
    file.take(whole as u64).read_to_end(&mut bytes)?;
    let is_right = bytes.len() == whole
        && bytes[chunk_bytes..summed] == expected
        && bytes[summed..] == crc32c(&bytes[..summed]).to_le_bytes();
    bytes.truncate(chunk_bytes);
    Ok(is_right.then_some(bytes))
}

/// Whether the file has the chunk of `key` as it was sealed, and others cannot have written it. Reads all of it, and so
/// brings it into the page cache.
///
/// # Errors
/// Those of the disk.
pub(super) fn is_right(file: &File, key: &str, chunk_bytes: usize) -> io::Result<bool> {
    let expected = unsummed_seal(key, chunk_bytes);
    let summed = chunk_bytes + expected.len();
    if !is_own_file(file, summed + size_of::<u32>())? {
        return Ok(false);
    }
    let mut buffer = vec![0; STEP.min(summed)];
    let mut sum = Sum::default();
    for start in (0..summed).step_by(STEP) {
        let part = &mut buffer[..STEP.min(summed - start)];
        file.read_exact_at(part, start as u64)?;
        sum.add(part);
    }
    let mut seal = vec![0; expected.len() + size_of::<u32>()];
    file.read_exact_at(&mut seal, chunk_bytes as u64)?;
    Ok(seal[..expected.len()] == expected && seal[expected.len()..] == sum.total().to_le_bytes())
}

/// Whether it is a file of so many bytes that this user alone can have written.
fn is_own_file(file: &File, bytes: usize) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && is_own(&metadata) && metadata.len() == bytes as u64)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CHUNK: &[u8] = &[7; 5000];

    #[test]
    fn a_file_that_is_open_is_marked_as_used_once_a_minute() {
        let file = ChunkFile::new(tempfile::tempfile().unwrap());
        let is_marked =
            [0, 59, 60, 61, 119, 120, 1000, 1001].map(|s| file.is_to_be_marked_after(Duration::from_secs(s)));
        assert_eq!(is_marked, [false, false, true, false, false, true, true, false]);
    }

    fn read_back(bytes: &[u8], key: &str, chunk_bytes: usize) -> Option<Vec<u8>> {
        let new = tempfile::NamedTempFile::new().unwrap();
        fs::write(&new, bytes).unwrap();
        let found = read(&new.reopen().unwrap(), key, chunk_bytes).unwrap();
        assert_eq!(is_right(&new.reopen().unwrap(), key, chunk_bytes).unwrap(), found.is_some());
        found
    }

    fn sealed() -> Vec<u8> {
        [CHUNK, &seal("the key", CHUNK)].concat()
    }

    #[test]
    fn what_was_sealed_is_read_back_by_its_own_key_alone() {
        assert_eq!(read_back(&sealed(), "the key", CHUNK.len()).as_deref(), Some(CHUNK));
        assert_eq!(read_back(&sealed(), "the kez", CHUNK.len()), None);
        assert_eq!(read_back(&sealed(), "he key", CHUNK.len() + 1), None);
        assert_eq!(read_back(&sealed(), "7the key", CHUNK.len() - 1), None);
    }

    #[test]
    fn a_bit_that_flipped_anywhere_is_noticed() {
        let mut bytes = sealed();
        for at in (0..bytes.len()).step_by(97).chain(CHUNK.len()..bytes.len()) {
            bytes[at] ^= 0x10;
            assert_eq!(read_back(&bytes, "the key", CHUNK.len()), None, "byte {at}");
            bytes[at] ^= 0x10;
        }
    }

    #[test]
    fn a_file_of_another_length_is_noticed() {
        let bytes = sealed();
        for len in [0, 1, CHUNK.len(), bytes.len() - 1] {
            assert_eq!(read_back(&bytes[..len], "the key", CHUNK.len()), None, "{len} bytes");
        }
        assert_eq!(read_back(&[&bytes[..], &[0]].concat(), "the key", CHUNK.len()), None);
    }

    #[test]
    fn a_file_that_others_may_write_to_is_not_trusted() {
        let new = tempfile::NamedTempFile::new().unwrap();
        fs::write(&new, sealed()).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(read(&new.reopen().unwrap(), "the key", CHUNK.len()).unwrap(), None);
        assert!(!is_right(&new.reopen().unwrap(), "the key", CHUNK.len()).unwrap());
    }

    #[test]
    fn the_last_piece_of_a_long_chunk_is_looked_at_too() {
        let chunk: Vec<u8> = (0..2 * STEP + 77).map(|n| n as u8).collect();
        let mut bytes = [&chunk[..], &seal("the key", &chunk)].concat();
        assert!(read_back(&bytes, "the key", chunk.len()).is_some());
        bytes[2 * STEP + 70] ^= 1;
        assert!(read_back(&bytes, "the key", chunk.len()).is_none());
    }
}
