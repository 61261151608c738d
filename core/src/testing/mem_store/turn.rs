//! The right to commit next, within one process.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::{Error, ErrorKind, Result};
use crate::store::Turn;

#[derive(Clone, Default)]
pub(super) struct Baton(Arc<Holder>);

#[derive(Default)]
struct Holder {
    thread: Mutex<Option<ThreadId>>,
    free: Condvar,
}

impl Holder {
    fn lock(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Baton {
    /// Waits for the turn.
    pub(super) fn take(&self) -> Result<MemTurn> {
        let me = thread::current().id();
        let mut thread = self.0.lock();
        if *thread == Some(me) {
            let message = "this thread holds the turn for another transaction: it would wait for itself";
            return Err(Error::new(ErrorKind::InUse, message));
        }
        while thread.is_some() {
            thread = self.0.free.wait(thread).unwrap_or_else(PoisonError::into_inner);
        }
        *thread = Some(me);
        Ok(MemTurn(self.clone()))
    }

    /// Commits under the caller's `turn`, or waits for one, which ends with the guard.
    pub(super) fn enter(&self, turn: Option<&dyn Turn>) -> Result<Option<MemTurn>> {
        let Some(turn) = turn else { return self.take().map(Some) };
        let ours = turn.as_any().downcast_ref::<MemTurn>().is_some_and(|turn| Arc::ptr_eq(&turn.0.0, &self.0));
        assert!(ours, "a commit under the turn of another store");
        Ok(None)
    }
}

pub(super) struct MemTurn(Baton);

impl Turn for MemTurn {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for MemTurn {
    fn drop(&mut self) {
        *self.0.0.lock() = None;
        self.0.0.free.notify_one();
    }
}
