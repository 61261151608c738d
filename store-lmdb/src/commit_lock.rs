//! The commit lock: the right to commit next, among all threads of all processes.

use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::CommitLock;
use bigarray_process::Unshared;

use crate::opening::exclusive::{Exclusive, Held};
use crate::opening::locks::COMMIT_LOCK;
use crate::opening::waiting::Waiting;

/// The file whose lock is the commit lock.
pub(crate) struct CommitLockFile {
    exclusive: Arc<Exclusive>,
    dir: PathBuf,
}

impl CommitLockFile {
    /// The commit lock of the database in `dir`: a lock on its file `data`, opened for this alone.
    pub(crate) fn new(data: Unshared<File>, dir: &Path) -> CommitLockFile {
        CommitLockFile { exclusive: Exclusive::new(data, COMMIT_LOCK), dir: dir.to_owned() }
    }

    /// Waits for the commit lock, as long as `limit` says.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) if this thread has it already, past the limit, and in a
    /// forked child, where its parent's commit lock would pass for its own.
    pub(crate) fn take(&self, limit: Option<Duration>) -> Result<CommitLockGuard> {
        self.exclusive.take(&Waiting::new(&self.dir, "the commit lock", limit)).map(CommitLockGuard)
    }
}

/// The commit lock, until dropped.
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
