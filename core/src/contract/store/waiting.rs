//! Waiting for a lock: reported after a while, and ended at the caller's limit.

use std::fmt;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tracing::dispatcher;

use crate::error::{Error, ErrorKind, Result};
use crate::signals;

/// A wait for another process is reported after this: as a rule its commit takes less.
pub const PROCESS: Duration = Duration::from_secs(3);
/// A wait for another thread of this process is reported after this.
pub const THREAD: Duration = Duration::from_secs(1);

/// The purpose of a wait, and its limit.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The database, for messages.
    pub place: String,
    /// For messages: "waiting for …".
    pub what: &'static str,
    /// The wait ends with an error past it.
    pub limit: Option<Duration>,
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

/// Whether `error` is of a wait that lasted longer than its limit allows.
pub fn is_wait_limit(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<WaitLimit>())
}

/// One wait: reports that it takes long, and ends it at the limit.
#[derive(Debug)]
pub struct Patience<'w> {
    waiting: &'w Waiting,
    since: Instant,
    /// When it is reported next, and the time to the report after that.
    next: Instant,
    interval: Duration,
}

impl<'w> Patience<'w> {
    /// Begins the wait. It is reported after `silent`, then at growing intervals.
    pub fn new(waiting: &'w Waiting, silent: Duration) -> Patience<'w> {
        Patience::since(waiting, silent, Instant::now())
    }

    /// The same for a wait that is a part of one that began at `since`, from when on the limit counts.
    pub fn since(waiting: &'w Waiting, silent: Duration, since: Instant) -> Patience<'w> {
        Patience { waiting, since, next: Instant::now() + silent, interval: 2 * silent }
    }

    /// Time until a report or the limit is due.
    pub fn left(&self) -> Duration {
        let left = self.next.saturating_duration_since(Instant::now());
        self.waiting.limit.map_or(left, |limit| left.min(limit.saturating_sub(self.since.elapsed())))
    }

    /// Reports the wait, by a warning event, if that is due. `holder` names the holder of the lock.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] past the limit.
    pub fn report(&mut self, holder: impl FnOnce() -> String) -> Result<()> {
        let Waiting { place, what, limit } = self.waiting;
        let waited = self.since.elapsed();
        if let Some(limit) = limit.filter(|limit| *limit <= waited) {
            let text = format!(
                "{place}: waited for {what} for {waited:.1?}, longer than wait_timeout ({limit:?}) allows; it is held by {}",
                holder()
            );
            return Err(Error::new(ErrorKind::InUse, text).with_source(WaitLimit));
        }
        if self.next <= Instant::now() {
            let event = format!("{place}: waiting for {what} for {waited:.0?} by now; it is held by {}", holder());
            // The event is emitted on a new thread. A subscriber may touch a view, and this thread may be the one that loads its
            // page, and waits with the claim of a transaction locked: a load spills to make room.
            let subscriber = dispatcher::get_default(Clone::clone);
            let _ = thread::Builder::new().name("bigarray-report".to_owned()).spawn(move || {
                let _held = signals::hold();
                dispatcher::with_default(&subscriber, || tracing::warn!("{event}"));
            });
            self.next = Instant::now() + self.interval;
            self.interval *= 2;
        }
        Ok(())
    }
}

/// A thread that holds a lock, for messages.
pub fn named(thread: &Thread) -> String {
    let id = thread.id();
    match thread.name() {
        Some(name) => format!("the thread {name:?} ({id:?}) of this process, which must not wait for this one"),
        None => format!("the thread {id:?} of this process, which must not wait for this one"),
    }
}
