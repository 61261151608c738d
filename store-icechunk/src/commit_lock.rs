//! The right to commit next, of one thread of this process. No lock reaches other machines; their commits are met by
//! the conflict check and the compare-and-swap of each commit.

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use bigarray_core::store::CommitLock;
use bigarray_core::sync::{Condvar, Mutex};
use bigarray_core::{Error, ErrorKind, Result, signals};

/// The commit lock of a store.
#[derive(Clone, Default)]
pub(crate) struct LocalCommitLock(Arc<Holder>);

#[derive(Default)]
struct Holder {
    thread: Mutex<Option<ThreadId>>,
    free: Condvar,
}

impl LocalCommitLock {
    /// Waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`]: this thread holds it already.
    pub(crate) fn take(&self) -> Result<CommitLockGuard> {
        let me = thread::current().id();
        let mut holder = self.0.thread.lock();
        if *holder == Some(me) {
            let message = "this thread holds the commit lock for another transaction: it would wait for itself";
            return Err(Error::new(ErrorKind::InUse, message));
        }
        holder = signals::let_through(|| self.0.free.wait_while(holder, |holder| holder.is_some()));
        *holder = Some(me);
        Ok(CommitLockGuard(self.clone()))
    }

    /// The commit lock for one commit: that of the caller, which holds on to it, or one that is taken now.
    ///
    /// # Errors
    /// Those of [`take`](LocalCommitLock::take), and [`ErrorKind::Invalid`] for the commit lock of another store.
    pub(crate) fn enter(&self, callers: Option<&dyn CommitLock>) -> Result<Option<CommitLockGuard>> {
        let Some(callers) = callers else { return self.take().map(Some) };
        match callers.as_any().downcast_ref::<CommitLockGuard>() {
            Some(guard) if Arc::ptr_eq(&guard.0.0, &self.0) => Ok(None),
            _ => Err(Error::new(ErrorKind::Invalid, "a commit under the commit lock of another database")),
        }
    }
}

/// The commit lock, held until this is dropped.
pub(crate) struct CommitLockGuard(LocalCommitLock);

impl CommitLock for CommitLockGuard {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CommitLockGuard {
    fn drop(&mut self) {
        *self.0.0.thread.lock() = None;
        self.0.0.free.notify_one();
    }
}
