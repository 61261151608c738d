//! Which LMDB is linked, and the number by which it knows this process.
//!
//! LMDB tells processes apart by their process numbers: it marks the places of its reader table with them, and asks by a
//! lock on the byte of a number whether that process lives. Process numbers repeat across PID namespaces. So LMDB is given
//! another number, that of the client (`locks::clients`), which no other process that uses the table has. There is no call
//! for that: the one word is overwritten that LMDB reads the number from, and only if everything around it is as known.

use std::ffi::{c_char, c_int, c_uint};
use std::{process, ptr};

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::Environment;

use super::{MAX_DBS, PAGE_BYTES};

/// Versions that the store is tested with, or that differ from those only in parts that the store does not use
/// (PLATFORM.md).
const KNOWN: std::ops::RangeInclusive<(i32, i32, i32)> = (0, 9, 24)..=(0, 9, 33);

/// The version of LMDB that is linked: major, minor, patch.
pub fn lmdb_version() -> (i32, i32, i32) {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: LMDB writes to three numbers; the text that it returns is not used.
    unsafe { lmdb_sys::mdb_version(&mut major, &mut minor, &mut patch) };
    (major, minor, patch)
}

/// Refuses an LMDB of an unknown version.
pub(super) fn check_version() -> Result<()> {
    let linked = lmdb_version();
    tracing::debug!("LMDB {}.{}.{} is linked", linked.0, linked.1, linked.2);
    if KNOWN.contains(&linked) { Ok(()) } else { Err(unknown("is not one of those that it was tested with")) }
}

/// Sets the number by which LMDB knows this process. To be called before the first transaction.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the environment is not laid out as in the known versions. Nothing is written then.
pub(super) fn set_number(env: &Environment, number: u32) -> Result<()> {
    let env = env.env();
    let (mut path, mut fd, mut readers): (*const c_char, c_int, c_uint) = (ptr::null(), 0, 0);
    // SAFETY: the environment is open, and each call gets a valid place to write to.
    let codes = unsafe {
        [
            lmdb_sys::mdb_env_get_path(env, &mut path),
            lmdb_sys::mdb_env_get_fd(env, &mut fd),
            lmdb_sys::mdb_env_get_maxreaders(env, &mut readers),
        ]
    };
    let word = |at: usize| {
        // SAFETY: an environment of any version is larger than the 56 bytes that are read: it holds tables and two
        // pointers to meta pages, besides the path. It is aligned for pointers, as `calloc` aligns. No other thread has it
        // yet.
        unsafe { env.cast::<u32>().add(at).read() }
    };
    // SAFETY: as above.
    let path_there = unsafe { env.cast::<*const c_char>().add(6).read() };
    // In order: descriptor, two page sizes, places of the reader table, size of the table of tables, process number,
    // address of the path.
    let is_known = codes == [lmdb_sys::MDB_SUCCESS; 3]
        && word(0) == fd as u32
        && [word(4), word(5)] == [PAGE_BYTES as u32; 2]
        && word(6) == readers
        && word(9) == MAX_DBS + 2
        && word(NUMBER_AT) == process::id()
        && !path.is_null()
        && path_there == path;
    if !is_known {
        return Err(unknown("lays out an environment in another way than the versions that are known"));
    }
    // SAFETY: invariant A rests on it. The word is LMDB's process number (`me_pid`): it has this process's number, and the
    // words around it are those of all versions from 0.9.24 to 0.9.33. LMDB reads it when it takes a place of the reader
    // table and when it looks for dead readers, and never writes it. No other thread has the environment yet.
    unsafe { env.cast::<u32>().add(NUMBER_AT).write(number) };
    Ok(())
}

/// Index of LMDB's process number in the environment, in words of 32 bits.
const NUMBER_AT: usize = 10;

fn unknown(why: &str) -> Error {
    let (major, minor, patch) = lmdb_version();
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "this program is linked to LMDB {major}.{minor}.{patch}, which {why}; build it with LIBLMDB_NO_PKG_CONFIG=1 in \
             the environment, so that the LMDB that comes with it is taken and not the system's"
        ),
    )
}

#[cfg(test)]
mod tests {
    use bigarray_core::store::Store;

    use crate::{LmdbStore, Options};

    #[test]
    fn lmdb_knows_readers_by_the_number_that_was_set() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("a.bigarray"));
        for (read_only, number) in [(false, 1 << 22), (true, 1 << 23)] {
            let store = LmdbStore::open(&Options { read_only, ..options.clone() }).unwrap();
            let _snapshot = store.snapshot().unwrap();
            let numbers = || store.shared.index.env.readers().unwrap().numbers();
            assert_eq!(numbers(), [number]);
            // The word is no longer this process's number, so it is not recognized a second time.
            let error = store.shared.index.env.set_number(7).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("LIBLMDB_NO_PKG_CONFIG"), "{error}");
            assert_eq!(numbers(), [number]);
        }
    }
}
