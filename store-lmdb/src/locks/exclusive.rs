//! A lock that one thread of all processes holds at a time: a mutex among the threads of this process, and a byte lock
//! of a file among processes.

use std::any::Any;
use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use bigarray_core::store::CommitLock;
use bigarray_core::store::waiting::{PROCESS, Patience, THREAD, Waiting, named};
use bigarray_core::sync::{Condvar, Mutex, MutexGuard};
use bigarray_core::{Error, ErrorKind, Result, signals};
use bigarray_process::{Origin, Unshared};

use super::byte_locks::Lock;
use super::holders::holders;
use super::waiting::{Limit, POLL, spawn_waiter, wait_failed, waiting};

/// The longest time for which a waiting thread holds signals back.
pub(crate) const SIGNALS: Duration = Duration::from_millis(50);

/// The lock. Taking it costs one system call while it is free.
pub(crate) struct Exclusive {
    /// Opened for this lock only.
    file: Unshared<File>,
    lock: Lock,
    /// The database, and the name of the lock: for messages.
    dir: PathBuf,
    what: &'static str,
    limit: Arc<Limit>,
    origin: Origin,
    state: Mutex<ExclusiveState>,
    /// Signalled when there is no holder any more.
    free: Condvar,
    /// Signalled when the kernel granted the file's lock, or refused it.
    answered: Condvar,
}

#[derive(Default)]
struct ExclusiveState {
    /// The thread that holds the lock, or waits for the file's lock.
    holder: Option<Thread>,
    /// Threads that wait until there is no holder: waking without one costs a system call.
    waiting: usize,
    /// The file's lock is this process's.
    is_locked: bool,
    /// A thread waits for the file's lock in the kernel. That cannot be cancelled, so it may outlive the holder that
    /// started it, and then serves the next holder.
    is_waited_for: bool,
    failure: Option<io::Error>,
}

/// The lock, held until this is dropped.
pub(crate) struct Held {
    of: Arc<Exclusive>,
    // `take` knows the holder by its thread, so this stays on it.
    this_thread_only: PhantomData<*const ()>,
}

impl Exclusive {
    /// A lock by the exclusive lock of the byte `at` of `file`, which belongs to the database in `dir`. Messages call it
    /// `what`.
    pub(crate) fn new(
        file: Unshared<File>,
        at: i64,
        dir: &Path,
        what: &'static str,
        limit: &Arc<Limit>,
    ) -> Arc<Exclusive> {
        let (free, answered) = (Condvar::new(), Condvar::new());
        let (lock, dir, limit, origin) = (Lock::Exclusive(at), dir.to_owned(), Arc::clone(limit), Origin::here());
        Arc::new(Exclusive { file, lock, dir, what, limit, origin, state: Mutex::default(), free, answered })
    }

    /// Waits for it, up to the limit of waiting.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if this thread holds it already, which would be a deadlock; past the limit; and in a forked
    /// child, which holds no lock of its parent.
    pub(crate) fn take(self: &Arc<Self>) -> Result<Held> {
        self.take_since(Instant::now())
    }

    /// As [`take`](Exclusive::take), at the end of a wait that began at `since`.
    pub(crate) fn take_since(self: &Arc<Self>, since: Instant) -> Result<Held> {
        self.take_within(self.limit.get(), since)
    }

    /// As [`take`](Exclusive::take), without a limit.
    pub(crate) fn take_without_limit(self: &Arc<Self>) -> Result<Held> {
        self.take_within(None, Instant::now())
    }

    /// The wait for it, for messages and with its limit.
    pub(crate) fn waiting(&self) -> Waiting {
        waiting(&self.dir, self.what, self.limit.get())
    }

    /// What holds it, for messages.
    pub(crate) fn holder(&self) -> String {
        match &*self.state.lock() {
            ExclusiveState { holder: Some(thread), is_locked: true, .. } => named(thread),
            _ => holders(&self.file, self.lock),
        }
    }

    /// # Errors
    /// [`ErrorKind::InUse`] if this thread holds it already: a wait for it would be a deadlock.
    pub(crate) fn check_held_elsewhere(&self) -> Result<()> {
        self.origin.check(self.dir.display())?;
        let _held = signals::hold();
        match &self.state.lock().holder {
            Some(holder) if holder.id() == thread::current().id() => Err(self.is_held_here()),
            _ => Ok(()),
        }
    }

    fn is_held_here(&self) -> Error {
        let (place, what) = (self.dir.display(), self.what);
        let text = format!("{place}: this thread holds {what} for another transaction; commit that one first");
        Error::new(ErrorKind::InUse, text)
    }

    fn take_within(self: &Arc<Self>, limit: Option<Duration>, since: Instant) -> Result<Held> {
        self.origin.check(self.dir.display())?;
        // A resolver may take this lock too, and a signal handler may fault: so no handler may interrupt a thread that has
        // `state` locked.
        let _held = signals::hold_between_waits();
        self.take_here(&waiting(&self.dir, self.what, limit), since)
    }

