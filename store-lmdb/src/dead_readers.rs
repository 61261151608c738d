//! Clearing the readers of processes that ended without closing, so that pages which only they saw can be used again.

use bigarray_core::Result;

use crate::index::{Index, lmdb_error};
use crate::locks::files::LOCK_TABLE;
use crate::locks::{OpenLocks, persists};

/// The outcome of [`clear`].
enum Cleared {
    /// No reader of a dead process is left.
    All,
    /// Nothing was cleared: LMDB would take a living reader, the client of this number, for dead, too.
    LostReader(u32),
}

/// To be called before every write transaction, which may reuse pages that no reader sees.
///
/// # Errors
/// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) if a reader lost its locks: LMDB could take it for dead.
pub(crate) fn clear_before_write(locks: &OpenLocks, index: &Index) -> Result<()> {
    locks.before_begin()?;
    let lost = || match clear(locks, index)? {
        Cleared::All => Ok(None),
        Cleared::LostReader(number) => Ok(Some(number)),
    };
    let Some(number) = persists(lost)? else { return Ok(()) };
    Err(locks.in_use(&format!(
        "a process that reads it lost its locks on {LOCK_TABLE}, by opening and closing that file itself; nothing can be \
         written until it begins a transaction or ends: {}",
        locks.name_of(number)
    )))
}

/// Clears the readers of dead processes, unless a living one lacks the locks by which LMDB knows it.
pub(crate) fn clear_at_opening(locks: &OpenLocks, index: &Index) -> Result<()> {
    clear(locks, index).map(drop)
}

fn clear(locks: &OpenLocks, index: &Index) -> Result<Cleared> {
    let Some(table) = &locks.files.table else { return Ok(Cleared::All) };
    let mut are_dead = false;
    for number in index.env.readers()?.numbers() {
        let of = |e| locks.failed("asking for locks", e);
        if number == locks.client.number || table.is_alive(number).map_err(of)? {
            continue;
        }
        if table.is_client(number).map_err(of)? {
            return Ok(Cleared::LostReader(number));
        }
        are_dead = true;
    }
    if are_dead {
        let table = index.env.lock_table()?;
        index.check_room()?;
        table.clear_dead().map_err(|e| lmdb_error(&index.dir, "clearing dead readers", e))?;
    }
    Ok(Cleared::All)
}
