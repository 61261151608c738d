//! Room on disk that LMDB needs at any time: for a commit on a full disk, which may be a removal; and for stores to its lock
//! table (`opening/table.rs`), where who begins is refused without it, and who ends waits.

use std::fmt::Display;
use std::mem::ManuallyDrop;
use std::sync::atomic::Ordering;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::RoTransaction;
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::sys::stat::fstat;

use super::map::{self, Counts};
use super::{Index, write_error};
use crate::calls::{allocate, uninterrupted};

/// What the file has on disk behind its end: some commits that find the disk full, more than those of a small database take.
const RESERVE: u64 = 256 << 10;

/// Bytes that are allocated at a time: XFS wants to have room for all that it is asked for, also for what is there.
const PIECE: usize = 1 << 20;

/// A read transaction of which nobody uses anything any more, and that is still to be ended.
pub(super) struct Unended(ManuallyDrop<RoTransaction<'static>>);

// SAFETY: as `ReadTxn`, which it was.
unsafe impl Send for Unended {}

impl Index {
    /// To be called before a write transaction. Sees that the file has its blocks, and some behind its end, as long as the
    /// disk has them: a removal writes to the index before it frees anything, also where there are holes.
    pub(super) fn reserve(&self) {
        let reserve = || {
            let file = map::file_of(self.env.lmdb())?;
            let stat = uninterrupted(|| fstat(file))?;
            let (length, reserved) = (stat.st_size as u64, self.reserved.load(Ordering::Relaxed));
            if length + RESERVE / 2 <= reserved {
                return Ok(());
            }
            let end = length + RESERVE;
            // What was looked at before has no holes.
            let start = reserved.min(length);
            let is_there = (stat.st_blocks as u64).saturating_mul(512) >= end;
            let allocate = || {
                (start..end).step_by(PIECE).try_for_each(|at| {
                    let bytes = (end - at).min(PIECE as u64);
                    allocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at as i64, bytes as i64)
                })
            };
            match if is_there { Ok(()) } else { allocate() } {
                Ok(()) => self.reserved.store(end, Ordering::Relaxed),
                // There never will be any.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.reserved.store(u64::MAX, Ordering::Relaxed),
                Err(e) => return Err(e),
            }
            Ok(())
        };
        // The commit says what it lacks.
        let _: nix::Result<()> = reserve();
    }

    /// Turns `error`, met while doing `what` to the index, into one a program can act on: [`write_error`].
    pub(crate) fn write_error(&self, what: impl Display, error: lmdb::Error) -> Error {
        let reserved = match self.reserved.load(Ordering::Relaxed) {
            u64::MAX => 0,
            reserved => reserved,
        };
        write_error(self.env.lmdb(), reserved, &self.dir, what, error)
    }

    /// To be called before a transaction begins: LMDB stores who it is, and takes mutexes that lie in the table.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`] if a store would be SIGBUS.
    pub(crate) fn check_room(&self) -> Result<()> {
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
