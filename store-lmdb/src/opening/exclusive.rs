//! The right of one thread of all processes to do something: a lock among the threads of this process, and one of a file
//! among processes.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result, signals};
use bigarray_process::{Origin, Unshared};

use super::holders::holders;
use super::locks::Lock;
use super::waiting::{ASKED, PROCESS, Patience, THREAD, Waiting, ask};

/// The longest that a thread which waits keeps signals back.
const SIGNALS: Duration = Duration::from_millis(50);

/// Where the right is taken. Costs a system call while nobody else wants it.
pub(crate) struct Exclusive {
    /// Opened for this lock alone.
    file: Unshared<File>,
    lock: Lock,
    origin: Origin,
    state: Mutex<State>,
    /// There is no holder any more.
    free: Condvar,
    /// The file's lock came.
    came: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread that has the right, or waits for the file's lock.
    holder: Option<Thread>,
    /// Threads that wait until there is none: to wake nothing costs a system call.
    waiting: usize,
    /// The file's lock is this process's.
    is_locked: bool,
    /// A thread waits for the file's lock in the kernel, which cannot be called off: for the holder, or for one that
    /// went, and then for the next.
    is_asked: bool,
    failure: Option<io::Error>,
}

/// The right, until dropped.
pub(crate) struct Held {
    of: Arc<Exclusive>,
    // `take` knows its holder by its thread, so the right stays there.
    this_thread_only: PhantomData<*const ()>,
}

impl Exclusive {
    /// By the exclusive lock of the byte `at` of `file`.
    pub(crate) fn new(file: Unshared<File>, at: i64) -> Arc<Exclusive> {
        let (free, came) = (Condvar::new(), Condvar::new());
        let (lock, origin) = (Lock::Exclusive(at), Origin::here());
        Arc::new(Exclusive { file, lock, origin, state: Mutex::default(), free, came })
    }

    /// Waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if this thread has it already: it would wait for itself for ever; past the limit of
    /// `waiting`; and in a forked child.
    pub(crate) fn take(self: &Arc<Self>, waiting: &Waiting) -> Result<Held> {
        self.origin.check(waiting.dir.display())?;
        // A thread that resolves faults may ask as well: a signal handler interrupts no thread that has the state locked.
        let _held = signals::hold_between_waits();
        self.take_here(waiting)
    }

    fn take_here(self: &Arc<Self>, waiting: &Waiting) -> Result<Held> {
        let mut state = self.state();
        if state.holder.is_some() {
            state = self.wait_for_thread(state, waiting)?;
        }
        state.holder = Some(thread::current());
        // From here on dropping it gives back whatever was taken.
        let held = Held { of: Arc::clone(self), this_thread_only: PhantomData };
        // The state is not locked any more where this returns, so that `held` can be dropped.
        self.lock_file(state, waiting)?;
        Ok(held)
    }

    /// Waits until no thread of this process has it.
    fn wait_for_thread<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        waiting: &Waiting,
    ) -> Result<MutexGuard<'s, State>> {
        let me = thread::current().id();
        let mut patience = Patience::new(waiting, THREAD);
        while let Some(holder) = &state.holder {
            if holder.id() == me {
                let (dir, what) = (waiting.dir.display(), waiting.what);
                let text = format!("{dir}: this thread holds {what} for another transaction; commit that one first");
                return Err(Error::new(ErrorKind::InUse, text));
            }
            if patience.left().is_zero() {
                let holder = holder.clone();
                drop(state);
                patience.tell(|| named(&holder))?;
                state = self.state();
            } else {
                state.waiting += 1;
                state = self.wait(&self.free, state, patience.left());
                state.waiting -= 1;
            }
        }
        Ok(state)
    }

    /// Takes the lock of the file for the holder, which this thread is.
    fn lock_file<'s>(self: &'s Arc<Self>, mut state: MutexGuard<'s, State>, waiting: &Waiting) -> Result<()> {
        let try_lock = || self.lock.take(&self.file).map_err(|e| waiting.failed(e));
        if !state.is_asked {
            state.is_locked = try_lock()?;
        }
        let mut patience = Patience::new(waiting, PROCESS);
        let mut has_thread = true;
        while !state.is_locked {
            if let Some(e) = state.failure.take() {
                return Err(waiting.failed(e));
            }
            if !state.is_asked && has_thread {
                let asking = Arc::clone(self);
                has_thread = ask(move || {
                    asking.ask();
                    // The last to have it, long after who asked: its file stays open. LMDB loses its locks of `index-lock`
                    // when any descriptor of that is closed, and may have it open again.
                    if let Some(last) = Arc::into_inner(asking) {
                        mem::forget(last);
                    }
                });
                state.is_asked = has_thread;
            }
            if patience.left().is_zero() {
                drop(state);
                patience.tell(|| holders(&self.file, self.lock))?;
                state = self.state();
                continue;
            }
            let left = if has_thread { patience.left() } else { patience.left().min(ASKED) };
            state = self.wait(&self.came, state, left);
            if !has_thread && !state.is_locked {
                state.is_locked = try_lock()?;
            }
        }
        Ok(())
    }

    /// What the thread does that waits in the kernel.
    fn ask(&self) {
        let outcome = self.lock.wait(&self.file);
        let mut state = self.state();
        state.is_asked = false;
        match (outcome, &state.holder) {
            (Ok(()), Some(_)) => state.is_locked = true,
            // Who asked went.
            (Ok(()), None) => self.unlock(),
            (Err(e), _) => state.failure = Some(e),
        }
        drop(state);
        self.came.notify_all();
    }

    fn unlock(&self) {
        if let Err(e) = self.lock.release(&self.file) {
            tracing::error!("giving back the lock {:?}: {e}", self.lock);
        }
    }

    /// Waits to be woken, `at_most` so long, or until it is time to let signals through: they arrive while the state is not
    /// locked.
    fn wait<'s>(&'s self, condvar: &Condvar, state: MutexGuard<'s, State>, at_most: Duration) -> MutexGuard<'s, State> {
        drop(condvar.wait_timeout(state, at_most.min(SIGNALS)).unwrap_or_else(PoisonError::into_inner));
        signals::let_through(|| ());
        self.state()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether it was taken there.
    pub(crate) fn is_of(&self, exclusive: &Arc<Exclusive>) -> bool {
        Arc::ptr_eq(&self.of, exclusive)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A forked child has no such lock, and another thread of its parent may have held the mutex.
        if !self.of.origin.is_here() {
            return;
        }
        let _held = signals::hold();
        let mut state = self.of.state();
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

fn named(thread: &Thread) -> String {
    let id = thread.id();
    match thread.name() {
        Some(name) => format!("the thread {name:?} ({id:?}) of this process, which must not wait for this one"),
        None => format!("the thread {id:?} of this process, which must not wait for this one"),
    }
}
