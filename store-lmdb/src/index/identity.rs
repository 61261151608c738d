//! Which LMDB is linked, and the number by which it knows this process.
//!
//! LMDB takes the process number, which repeats across PID namespaces, for what tells processes apart: it marks the
//! places of its reader table with it, and asks by a lock on the byte of that number whether a process lives. Here it is
//! given a number that no other process has that uses the table, in whatever namespace (`opening::clients`). There is no
//! call for that, so the one word is written that LMDB reads the number from, and only if all around it is as known.

use std::ffi::{c_char, c_int, c_uint};
use std::{process, ptr};

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::Environment;

use super::{MAX_DBS, PAGE_BYTES};

/// Versions that the store is tested with, or whose differences are known to touch nothing that it uses (PLATFORM.md).
const KNOWN: std::ops::RangeInclusive<(i32, i32, i32)> = (0, 9, 24)..=(0, 9, 33);

/// The version of LMDB that is linked: major, minor, patch.
pub fn lmdb_version() -> (i32, i32, i32) {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: three numbers to write to; the text that is returned is not used.
    unsafe { lmdb_sys::mdb_version(&mut major, &mut minor, &mut patch) };
    (major, minor, patch)
}

/// Refuses an LMDB that is not known.
pub(super) fn check_version() -> Result<()> {
    let linked = lmdb_version();
    tracing::debug!("LMDB {}.{}.{} is linked", linked.0, linked.1, linked.2);
    if KNOWN.contains(&linked) { Ok(()) } else { Err(unknown("is not one of those that it was tested with")) }
}

/// Has LMDB know this process by `number` from now on. To be called before the first transaction.
///
/// # Errors
/// [`ErrorKind::Unsupported`] if the environment is not laid out as in the versions that are known; it is as before then.
pub(super) fn set_number(env: &Environment, number: u32) -> Result<()> {
    let env = env.env();
    let (mut path, mut fd, mut readers): (*const c_char, c_int, c_uint) = (ptr::null(), 0, 0);
    // SAFETY: the environment is open, and each call has the place that it writes to.
    let codes = unsafe {
        [
            lmdb_sys::mdb_env_get_path(env, &mut path),
            lmdb_sys::mdb_env_get_fd(env, &mut fd),
            lmdb_sys::mdb_env_get_maxreaders(env, &mut readers),
        ]
    };
    let word = |at: usize| {
        // SAFETY: an environment, whatever its version, is larger than the 56 bytes that are looked at: it holds tables
        // and two pointers to meta pages, besides the path. It is aligned for pointers, as `calloc` aligns. No other
        // thread has it yet.
        unsafe { env.cast::<u32>().add(at).read() }
    };
    // SAFETY: as above.
    let path_there = unsafe { env.cast::<*const c_char>().add(6).read() };
    // Descriptor, two page sizes, places of the reader table, sizes of the table of tables; then the process number, and
    // the address of the path.
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
    // SAFETY: invariant A rests on it. The word is LMDB's process number (`me_pid`): it has this process's number, and what
    // surrounds it is what surrounds that in all versions from 0.9.24 to 0.9.33. LMDB reads it when it takes a place of the
    // reader table and when it looks for dead readers, and nowhere writes it; no other thread has the environment yet.
    unsafe { env.cast::<u32>().add(NUMBER_AT).write(number) };
    Ok(())
}

/// Where LMDB has the process number, in words of 32 bits.
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

    use crate::index::readers;
    use crate::{LmdbStore, Options};

    #[test]
    fn lmdb_knows_readers_by_the_numbers_that_it_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("a.bigarray"));
        for (read_only, number) in [(false, 1 << 22), (true, 1 << 23)] {
            let store = LmdbStore::open(&Options { read_only, ..options.clone() }).unwrap();
            let _snapshot = store.snapshot().unwrap();
            let numbers = || readers::numbers(store.shared.index.env().lmdb()).unwrap();
            assert_eq!(numbers(), [number]);
            // The word is this process's number no more, so that it is not recognized a second time.
            let error = store.shared.index.env().set_number(7).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("LIBLMDB_NO_PKG_CONFIG"), "{error}");
            assert_eq!(numbers(), [number]);
        }
    }
}
