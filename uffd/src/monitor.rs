//! The monitor: the thread that reads faults and passes them to the pagers.
//!
//! What can be stale, and why it cannot hurt:
//!
//! - A message is read, and before its span is looked up the span is dropped: no span is found, and the page is only
//!   woken. No thread can wait in a span that is dropped.
//! - The same, but another span was reserved at these addresses meanwhile: its pager is asked for a page that no thread
//!   waits for. It loads early, or marks a clean block as stored to, which a commit may find in conflict. Both are
//!   things a user could have caused.
//! - A message is read and its page was resolved by then (32 threads in one block send 32 messages): the pager sees
//!   that the block is not missing any more and wakes.
//! - A thread faults while a mapping is moved over its page: `mremap` and the fault exclude each other in the kernel.
//!   Before the move the thread waits and is woken by the pager after it, registered or not; after it there is no
//!   fault.
//! - A wake comes before a thread sleeps: the kernel looks at the page table once more after it has queued the thread,
//!   and a wake that finds no thread loses nothing, because the page is there by then.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bigarray_core::memory::{Faults, Job};
use bigarray_core::{Error, ErrorKind, FirstFailure, PAGE};
use bigarray_process::{Origin, Unshared};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use userfaultfd::{Event, EventBuffer, FaultKind, Uffd};

use crate::jobs::Feed;
use crate::spans::Spans;
use crate::stderr::fatal;

/// Faults read at a time.
const BATCH: usize = 64;

/// What the threads and the spans of one memory share.
pub(crate) struct Shared {
    /// The synchronous userfaultfd; `None` where there is none.
    pub(crate) uffd: Option<Unshared<Uffd>>,
    pub(crate) spans: Spans,
    /// Readable once the threads are to end.
    pub(crate) stop: EventFd,
    pub(crate) stopping: AtomicBool,
    /// Why faults are not to be relied on any more.
    pub(crate) failure: FirstFailure,
    pub(crate) origin: Origin,
}

impl Shared {
    pub(crate) fn new(uffd: Option<Unshared<Uffd>>, stop: EventFd) -> Shared {
        Shared {
            uffd,
            spans: Spans::default(),
            stop,
            stopping: AtomicBool::new(false),
            failure: FirstFailure::new(),
            origin: Origin::here(),
        }
    }

    /// Whether this process has the threads, and is the one that the userfaultfd acts on. A forked child is not.
    pub(crate) fn is_ours(&self) -> bool {
        self.origin.is_here()
    }

    /// Lets threads that wait in the range look again. Also works where the range is not registered any more.
    pub(crate) fn wake(&self, start: usize, len: usize) {
        if let Some(uffd) = &self.uffd {
            // Fails only for ranges that are no user addresses, or none.
            let _ = uffd.wake(start as *mut _, len);
        }
    }

    /// Fails every pager for good because of `why`; from now on nothing is reserved.
    pub(crate) fn fail(&self, why: String) {
        let why = self.failure.set(Error::new(ErrorKind::Io, why)).to_string();
        for faults in self.spans.all() {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if let Some(faults) = faults.upgrade() {
                    faults.fail(&why);
                }
            }));
            if let Err(panic) = outcome {
                // Threads may wait for this pager, and nothing else would poison what they wait for.
                fatal(&format!("{why}; then a pager panicked in `fail`: {}", text_of(&*panic)));
            }
        }
    }

    fn jobs_of(&self, outcome: Result<Vec<Job>, Box<dyn Any + Send>>) -> Vec<Job> {
        outcome.unwrap_or_else(|panic| {
            self.fail(format!("the thread that resolves page faults panicked: {}", text_of(&*panic)));
            Vec::new()
        })
    }
}

/// Reads faults until the stop event.
pub(crate) fn run(shared: &Shared, uffd: &Uffd, jobs: &Feed) {
    let mut buffer = EventBuffer::new(BATCH);
    loop {
        let mut fds =
            [PollFd::new(uffd.as_fd(), PollFlags::POLLIN), PollFd::new(shared.stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            // Going on would mean writes that are not seen, or threads that wait for ever.
            Err(errno) => fatal(&format!("waiting for page faults: {errno}")),
            Ok(_) => {}
        }
        if fds[1].any().unwrap_or(true) {
            return;
        }
        let events = match uffd.read_events(&mut buffer) {
            Ok(events) => events,
            Err(userfaultfd::Error::SystemError(errno)) if errno as i32 == Errno::EINTR as i32 => continue,
            Err(error) => fatal(&format!("reading page faults: {error}")),
        };
        for event in events {
            // Step numbers are those of "The life of a fault" in ARCHITECTURE.md.
            // (1) message → address; no other event was asked for.
            let Ok(Event::Pagefault { kind, addr, .. }) = event else { continue };
            let address = addr as usize / PAGE * PAGE;
            // (1) goes on: the span. The pager takes the steps from (2) on.
            let outcome = catch_unwind(AssertUnwindSafe(|| pass_on(shared, kind, address)));
            jobs.put(shared.jobs_of(outcome));
        }
    }
}

fn pass_on(shared: &Shared, kind: FaultKind, address: usize) -> Vec<Job> {
    let owner = shared.spans.owner(address);
    // May turn out to be the last reference to the pager; then pager and span are dropped here, on this thread.
    let Some((faults, offset)) = owner.and_then(|owner| Some((owner.faults.upgrade()?, owner.offset))) else {
        shared.wake(address, PAGE);
        return Vec::new();
    };
    let faults: Arc<dyn Faults> = faults;
    match kind {
        FaultKind::Missing => faults.missing(offset),
        FaultKind::WriteProtected => {
            faults.protected(offset);
            Vec::new()
        }
    }
}

/// Runs one job; a panic in it fails every pager.
pub(crate) fn resolve(shared: &Shared, job: Job) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(job)) {
        shared.fail(format!("a thread that loads pages panicked: {}", text_of(&*panic)));
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of unknown cause")
}
