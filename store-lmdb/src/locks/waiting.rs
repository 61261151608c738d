//! Waiting for another process: reported after a while, and ended at the caller's limit.
//!
//! The kernel serves waits for a lock of a file in the order in which they began, but only inside a system call that only
//! a signal ends. So where a lock is not free at once, a new thread makes that call, and the caller waits for the thread
//! as long as the limit allows. Polling instead would get the lock only if a poll happens to find it free: against a
//! process that commits in a loop that may take seconds.

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

use super::byte_locks::{Lock, LockTable};
use super::files::failed;
use super::holders::{holders, named};

/// A wait for another process is reported after this: as a rule its commit takes less.
pub(crate) const PROCESS: Duration = Duration::from_secs(3);
/// A wait for another thread of this process is reported after this.
pub(super) const THREAD: Duration = Duration::from_secs(1);
/// Time between two polls of a lock, where no thread can be started.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// The purpose of a wait, and its limit.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The database, for messages.
    pub(crate) dir: PathBuf,
    /// For messages: "waiting for …".
    pub(crate) what: &'static str,
    /// The wait ends with an error past it.
    pub(crate) limit: Option<Duration>,
}

impl Waiting {
    pub(crate) fn new(dir: &Path, what: &'static str, limit: Option<Duration>) -> Waiting {
        Waiting { dir: dir.to_owned(), what, limit }
    }

    /// Turns an error of the system during the wait into one that names it.
    pub(super) fn failed(&self, e: io::Error) -> Error {
        failed(&self.dir, &format!("waiting for {}", self.what), e)
    }
}

/// The source of the error of a wait that reached its limit.
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

/// The shortest wait limit of all openings of a database in this process.
pub(crate) struct Limit(AtomicU64);

impl Default for Limit {
    fn default() -> Limit {
        Limit(AtomicU64::new(u64::MAX))
    }
}

impl Limit {
    pub(crate) fn shorten(&self, to: Option<Duration>) {
        if let Some(nanos) = to.and_then(|to| u64::try_from(to.as_nanos()).ok()) {
            self.0.fetch_min(nanos, Ordering::Relaxed);
        }
    }

    /// `None`: no limit.
    pub(crate) fn get(&self) -> Option<Duration> {
        Some(self.0.load(Ordering::Relaxed)).filter(|nanos| *nanos != u64::MAX).map(Duration::from_nanos)
    }
}

/// One wait: reports that it takes long, and ends it at the limit.
pub(crate) struct Patience<'w> {
    waiting: &'w Waiting,
    since: Instant,
    /// When it is reported next, and the time to the report after that.
    next: Instant,
    interval: Duration,
}

impl<'w> Patience<'w> {
    /// Begins the wait. It is reported after `silent`, then at growing intervals.
    pub(crate) fn new(waiting: &'w Waiting, silent: Duration) -> Patience<'w> {
        let since = Instant::now();
        Patience { waiting, since, next: since + silent, interval: 2 * silent }
    }

    /// Time until a report or the limit is due.
    pub(crate) fn left(&self) -> Duration {
        let left = self.next.saturating_duration_since(Instant::now());
        self.waiting.limit.map_or(left, |limit| left.min(limit.saturating_sub(self.since.elapsed())))
    }

    /// Reports the wait if that is due. `holder` names the holder of the lock.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] past the limit.
    pub(crate) fn report(&mut self, holder: impl FnOnce() -> String) -> Result<()> {
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

/// Waits for a lock of `file`. After an error the open file has to be closed: the kernel may still grant it the lock.
pub(crate) fn wait(file: &Arc<Unshared<File>>, lock: Lock, waiting: &Waiting) -> Result<()> {
    let of = |e| waiting.failed(e);
    if lock.take(file).map_err(of)? {
        return Ok(());
    }
    let mut patience = Patience::new(waiting, PROCESS);
    let (tell, told) = sync_channel(0);
    let asking = Arc::clone(file);
    let has_thread = spawn_waiter(move || {
        let outcome = lock.wait(&asking);
        // Fails if the caller has stopped waiting.
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
            thread::sleep(patience.left().min(POLL));
            if lock.take(file).map_err(of)? {
                return Ok(());
            }
        }
        patience.report(|| holders(file, lock))?;
    }
}

/// Waits until no other program has locked the whole lock table. A program that opens the index with LMDB alone does that
/// for a moment; LMDB would wait too, without a report and without a limit. A process of ours holds such a lock only while
/// no other can open the database.
pub(crate) fn wait_for_table(table: &LockTable, waiting: &Waiting) -> Result<()> {
    let mut patience = Patience::new(waiting, PROCESS);
    while let Some(pid) = table.locked_by().map_err(|e| waiting.failed(e))? {
        thread::sleep(patience.left().min(POLL));
        patience.report(|| named(pid))?;
    }
    Ok(())
}

/// Starts a thread that waits in the kernel. Returns whether it could be started.
pub(super) fn spawn_waiter(body: impl FnOnce() + Send + 'static) -> bool {
    let named = thread::Builder::new().name("bigarray-lock".to_owned()).stack_size(64 << 10);
    let started = named.spawn(|| {
        // Else the program's signal handlers could run on this thread at any time.
        let _ = SigSet::all().thread_block();
        body();
    });
    started.is_ok()
}
