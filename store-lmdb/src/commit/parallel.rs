//! Running tasks of a commit in several threads.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bigarray_core::Result;

/// Most threads: more do not make a disk faster.
pub(super) const MAX_THREADS: usize = 4;

/// Calls `task` for each number below `tasks`, in this thread and others, at most `threads` in all. Each thread takes the
/// next number when it is free, and has a state, which `own` makes. Ends at the first error.
pub(super) fn in_parallel<S>(
    tasks: usize,
    threads: usize,
    own: impl Fn() -> S + Sync,
    task: impl Fn(&mut S, usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut own = own();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= tasks {
                return Ok(());
            }
            if let Err(e) = task(&mut own, at) {
                // The other threads stop, too.
                next.store(tasks, Ordering::Relaxed);
                return Err(e);
            }
        }
    };
    let helpers =
        thread::available_parallelism().map_or(2, NonZero::get).clamp(2, MAX_THREADS).min(threads).min(tasks).max(1)
            - 1;
    thread::scope(|scope| {
        // If a thread cannot be started, the others do its work.
        let helpers: Vec<_> =
            (0..helpers).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let done = work();
        helpers.into_iter().fold(done, |all, h| all.and(h.join().unwrap_or_else(|panic| resume_unwind(panic))))
    })
}
