//! The right to commit next: what a store hands out, and the one of stores that have nothing to lock beyond this process.

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use super::waiting::{Patience, THREAD, Waiting, named};
use crate::error::{Error, ErrorKind, Result};
use crate::signals;
use crate::sync::{Condvar, Mutex};

/// The right to commit next; see [`Store::commit_lock`](super::Store::commit_lock). Belongs to the thread that took it.
pub trait CommitLock {
    /// The concrete guard, for its store to recognise.
    fn as_any(&self) -> &dyn Any;
}

/// The commit lock of one store in this process. Commits of others it does not keep away.
#[derive(Clone, Debug)]
pub struct LocalCommitLock(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    thread: Mutex<Option<Thread>>,
    free: Condvar,
    waiting: Waiting,
}

impl LocalCommitLock {
    /// That of the store at `place`. A wait for it ends past `limit`.
    pub fn new(place: impl Into<String>, limit: Option<Duration>) -> LocalCommitLock {
        let waiting = Waiting { place: place.into(), what: "the commit lock", limit };
        LocalCommitLock(Arc::new(Holder { thread: Mutex::default(), free: Condvar::new(), waiting }))
    }

    /// Waits for it. A wait that lasts is reported by a warning event.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`]: this thread holds it already, or the wait reached its limit.
    pub fn take(&self) -> Result<LocalCommitLockGuard> {
        let Holder { thread, free, waiting } = &*self.0;
        let me = thread::current();
        let mut patience = Patience::new(waiting, THREAD);
        let mut holder = thread.lock();
        while let Some(other) = &*holder {
            if other.id() == me.id() {
                let Waiting { place, what, .. } = waiting;
                let text = format!("{place}: this thread holds {what} for another transaction; commit that one first");
                return Err(Error::new(ErrorKind::InUse, text));
            }
            let left = patience.left();
            if left.is_zero() {
                let other = other.clone();
                drop(holder);
                patience.report(|| named(&other))?;
                holder = thread.lock();
            } else {
                holder = signals::let_through(|| free.wait_timeout(holder, left));
            }
        }
        *holder = Some(me);
        drop(holder);
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
