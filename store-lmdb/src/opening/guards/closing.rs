//! How a database is given back.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bigarray_core::Result;

use super::Guards;
use crate::durability;
use crate::index::Index;
use crate::opening::access::opening;
use crate::opening::locks::{self, LIVE, LOCKLESS, OPENING, WRITER};
use crate::opening::waiting::{Waiting, wait};

/// For messages: "waiting for …".
const CLOSED: &str = "the right to close the database, which is being opened or closed by another process";

impl Guards {
    /// To be called when nothing uses the database any more, before LMDB closes. `failed` says that a write to it failed,
    /// so that what was not synced stays recorded.
    pub(crate) fn close(&self, index: &Arc<Index>, failed: bool) {
        if !self.origin.is_here() {
            // A forked child: closing LMDB's files would drop the locks of a database that the child opened itself.
            mem::forget(Arc::clone(index));
        } else if !self.agreed.load(Ordering::Relaxed) {
            keep_unended(index);
        } else if let Err(e) = self.try_close(index, failed) {
            tracing::warn!("closing the database: {e}");
        }
    }

    fn try_close(&self, index: &Arc<Index>, failed: bool) -> Result<()> {
        // (1) No opening meanwhile; given back by `drop`, after LMDB closed.
        let alone = wait(&self.data, opening(self.exclusive), &Waiting::new(&self.dir.path, CLOSED, self.limit.get()));
        // (2) The last writer leaves it settled.
        let settled = if alone.is_ok() && !failed { self.settle(index) } else { Ok(()) };
        // (3) Whatever became of that.
        keep_unended(index);
        // (4) Before LMDB's locks go, those that promise them. Where an opening may run, not before LMDB closed: it would
        // make the table anew that LMDB still has mapped.
        alone?;
        self.unmark();
        settled
    }

    fn settle(&self, index: &Arc<Index>) -> Result<()> {
        if self.read_only || self.others_write()? {
            return Ok(());
        }
        self.lengthen_index(index)?;
        if !self.durability.syncs_data() {
            durability::settle(&self.dir, index, &self.data)?;
        }
        Ok(())
    }

    fn unmark(&self) {
        for at in [LIVE, WRITER, LOCKLESS] {
            self.unlock(at);
        }
    }

    /// Not left to closing the file: a forked child may still have it open.
    fn unlock(&self, at: i64) {
        if let Err(e) = locks::unlock(&self.data, at) {
            tracing::warn!("{}: giving back a lock: {e}", self.dir.path.display());
        }
    }
}

/// LMDB closes only when no reader is left in its table, else by what would be SIGBUS.
fn keep_unended(index: &Arc<Index>) {
    if !index.is_ended() {
        mem::forget(Arc::clone(index));
    }
}

impl Drop for Guards {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.unmark();
            // LMDB has closed: nothing is left under the number.
            if let Some(table) = &self.table
                && let Err(e) = table.give_number(self.client.number())
            {
                tracing::warn!("{}: giving back a lock: {e}", self.dir.path.display());
            }
            self.unlock(OPENING);
        } else {
            // As in `close`.
            mem::forget(self.table.take());
        }
    }
}
