//! The transactions of this process that live, counted: LMDB may move its map only while there is none.

use std::mem::ManuallyDrop;

use bigarray_core::sync::{Condvar, Mutex, MutexGuard};
use bigarray_core::{FirstFailure, Result};
use lmdb::RoTransaction;

use super::Index;

/// The counts, and a signal for when the last write transaction ended.
#[derive(Default)]
pub(super) struct Live {
    counts: Mutex<Counts>,
    write_ended: Condvar,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) readers: usize,
    pub(super) writers: usize,
    /// Counted among the readers.
    unended: Vec<Unended>,
    /// Remapping failed half-way: LMDB has no map any more and must not be called.
    pub(super) lost: FirstFailure,
}

/// A read transaction that is not used any more, and still to be ended.
pub(super) struct Unended(ManuallyDrop<RoTransaction<'static>>);

// SAFETY: as `ReadTxn`, which it was.
unsafe impl Send for Unended {}

/// One write transaction, counted while this lives.
pub(super) struct CountedWrite<'i>(&'i Live);

impl Drop for CountedWrite<'_> {
    fn drop(&mut self) {
        self.0.lock().writers -= 1;
        self.0.write_ended.notify_all();
    }
}

impl Live {
    /// Locks the counts. While the guard lives no transaction begins, and the map stays where it is.
    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock()
    }

    /// Counts a write transaction that is about to begin.
    pub(super) fn count_write(&self, counts: &mut Counts) -> CountedWrite<'_> {
        counts.writers += 1;
        CountedWrite(self)
    }

    /// Waits until no write transaction lives.
    pub(super) fn wait_for_writers<'l>(&'l self, counts: MutexGuard<'l, Counts>) -> MutexGuard<'l, Counts> {
        self.write_ended.wait_while(counts, |c| c.writers > 0)
    }
}

impl Index {
    /// Locks the counts, unless the map is lost.
    pub(super) fn usable(&self) -> Result<MutexGuard<'_, Counts>> {
        let counts = self.live.lock();
        counts.lost.check(format_args!("the index of {} lost its map, open the database again", self.dir.display()))?;
        Ok(counts)
    }

    /// Ends a read transaction, or keeps it until there is room for LMDB to store that it ended. Until then the pages that
    /// it sees are not used again.
    pub(super) fn end(&self, counts: &mut Counts, txn: RoTransaction<'static>) {
        counts.unended.push(Unended(ManuallyDrop::new(txn)));
        self.end_all(counts);
    }

    /// Ends the transactions that are kept, if there is room.
    pub(super) fn end_all(&self, counts: &mut Counts) {
        if !counts.unended.is_empty() && self.has_room() {
            for txn in counts.unended.drain(..) {
                drop(ManuallyDrop::into_inner(txn.0));
                counts.readers -= 1;
            }
        }
    }

    /// Whether every read transaction is ended. To be called before LMDB closes.
    pub(crate) fn is_ended(&self) -> bool {
        let mut counts = self.live.lock();
        self.end_all(&mut counts);
        counts.unended.is_empty()
    }
}
