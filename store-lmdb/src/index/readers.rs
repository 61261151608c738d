//! LMDB's reader table: which states are seen by whom.

use std::ffi::{CStr, c_char, c_int, c_void};

use bigarray_core::Result;
use lmdb::Environment;

use super::{WriteTxn, lmdb_error};
use crate::alloc::{OldestReader, parse_reader_list};

/// Appends a piece of the list to the `String` that `to` is.
unsafe extern "C" fn append(text: *const c_char, to: *mut c_void) -> c_int {
    // SAFETY: LMDB gives a C string, and `to` as `list` gave it: a String that nobody else uses meanwhile.
    let (text, to) = unsafe { (CStr::from_ptr(text), &mut *to.cast::<String>()) };
    to.push_str(&text.to_string_lossy());
    0
}

/// LMDB's own words for who sees which state.
fn list(env: &Environment) -> lmdb::Result<String> {
    let mut text = String::new();
    // SAFETY: the environment is open; `append` gets the String it expects, for the time of this call.
    match unsafe { lmdb_sys::mdb_reader_list(env.env(), Some(append), (&raw mut text).cast()) } {
        0.. => Ok(text),
        code => Err(lmdb::Error::from_err_code(code)),
    }
}

/// The numbers of the processes that have places in the table, ascending, each once.
pub(crate) fn numbers(env: &Environment) -> lmdb::Result<Vec<u32>> {
    let list = list(env)?;
    let mut numbers: Vec<u32> =
        list.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Drops what dead processes left in the table; returns how many places that were.
pub(super) fn clear_dead(env: &Environment) -> lmdb::Result<usize> {
    let mut dead = 0;
    // SAFETY: the environment is open.
    match unsafe { lmdb_sys::mdb_reader_check(env.env(), &mut dead) } {
        lmdb_sys::MDB_SUCCESS => Ok(dead as usize),
        code => Err(lmdb::Error::from_err_code(code)),
    }
}

impl WriteTxn<'_> {
    /// The oldest state that anybody sees, in any process. Whoever begins now sees the state this replaces, or a later
    /// one.
    pub(crate) fn oldest_reader(&self) -> Result<OldestReader> {
        let text = list(self.index.env.lmdb()).map_err(|e| lmdb_error(&self.index.dir, "listing the readers", e))?;
        Ok(parse_reader_list(&text))
    }
}
