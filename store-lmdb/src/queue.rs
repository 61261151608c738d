//! Commits that wait for their turn: the thread whose turn it is stores those of other threads with its own.
//!
//! What a commit consists of is known where commits are stored. Here it is an address.

use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread::{self, ThreadId};

use bigarray_core::store::Committed;
use bigarray_core::store::waiting::{Patience, THREAD, Waiting};
use bigarray_core::sync::{Condvar, Mutex};
use bigarray_core::{Error, ErrorKind, Result, signals};

use crate::locks::exclusive::SIGNALS;

/// The commits of this process that wait.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Signalled when a turn ends, which is when outcomes are there and the next turn may begin.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread whose turn it is.
    leader: Option<ThreadId>,
    /// Commits that no turn has taken, in order of arrival.
    waiting: Vec<Arc<Entry>>,
    /// Threads that wait for the end of a turn: waking without one costs a system call.
    threads: usize,
}

/// A commit whose thread waits.
struct Entry {
    /// Where it is. Its thread keeps it in place until it has the outcome, or has left the queue.
    commit: AtomicPtr<()>,
    /// What became of it, set by the leader that took it.
    outcome: Mutex<Option<Result<Committed>>>,
}

/// What the wait for a turn ended in.
pub(crate) enum Turn<'q> {
    /// This thread stores its commit, and others with it.
    Own(Leader<'q>),
    /// Another thread stored it, or could not.
    Stored(Result<Committed>),
}

/// The turn of this thread, until this is dropped.
pub(crate) struct Leader<'q> {
    queue: &'q Queue,
    taken: Vec<Arc<Entry>>,
}

impl Queue {
    /// Waits until it is the turn of this thread, or until another thread has stored `commit` in its own turn. `waiting` says
    /// how long, and for what; `holder` what holds that. `commit` must stay in place until this returns.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] past the limit, or if it is the turn of this thread, which was interrupted: no other thread has
    /// `commit` then.
    pub(crate) fn enter<T>(&self, commit: &T, waiting: &Waiting, holder: impl Fn() -> String) -> Result<Turn<'_>> {
        let _held = signals::hold_between_waits();
        let mut state = self.state.lock();
        if state.leader == Some(thread::current().id()) {
            let text = format!("{}: a signal handler commits, and interrupted a commit of its thread", waiting.place);
            return Err(Error::new(ErrorKind::InUse, text));
        }
        let address = AtomicPtr::new(std::ptr::from_ref(commit).cast_mut().cast());
        let entry = Arc::new(Entry { commit: address, outcome: Mutex::default() });
        state.waiting.push(Arc::clone(&entry));
        let mut patience = Patience::new(waiting, THREAD);
        loop {
            if let Some(outcome) = entry.outcome.lock().take() {
                return Ok(Turn::Stored(outcome));
            }
            match state.waiting.iter().position(|other| Arc::ptr_eq(other, &entry)) {
                Some(0) if state.leader.is_none() => {
                    state.waiting.remove(0);
                    state.leader = Some(thread::current().id());
                    return Ok(Turn::Own(Leader { queue: self, taken: Vec::new() }));
                }
                Some(place) if patience.left().is_zero() => {
                    if let Err(limit) = patience.report(&holder) {
                        state.waiting.remove(place);
                        return Err(limit);
                    }
                }
                // Once it is taken the commit is under way, and has no limit.
                place => {
                    let at_most = place.map_or(SIGNALS, |_| patience.left().min(SIGNALS));
                    state.threads += 1;
                    state = self.ended.wait_timeout(state, at_most);
                    state.threads -= 1;
                    drop(state);
                    signals::let_through(|| ());
                    state = self.state.lock();
                }
            }
        }
    }
}

impl Leader<'_> {
    /// Takes the commits that wait and that `joins` lets in, which is given their addresses. Their threads keep them in place
    /// until [`finish`](Leader::finish), or until the turn ends.
    pub(crate) fn take(&mut self, mut joins: impl FnMut(*const ()) -> bool) {
        let mut state = self.queue.state.lock();
        let taken = state.waiting.extract_if(.., |entry| joins(entry.commit.load(Ordering::Relaxed)));
        self.taken.extend(taken);
    }

    /// Ends the turn, with the outcomes of the commits that were taken, in that order.
    pub(crate) fn finish(mut self, outcomes: impl ExactSizeIterator<Item = Result<Committed>>) {
        debug_assert_eq!(outcomes.len(), self.taken.len(), "an outcome for each commit");
        for (entry, outcome) in self.taken.drain(..).zip(outcomes) {
            *entry.outcome.lock() = Some(outcome);
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let _held = signals::hold();
        // A panic on the way.
        for entry in self.taken.drain(..) {
            let why = "the thread that stored this commit together with its own panicked: whether the commit took place is \
                       told by what a new transaction sees";
            *entry.outcome.lock() = Some(Err(Error::new(ErrorKind::Io, why)));
        }
        let mut state = self.queue.state.lock();
        state.leader = None;
        let is_awaited = state.threads > 0;
        drop(state);
        if is_awaited {
            self.queue.ended.notify_all();
        }
    }
}
