//! Step 4 of a commit: its turn, or that of another thread, which stores it together with its own.

use std::sync::Arc;
use std::time::Instant;

use bigarray_core::store::{CommitLock, Committed};
use bigarray_core::{Error, ErrorKind, Result};

use super::phases::Phases;
use super::together::{self, Prepared};
use crate::locks::exclusive::Held;
use crate::queue::Turn;
use crate::shared::Shared;

/// Stores `commit`, under the commit lock. `lock` is the caller's, if it holds one.
pub(super) fn store(
    shared: &Arc<Shared>,
    commit: &Prepared<'_>,
    lock: Option<&dyn CommitLock>,
    phases: &Phases,
) -> Result<Committed> {
    let commit_lock = &shared.locks.commit_lock;
    match lock.map(|lock| lock.as_any().downcast_ref::<Held>()) {
        None => {}
        // It waits in no queue: those in there may be waiting for its lock.
        Some(Some(held)) if held.is_of(commit_lock) => return alone(shared, commit, phases),
        Some(_) => {
            return Err(Error::new(ErrorKind::Invalid, "a commit under the commit lock of another database"));
        }
    }
    commit_lock.check_held_elsewhere()?;
    let (since, waiting) = (Instant::now(), commit_lock.waiting());
    let turn = phases.commit_lock.time(|| shared.queue.enter(commit, &waiting, || commit_lock.holder()))?;
    let mut leader = match turn {
        Turn::Own(leader) => leader,
        Turn::Stored(outcome) => return outcome,
    };
    let held = phases.commit_lock.time(|| commit_lock.take_since(since))?;
    let mut commits = vec![commit];
    leader.take(|other| {
        // SAFETY: the queue holds what threads enter it with, which is done above and nowhere else: a `Prepared` each. `enter`
        // keeps such a thread until it has the outcome, which `leader` gives it when it ends, after the last use of `other`.
        // Both threads have it by shared reference, which `assert_sync` allows.
        let other: &Prepared<'_> = unsafe { &*other.cast::<Prepared<'_>>() };
        let goes = commits.iter().all(|commit| commit.goes_with(other));
        if goes {
            commits.push(other);
        }
        goes
    });
    let mut outcomes = together::store(shared, &commits, phases).into_iter();
    drop(held);
    let own = outcomes.next().expect("an outcome for each commit");
    leader.finish(outcomes);
    own
}

/// Stores one commit, under a commit lock that is held.
fn alone(shared: &Shared, commit: &Prepared<'_>, phases: &Phases) -> Result<Committed> {
    together::store(shared, &[commit], phases).remove(0)
}

/// What one thread lends to another must be fit for that.
const _: () = {
    const fn assert_sync<T: Sync>() {}
    assert_sync::<Prepared<'_>>();
};
