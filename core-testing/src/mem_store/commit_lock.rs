//! The right to commit next, within one process.

use std::any::Any;
use std::sync::Arc;
use std::thread::{self, ThreadId};

use bigarray_core::store::CommitLock;
use bigarray_core::sync::{Condvar, Mutex};
use bigarray_core::{Error, ErrorKind, Result};

#[derive(Clone, Default)]
pub(super) struct Baton(Arc<Holder>);

#[derive(Default)]
struct Holder {
    thread: Mutex<Option<ThreadId>>,
    free: Condvar,
}

impl Baton {
    /// Waits for the commit lock.
    pub(super) fn take(&self) -> Result<MemCommitLock> {
        let me = thread::current().id();
        let mut thread = self.0.thread.lock();
        if *thread == Some(me) {
            let message = "this thread holds the commit lock for another transaction: it would wait for itself";
            return Err(Error::new(ErrorKind::InUse, message));
        }
        while thread.is_some() {
            thread = self.0.free.wait(thread);
        }
        *thread = Some(me);
        Ok(MemCommitLock(self.clone()))
    }

    /// Commits under the caller's `lock`, or waits for one, which ends with the guard.
    pub(super) fn enter(&self, lock: Option<&dyn CommitLock>) -> Result<Option<MemCommitLock>> {
        let Some(lock) = lock else { return self.take().map(Some) };
        let ours = lock.as_any().downcast_ref::<MemCommitLock>().is_some_and(|lock| Arc::ptr_eq(&lock.0.0, &self.0));
        assert!(ours, "a commit under the commit lock of another store");
        Ok(None)
    }
}

pub(super) struct MemCommitLock(Baton);

impl CommitLock for MemCommitLock {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for MemCommitLock {
    fn drop(&mut self) {
        *self.0.0.thread.lock() = None;
        self.0.0.free.notify_one();
    }
}
