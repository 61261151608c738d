//! The commit lock: the right to commit next, among all threads of all processes.

use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bigarray_core::Result;
use bigarray_core::store::CommitLock;
use bigarray_process::Unshared;

use super::byte_locks::COMMIT_LOCK;
use super::exclusive::{Exclusive, Held};
use super::waiting::{Limit, Waiting};

/// The file whose lock is the commit lock.
pub(crate) struct CommitLockFile {
    exclusive: Arc<Exclusive>,
    limit: Arc<Limit>,
    dir: PathBuf,
}

impl CommitLockFile {
    /// The commit lock of the database in `dir`: a lock on its file `data`, opened for this lock only.
    pub(super) fn new(data: Unshared<File>, dir: &Path, limit: &Arc<Limit>) -> CommitLockFile {
        let (exclusive, limit) = (Exclusive::new(data, COMMIT_LOCK), Arc::clone(limit));
        CommitLockFile { exclusive, limit, dir: dir.to_owned() }
    }

    /// Waits for the commit lock, up to the limit of waiting.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) if this thread holds it already, past the limit, and in a
    /// forked child, which does not hold its parent's commit lock.
    pub(crate) fn take(&self) -> Result<CommitLockGuard> {
        self.exclusive.take(&Waiting::new(&self.dir, "the commit lock", self.limit.get())).map(CommitLockGuard)
    }
}

/// The commit lock, held until this is dropped.
pub(crate) struct CommitLockGuard(Held);

impl CommitLockGuard {
    /// Whether it is the commit lock of that database.
    pub(crate) fn is_of(&self, commit_lock: &CommitLockFile) -> bool {
        self.0.is_of(&commit_lock.exclusive)
    }
}

impl CommitLock for CommitLockGuard {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