    fn take_here(self: &Arc<Self>, waiting: &Waiting, since: Instant) -> Result<Held> {
        let mut state = self.state.lock();
        if state.holder.is_some() {
            state = self.wait_for_thread(state, waiting, since)?;
        }
        state.holder = Some(thread::current());
        // From here on dropping `held` releases the locks that were taken.
        let held = Held { of: Arc::clone(self), this_thread_only: PhantomData };
        // `state` is unlocked when this returns, so that `held` can be dropped after an error.
        self.lock_file(state, waiting, since)?;
        Ok(held)
    }

    /// Waits until no thread of this process holds it.
    fn wait_for_thread<'s>(
        &'s self,
        mut state: MutexGuard<'s, ExclusiveState>,
        waiting: &Waiting,
        since: Instant,
    ) -> Result<MutexGuard<'s, ExclusiveState>> {
        let me = thread::current().id();
        let mut patience = Patience::since(waiting, THREAD, since);
        while let Some(holder) = &state.holder {
            if holder.id() == me {
                return Err(self.is_held_here());
            }
            if patience.left().is_zero() {
                let holder = holder.clone();
                drop(state);
                patience.report(|| named(&holder))?;
                state = self.state.lock();
            } else {
                state.waiting += 1;
                state = self.wait(&self.free, state, patience.left());
                state.waiting -= 1;
            }
        }
        Ok(state)
    }

    /// Takes the lock of the file. This thread is the holder.
    fn lock_file<'s>(
        self: &'s Arc<Self>,
        mut state: MutexGuard<'s, ExclusiveState>,
        waiting: &Waiting,
        since: Instant,
    ) -> Result<()> {
        let try_lock = || self.lock.take(&self.file).map_err(|e| wait_failed(waiting, e));
        if !state.is_waited_for {
            state.is_locked = try_lock()?;
        }
        let mut patience = Patience::since(waiting, PROCESS, since);
        let mut has_thread = true;
        while !state.is_locked {
            if let Some(e) = state.failure.take() {
                return Err(wait_failed(waiting, e));
            }
            if !state.is_waited_for && has_thread {
                let asking = Arc::clone(self);
                has_thread = spawn_waiter(move || {
                    asking.wait_in_kernel();
                    // If this is the last reference, the file stays open: closing any descriptor of `index-lock` drops
                    // LMDB's locks on it, and LMDB may have opened it again meanwhile.
                    if let Some(last) = Arc::into_inner(asking) {
                        mem::forget(last);
                    }
                });
                state.is_waited_for = has_thread;
            }
            if patience.left().is_zero() {
                drop(state);
                patience.report(|| holders(&self.file, self.lock))?;
                state = self.state.lock();
                continue;
            }
            let left = if has_thread { patience.left() } else { patience.left().min(POLL) };
            state = self.wait(&self.answered, state, left);
            if !has_thread && !state.is_locked {
                state.is_locked = try_lock()?;
            }
        }
        Ok(())
    }

    /// Waits for the file's lock in the kernel, on a thread of its own.
    fn wait_in_kernel(&self) {
        let outcome = self.lock.wait(&self.file);
        let mut state = self.state.lock();
        state.is_waited_for = false;
        match (outcome, &state.holder) {
            (Ok(()), Some(_)) => state.is_locked = true,
            // The holder that started this thread has gone.
            (Ok(()), None) => self.unlock(),
            (Err(e), Some(_)) => state.failure = Some(e),
            // As above: the next to ask is told what it meets itself.
            (Err(_), None) => {}
        }
        drop(state);
        self.answered.notify_all();
    }

    fn unlock(&self) {
        if let Err(e) = self.lock.release(&self.file) {
            tracing::error!("giving back the lock {:?}: {e}", self.lock);
        }
    }

    /// Waits for `condvar`, at most `at_most`, and at most until signals are due. Signals arrive while `state` is unlocked.
    fn wait<'s>(
        &'s self,
        condvar: &Condvar,
        state: MutexGuard<'s, ExclusiveState>,
        at_most: Duration,
    ) -> MutexGuard<'s, ExclusiveState> {
        drop(condvar.wait_timeout(state, at_most.min(SIGNALS)));
        signals::let_through(|| ());
        self.state.lock()
    }
}

impl Held {
    /// Whether it is a hold of `exclusive`.
    pub(crate) fn is_of(&self, exclusive: &Arc<Exclusive>) -> bool {
        Arc::ptr_eq(&self.of, exclusive)
    }
}

/// The commit lock is such a lock.
impl CommitLock for Held {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child does not hold the lock, and a thread of its parent may have held the mutex at the fork.
        if !self.of.origin.is_here() {
            return;
        }
        let _held = signals::hold();
        let mut state = self.of.state.lock();
        if mem::take(&mut state.is_locked) {
            self.of.unlock();
        }
        (state.holder, state.failure) = (None, None);
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.of.free.notify_one();
        }
    }
}
