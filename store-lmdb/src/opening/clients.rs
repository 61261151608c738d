//! Numbers of clients: a client is an environment that is open with LMDB's lock table, one a process and directory.
//!
//! No two clients have one number at a time, in whatever PID namespace. A number is had as long as its lock is held, and
//! that goes with the process: a client that holds it lives, and one that does not is dead.

use std::io;

use bigarray_core::{Error, ErrorKind, Result};

use super::locks::LockTable;
use crate::index::{Env, lmdb_error, readers};

/// The first number of those that write, and of those that read. All are above any process number (`PID_MAX_LIMIT`, 2²²).
/// What is claimed is under numbers of those that write, so that a reader never passes for the dead owner of a claim.
const WRITERS: u32 = 1 << 22;
const READERS: u32 = 1 << 23;
/// More clients than any machine has.
const MOST: u32 = 1 << 22;

/// Takes a number that no other client has, and under which nothing was left in the reader table of `env`.
pub(super) fn take_number(table: &LockTable, env: &Env, read_only: bool) -> Result<u32> {
    let failed = |e: io::Error| Error::io(format_args!("{}: taking a number", env.dir().display()), e);
    let first = if read_only { READERS } else { WRITERS };
    for number in first..first + MOST {
        if !table.take_number(number).map_err(failed)? {
            continue;
        }
        // A dead client may have left places under it. None come any more: the number is taken.
        let used = readers::numbers(env.lmdb()).map_err(|e| lmdb_error(env.dir(), "listing the readers", e))?;
        if used.binary_search(&number).is_err() {
            return Ok(number);
        }
        table.give_number(number).map_err(failed)?;
    }
    Err(Error::new(ErrorKind::InUse, format!("{}: {MOST} processes have it open", env.dir().display())))
}
