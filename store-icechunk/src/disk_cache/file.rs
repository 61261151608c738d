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

use super::directory::is_own;

/// Another format has another one.
const MAGIC: &[u8; 8] = b"bigchnk1";

/// What stands behind `chunk`.
pub(super) fn seal(key: &str, chunk: &[u8]) -> Vec<u8> {
    let mut seal = unsummed_seal(key, chunk.len());
    let sum = crc32c::crc32c_append(crc32c::crc32c(chunk), &seal);
    seal.extend(sum.to_le_bytes());
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
    let (metadata, expected) = (file.metadata()?, unsummed_seal(key, chunk_bytes));
    let summed = chunk_bytes + expected.len();
    let whole = summed + size_of::<u32>();
    if !metadata.is_file() || !is_own(&metadata) || metadata.len() != whole as u64 {
        return Ok(None);
    }
    // Not zeroed first, which is a tenth of the work.
    let mut bytes = Vec::with_capacity(whole);
    file.take(whole as u64).read_to_end(&mut bytes)?;
    let is_right = bytes.len() == whole
        && bytes[chunk_bytes..summed] == expected
        && bytes[summed..] == crc32c::crc32c(&bytes[..summed]).to_le_bytes();
    bytes.truncate(chunk_bytes);
    Ok(is_right.then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CHUNK: &[u8] = &[7; 5000];

    fn read_back(bytes: &[u8], key: &str, chunk_bytes: usize) -> Option<Vec<u8>> {
        let new = tempfile::NamedTempFile::new().unwrap();
        fs::write(&new, bytes).unwrap();
        read(&new.reopen().unwrap(), key, chunk_bytes).unwrap()
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
    }
}
