//! The right to commit next: what a store hands out, and the one of stores that have nothing to lock beyond this process.

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use crate::error::{Error, ErrorKind, Result};
use crate::signals;
use crate::sync::{Condvar, Mutex};

/// The right to commit next; see [`Store::commit_lock`](super::Store::commit_lock). Belongs to the thread that took it.
pub trait CommitLock {
    /// The concrete guard, for its store to recognise.
    fn as_any(&self) -> &dyn Any;
}

/// The commit lock of one store in this process. Commits of others it does not keep away.
#[derive(Clone, Debug, Default)]
pub struct LocalCommitLock(Arc<Holder>);

#[derive(Debug, Default)]
struct Holder {
    thread: Mutex<Option<ThreadId>>,
    free: Condvar,
}

impl LocalCommitLock {
    /// Waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`]: this thread holds it already.
    pub fn take(&self) -> Result<LocalCommitLockGuard> {
        let me = thread::current().id();
        let mut holder = self.0.thread.lock();
        if *holder == Some(me) {
            let message = "this thread holds the commit lock for another transaction: it would wait for itself";
            return Err(Error::new(ErrorKind::InUse, message));
        }
        holder = signals::let_through(|| self.0.free.wait_while(holder, |holder| holder.is_some()));
        *holder = Some(me);
        Ok(LocalCommitLockGuard(self.clone()))
    }

    /// The commit lock for one commit: that of the caller, which holds on to it, or one that is taken now.
    ///
    /// # Errors
    /// Those of [`take`](LocalCommitLock::take), and [`ErrorKind::Invalid`] for the commit lock of another store.
    pub fn enter(&self, callers: Option<&dyn CommitLock>) -> Result<Option<LocalCommitLockGuard>> {
        let Some(callers) = callers else { return self.take().map(Some) };
        match callers.as_any().downcast_ref::<LocalCommitLockGuard>() {
            Some(guard) if Arc::ptr_eq(&guard.0.0, &self.0) => Ok(None),
            _ => Err(Error::new(ErrorKind::Invalid, "a commit under the commit lock of another database")),
        }
    }
}

/// The commit lock of a store in this process, held until this is dropped.
#[derive(Debug)]
pub struct LocalCommitLockGuard(LocalCommitLock);

impl CommitLock for LocalCommitLockGuard {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for LocalCommitLockGuard {
    fn drop(&mut self) {
        *self.0.0.thread.lock() = None;
        self.0.0.free.notify_one();
    }
}
