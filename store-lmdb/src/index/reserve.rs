//! Room on disk that LMDB needs at any time: for a commit on a full disk, which may be a removal; and for stores to its lock
//! table (`locks/lock_table`). A transaction that begins without the latter is refused, and one that ends waits.

use std::fmt::Display;
use std::sync::atomic::Ordering;

use bigarray_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::sys::stat::fstat;

use super::file::file_of;
use super::{Index, write_error};
use crate::calls::{allocate, uninterrupted};

/// Bytes allocated behind the end of the file: enough for some commits on a full disk, and more than the commits of a small
/// database take.
const RESERVE: u64 = 256 << 10;

/// Bytes that are allocated at a time: XFS refuses unless it has room for the whole request, allocated parts included.
const PIECE: usize = 1 << 20;

impl Index {
    /// Allocates the blocks of the file, and some behind its end, if the disk has room. To be called before a write
    /// transaction: a removal writes to the index, also to holes of it, before it frees anything.
    pub(super) fn reserve(&self) {
        let reserve = || {
            let file = file_of(self.env.lmdb())?;
            let stat = uninterrupted(|| fstat(file))?;
            let (length, reserved) = (stat.st_size as u64, self.reserved.load(Ordering::Relaxed));
            if length + RESERVE / 2 <= reserved {
                return Ok(());
            }
            let end = length + RESERVE;
            // The part below `reserved` has no holes.
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
                // The file system cannot allocate.
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => self.reserved.store(u64::MAX, Ordering::Relaxed),
                Err(e) => return Err(e),
            }
            Ok(())
        };
        // Without room the commit fails, and says so.
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

    /// To be called before a transaction begins: LMDB stores its reader, and takes mutexes, in the table.
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

    pub(super) fn has_room(&self) -> bool {
        self.table.as_ref().is_none_or(|table| table.can_be_stored_to())
    }
}
