//! Waiting for another process: told after a while, and ended where the caller set a limit.
//!
//! The kernel wakes who waits for a lock of a file in the order of asking, but only inside a call that nothing but a
//! signal ends. So where a lock is not free at once a thread of its own makes that call, and who asked waits for the
//! thread, as long as it likes. Asking again and again instead would leave the lock to whoever happens to ask in the
//! moment it is free: against a process that commits in a loop that may take seconds.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::Unshared;
use nix::sys::signal::SigSet;

use super::files::failed;
use super::holders::{holders, named};
use super::locks::{Lock, LockTable};

/// A commit of another process takes so long as a rule, at most.
pub(super) const PROCESS: Duration = Duration::from_secs(3);
/// A commit of another thread.
pub(super) const THREAD: Duration = Duration::from_secs(1);
/// Between two questions for a lock where no thread can be had.
pub(super) const ASKED: Duration = Duration::from_millis(50);

/// What is waited for, and how long.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The database, for messages.
    pub(crate) dir: PathBuf,
    /// For messages: "waiting for …".
    pub(crate) what: &'static str,
    /// Past it the wait ends with an error.
    pub(crate) limit: Option<Duration>,
}

impl Waiting {
    pub(crate) fn new(dir: &Path, what: &'static str, limit: Option<Duration>) -> Waiting {
        Waiting { dir: dir.to_owned(), what, limit }
    }

    /// An error of the system while it was waited.
    pub(super) fn failed(&self, e: io::Error) -> Error {
        failed(&self.dir, &format!("waiting for {}", self.what), e)
    }
}

/// What lies under an error of a wait that reached its limit.
#[derive(Debug)]
struct WaitLimit;

impl fmt::Display for WaitLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the wait reached its limit")
    }
}

impl std::error::Error for WaitLimit {}

/// Whether `error` is of a wait that lasted longer than [`Options::wait_timeout`](crate::Options::wait_timeout) allows.
pub fn is_wait_limit(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<WaitLimit>())
}

/// The shortest limit that an opening of a database in this process asked for.
pub(crate) struct Limit(AtomicU64);

impl Default for Limit {
    fn default() -> Limit {
        Limit(AtomicU64::new(u64::MAX))
    }
}

impl Limit {
    pub(super) fn shorten(&self, to: Option<Duration>) {
        if let Some(nanos) = to.and_then(|to| u64::try_from(to.as_nanos()).ok()) {
            self.0.fetch_min(nanos, Ordering::Relaxed);
        }
    }

    /// `None`: waits last as long as it takes.
    pub(crate) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|nanos| *nanos != u64::MAX).map(Duration::from_nanos)
    }
}

/// One wait.
pub(super) struct Patience<'w> {
    waiting: &'w Waiting,
    since: Instant,
    /// When it is told again, and how long after that.
    next: Instant,
    interval: Duration,
}

impl<'w> Patience<'w> {
    /// It begins now, and is told after `silent`, then at growing intervals.
    pub(super) fn new(waiting: &'w Waiting, silent: Duration) -> Patience<'w> {
        let since = Instant::now();
        Patience { waiting, since, next: since + silent, interval: 2 * silent }
    }

    /// How long to wait until something is due.
    pub(super) fn left(&self) -> Duration {
        let left = self.next.saturating_duration_since(Instant::now());
        self.waiting.limit.map_or(left, |limit| left.min(limit.saturating_sub(self.since.elapsed())))
    }

    /// Tells what is due. `holder` is who is waited for.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] past the limit.
    pub(super) fn tell(&mut self, holder: impl FnOnce() -> String) -> Result<()> {
        let Waiting { dir, what, limit } = self.waiting;
        let (dir, waited) = (dir.display(), self.since.elapsed());
        if let Some(limit) = limit.filter(|limit| *limit <= waited) {
            let text = format!(
                "{dir}: waited for {what} for {waited:.1?}, longer than wait_timeout ({limit:?}) allows; it is held by {}",
                holder()
            );
            return Err(Error::new(ErrorKind::InUse, text).with_source(WaitLimit));
        }
        if self.next <= Instant::now() {
            tracing::warn!("{dir}: waiting for {what} for {:.0?} by now; it is held by {}", waited, holder());
            self.next = Instant::now() + self.interval;
            self.interval *= 2;
        }
        Ok(())
    }
}

/// Waits for a lock of `file`. If it fails, the open file is to be given up: the lock may still come to it.
pub(crate) fn wait(file: &Arc<Unshared<File>>, lock: Lock, waiting: &Waiting) -> Result<()> {
    let of = |e| waiting.failed(e);
    if lock.take(file).map_err(of)? {
        return Ok(());
    }
    let mut patience = Patience::new(waiting, PROCESS);
    let (tell, told) = sync_channel(0);
    let asking = Arc::clone(file);
    let has_thread = ask(move || {
        let outcome = lock.wait(&asking);
        // Fails if who asked has gone.
        if tell.send(outcome).is_err() {
            let _ = lock.release(&asking);
        }
    });
    loop {
        if has_thread {
            match told.recv_timeout(patience.left()) {
                Ok(outcome) => return outcome.map_err(of),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(of(io::ErrorKind::BrokenPipe.into())),
            }
        } else {
            thread::sleep(patience.left().min(ASKED));
            if lock.take(file).map_err(of)? {
                return Ok(());
            }
        }
        patience.tell(|| holders(file, lock))?;
    }
}

/// Waits until no other program has locked the whole lock table, as one does for a moment that opens it with LMDB alone:
/// LMDB waits for that too, but says nothing and knows no limit. None of ours has it so while another may open the
/// database.
pub(super) fn wait_for_table(table: &LockTable, waiting: &Waiting) -> Result<()> {
    let mut patience = Patience::new(waiting, PROCESS);
    while let Some(pid) = table.locked_by().map_err(|e| waiting.failed(e))? {
        thread::sleep(patience.left().min(ASKED));
        patience.tell(|| named(pid))?;
    }
    Ok(())
}

/// Starts the thread that waits in the kernel; whether it could be had.
pub(super) fn ask(body: impl FnOnce() + Send + 'static) -> bool {
    let named = thread::Builder::new().name("bigarray-lock".to_owned()).stack_size(64 << 10);
    let started = named.spawn(|| {
        // A handler of the program would run here at any time.
        let _ = SigSet::all().thread_block();
        body();
    });
    started.is_ok()
}
