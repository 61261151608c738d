//! Where a store of LMDB to its lock table may find no room (`opening/table.rs`): who begins is refused, and who ends waits.

use std::mem::ManuallyDrop;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::RoTransaction;

use super::Index;
use super::map::Counts;

/// A read transaction of which nobody uses anything any more, and that is still to be ended.
pub(super) struct Unended(ManuallyDrop<RoTransaction<'static>>);

// SAFETY: as `ReadTxn`, which it was.
unsafe impl Send for Unended {}

impl Index {
    /// To be called before a transaction begins: LMDB stores who it is, and takes mutexes that lie in the table.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`] if a store would be SIGBUS.
    pub(super) fn check_room(&self) -> Result<()> {
        if self.has_room() {
            return Ok(());
        }
        let text = format!(
            "{}: the file system has no room for LMDB's lock table, which is copied when it is written to: free some room",
            self.dir.display()
        );
        Err(Error::new(ErrorKind::StoreFull, text))
    }

    fn has_room(&self) -> bool {
        self.table.as_ref().is_none_or(|table| table.can_be_stored_to())
    }

    /// Ends a read transaction, or keeps it until there is room for LMDB to store that it ended. Until then it keeps what
    /// it sees from being used again.
    pub(super) fn end(&self, counts: &mut Counts, txn: RoTransaction<'static>) {
        counts.unended.push(Unended(ManuallyDrop::new(txn)));
        self.end_all(counts);
    }

    /// Ends those that are kept, if it can be done.
    pub(super) fn end_all(&self, counts: &mut Counts) {
        if !counts.unended.is_empty() && self.has_room() {
            for txn in counts.unended.drain(..) {
                drop(ManuallyDrop::into_inner(txn.0));
                counts.readers -= 1;
            }
        }
    }

    /// Before LMDB closes: whether every read transaction is ended.
    pub(crate) fn is_ended(&self) -> bool {
        let mut counts = self.live.lock();
        self.end_all(&mut counts);
        counts.unended.is_empty()
    }
}
