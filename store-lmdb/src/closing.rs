//! Closing a database, when nothing uses it any more.

use std::mem;
use std::sync::Arc;

use bigarray_core::Result;

use crate::durability::{lengthen_index, sync_and_clear};
use crate::index::Index;
use crate::locks::OpenLocks;
use crate::options::Durability;

/// Prepares closing, before LMDB closes. `is_open`: opening succeeded, at that level. `failed`: a write failed, so the file
/// `unsynced` is kept.
pub(crate) fn close(index: &Arc<Index>, locks: &OpenLocks, level: Durability, is_open: bool, failed: bool) {
    if !locks.is_of_this_process() {
        // A forked child: closing LMDB's files would drop the locks of a database that the child opened itself.
        mem::forget(Arc::clone(index));
    } else if !is_open {
        keep_unended(index);
    } else if let Err(e) = try_close(index, locks, level, failed) {
        tracing::warn!("closing the database: {e}");
    }
}

fn try_close(index: &Arc<Index>, locks: &OpenLocks, level: Durability, failed: bool) -> Result<()> {
    // (1) No opening meanwhile. Dropping `locks`, after LMDB closed, allows it again.
    let alone = locks.begin_closing();
    // (2) The last writer syncs.
    let synced = if alone.is_ok() && !failed { sync_if_last_writer(index, locks, level) } else { Ok(()) };
    // (3) Also after an error.
    keep_unended(index);
    // (4) The locks that promise LMDB's go before those. Where another process may be opening the database, they stay until
    // LMDB has closed: it would initialize the table that LMDB still has mapped.
    alone?;
    locks.unpublish();
    synced
}

fn sync_if_last_writer(index: &Arc<Index>, locks: &OpenLocks, level: Durability) -> Result<()> {
    if locks.read_only || locks.others_write()? {
        return Ok(());
    }
    lengthen_index(&locks.files.dir, index)?;
    if !level.syncs_data() {
        sync_and_clear(locks, index)?;
    }
    Ok(())
}

/// Keeps LMDB from closing while a reader is left in its table: storing that it ended would be SIGBUS.
fn keep_unended(index: &Arc<Index>) {
    if !index.is_ended() {
        mem::forget(Arc::clone(index));
    }
}
