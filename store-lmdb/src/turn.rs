//! The turn: the right to commit next, among all threads of all processes.

use std::any::Any;
use std::fs::File;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use bigarray_core::store::Turn;
use bigarray_core::{Error, ErrorKind, Result};

use crate::opening::locks::{self, TURN};

/// What turns are taken from: a lock among processes, and one among the threads of this one.
pub(crate) struct Turns {
    /// `data`, opened for this alone: the lock belongs to the open file.
    data: File,
    dir: PathBuf,
    pid: u32,
    holder: Mutex<Option<ThreadId>>,
    free: Condvar,
}

impl Turns {
    /// Turns at the database in `dir`, by locks on its file `data`.
    pub(crate) fn new(data: File, dir: PathBuf) -> Arc<Turns> {
        Arc::new(Turns { data, dir, pid: process::id(), holder: Mutex::new(None), free: Condvar::new() })
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if this thread has it already: it would wait for itself for ever; and in a forked child,
    /// where its parent's turn would pass for its own.
    pub(crate) fn take(self: &Arc<Self>) -> Result<TurnGuard> {
        if self.pid != process::id() {
            let dir = self.dir.display();
            let text = format!("{dir}: process {} opened it, this is {}; open it again here", self.pid, process::id());
            return Err(Error::new(ErrorKind::InUse, text));
        }
        let me = thread::current().id();
        let mut holder = self.holder();
        loop {
            match *holder {
                None => break,
                Some(other) if other == me => {
                    let dir = self.dir.display();
                    return Err(Error::new(
                        ErrorKind::InUse,
                        format!("{dir}: this thread holds the turn for another transaction; commit that one first"),
                    ));
                }
                Some(_) => holder = self.free.wait(holder).unwrap_or_else(PoisonError::into_inner),
            }
        }
        *holder = Some(me);
        drop(holder);
        // From here on dropping the guard gives back whatever was taken.
        let guard = TurnGuard { turns: Arc::clone(self), this_thread_only: PhantomData };
        locks::wait_exclusive(&self.data, TURN)
            .map_err(|e| Error::io(format!("{}: waiting for the turn to commit", self.dir.display()), e))?;
        Ok(guard)
    }

    fn holder(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn, until dropped.
pub(crate) struct TurnGuard {
    turns: Arc<Turns>,
    // `take` knows its holder by its thread, so the guard stays there.
    this_thread_only: PhantomData<*const ()>,
}

impl TurnGuard {
    /// Whether it is the turn of that database.
    pub(crate) fn is_of(&self, turns: &Arc<Turns>) -> bool {
        Arc::ptr_eq(&self.turns, turns)
    }
}

impl Turn for TurnGuard {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        // A forked child shares the open file: unlocking would take the turn from its parent.
        if self.turns.pid != process::id() {
            return;
        }
        if let Err(e) = locks::unlock(&self.turns.data, TURN) {
            tracing::error!("{}: giving back the turn to commit: {e}", self.turns.dir.display());
        }
        *self.turns.holder() = None;
        self.turns.free.notify_one();
    }
}
