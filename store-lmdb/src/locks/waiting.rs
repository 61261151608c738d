//! Waiting for another process: reported after a while, and ended at the caller's limit.
//!
//! The kernel serves waits for a lock of a file in the order in which they began, but only inside a system call that only
//! a signal ends. So where a lock is not free at once, a new thread makes that call, and the caller waits for the thread
//! as long as the limit allows. Polling instead would get the lock only if a poll happens to find it free: against a
//! process that commits in a loop that may take seconds.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use std::{io, thread};

use bigarray_core::store::waiting::{PROCESS, Patience, Waiting};
use bigarray_core::{Error, Result};
use bigarray_process::Unshared;
use nix::sys::signal::SigSet;

use super::byte_locks::{Lock, LockTable};
use super::files::failed;
use super::holders::{holders, named};

/// Time between two polls of a lock, where no thread can be started.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// A wait at the database in `dir`: "waiting for `what`", until `limit`.
pub(crate) fn waiting(dir: &Path, what: &'static str, limit: Option<Duration>) -> Waiting {
    Waiting { place: dir.display().to_string(), what, limit }
}

/// Turns an error of the system during the wait into one that names it.
pub(super) fn wait_failed(waiting: &Waiting, e: io::Error) -> Error {
    failed(Path::new(&waiting.place), &format!("waiting for {}", waiting.what), e)
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

/// Waits for a lock of `file`. After an error the open file has to be closed: the kernel may still grant it the lock.
pub(crate) fn wait(file: &Arc<Unshared<File>>, lock: Lock, waiting: &Waiting) -> Result<()> {
    let of = |e| wait_failed(waiting, e);
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
    while let Some(pid) = table.locked_by().map_err(|e| wait_failed(waiting, e))? {
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
