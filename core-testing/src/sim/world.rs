//! The state of a simulated memory, behind one lock: pages of every span, waiting threads, queued jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bigarray_core::memory::{Faults, Job, Residency};
use bigarray_core::store::DataFile;
use bigarray_core::sync::{Condvar, Mutex, MutexGuard};
use bigarray_core::{Error, ErrorKind, Result};

use super::page::{Outcome, PageTable};
use super::{SimEvent, SimOp, SimOptions};
use crate::Rng;

/// Alignment of spans.
pub(super) const ALIGN: usize = 2 << 20;

/// Address of the first span: none of the process's own memory lies there.
const FIRST_BASE: usize = 1 << 44;

/// Addresses that living spans may have, about as many as a process has.
const MOST_ADDRESSES: usize = 1 << 46;

pub(super) struct Shared {
    pub(super) options: SimOptions,
    pub(super) file: Arc<dyn DataFile>,
    world: Mutex<World>,
    /// A thread was woken, or a job was queued.
    pub(super) moved: Condvar,
}

/// The address of a file, and a byte of it.
pub(super) type PageOfFile = (usize, u64);

pub(super) fn page_of_file(file: &Arc<dyn DataFile>, at: u64) -> PageOfFile {
    (Arc::as_ptr(file).addr(), at)
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) spans: BTreeMap<usize, SpanState>,
    pub(super) jobs: Vec<Job>,
    /// Those that were asked for ahead, and how many of them run.
    pub(super) ahead: Vec<Job>,
    pub(super) ahead_running: usize,
    /// Pages of files that were [read ahead](bigarray_core::memory::Memory::read_ahead).
    pub(super) read_ahead: BTreeSet<PageOfFile>,
    pub(super) waiters: Vec<Waiter>,
    /// Faults that are delivered once more after they were resolved.
    pub(super) late: Vec<Fault>,
    pub(super) failures: Vec<(SimOp, usize)>,
    pub(super) trace: Vec<SimEvent>,
    pub(super) faults_stopped: bool,
    /// Threads of their own that run jobs.
    pub(super) resolvers: usize,
    /// Its clock.
    pub(super) now: Duration,
    next_base: usize,
    reserved: usize,
    next_ticket: u64,
}

pub(super) struct SpanState {
    pub(super) number: usize,
    pub(super) bytes: Range<usize>,
    pub(super) faults: Option<Weak<dyn Faults>>,
    pub(super) table: PageTable,
}

/// An access that waits for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) base: usize,
    pub(super) offset: usize,
    pub(super) what: Outcome,
}

pub(super) struct Waiter {
    pub(super) ticket: u64,
    pub(super) fault: Fault,
    pub(super) woken: bool,
}

impl Shared {
    pub(super) fn new(file: Arc<dyn DataFile>, options: SimOptions) -> Shared {
        let world = World {
            rng: Rng::new(options.seed),
            spans: BTreeMap::new(),
            jobs: Vec::new(),
            ahead: Vec::new(),
            ahead_running: 0,
            read_ahead: BTreeSet::new(),
            waiters: Vec::new(),
            late: Vec::new(),
            failures: Vec::new(),
            trace: Vec::new(),
            faults_stopped: false,
            resolvers: 0,
            now: Duration::ZERO,
            next_base: FIRST_BASE,
            reserved: 0,
            next_ticket: 0,
        };
        Shared { options, file, world: Mutex::new(world), moved: Condvar::new() }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock()
    }
}

impl World {
    /// Whether there are addresses for a span of `len` bytes.
    pub(super) fn has_addresses(&self, len: usize) -> Result<()> {
        let reserved: usize = self.spans.values().map(|span| span.bytes.len()).sum();
        if len <= MOST_ADDRESSES - reserved {
            return Ok(());
        }
        let message = format!("simulated: {len} bytes of addresses beside {reserved}, of {MOST_ADDRESSES}");
        Err(Error::new(ErrorKind::TooLarge, message))
    }

    /// How many mappings the kernel would need for all spans.
    pub(super) fn mappings(&self) -> usize {
        self.spans.values().map(|span| span.table.mappings()).sum()
    }

    /// Takes addresses for a span of `bytes`.
    pub(super) fn place(&mut self, bytes: Range<usize>, residency: Residency) -> (usize, SpanState) {
        let base = self.next_base;
        // With a gap behind it, so that no address past its end belongs to another span.
        self.next_base += bytes.len() + ALIGN;
        let number = self.reserved;
        self.reserved += 1;
        let table = PageTable { residency, pages: BTreeMap::new(), pinned: BTreeSet::new(), withdrawn: Vec::new() };
        (base, SpanState { number, bytes, faults: None, table })
    }

    pub(super) fn log(&mut self, base: usize, op: SimOp, range: Range<usize>) {
        let span = self.spans.get(&base).map_or(0, |span| span.number);
        self.trace.push(SimEvent { span, op, range });
    }

    /// The error, if the test ordered this call of `op` to fail.
    pub(super) fn fails(&mut self, op: SimOp) -> Result<()> {
        let mut fails = false;
        self.failures.retain_mut(|(planned, countdown)| {
            if *planned != op {
                return true;
            }
            let due = *countdown == 0;
            *countdown = countdown.saturating_sub(1);
            fails |= due;
            !due
        });
        if !fails {
            return Ok(());
        }
        let kind = if op == SimOp::Reserve { ErrorKind::TooLarge } else { ErrorKind::Io };
        Err(Error::new(kind, format!("simulated failure of {op:?}")))
    }

    /// Registers a waiting thread.
    pub(super) fn wait_for(&mut self, fault: Fault) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.push(Waiter { ticket, fault, woken: false });
        ticket
    }

    pub(super) fn wake(&mut self, base: usize, range: &Range<usize>) {
        for waiter in &mut self.waiters {
            waiter.woken |= waiter.fault.base == base && range.contains(&waiter.fault.offset);
        }
    }

    /// Removes the waiter if it was woken, and tells whether it was.
    pub(super) fn take_woken(&mut self, ticket: u64) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|waiter| waiter.ticket != ticket || !waiter.woken);
        self.waiters.len() != before
    }

    /// How many of the queued jobs may be run now. Of several resolvers half are left to faults.
    pub(super) fn ready_jobs(&self) -> usize {
        let ready = self.resolvers == 0 || self.ahead_running < (self.resolvers / 2).max(1);
        self.jobs.len() + if ready { self.ahead.len() } else { 0 }
    }

    /// Takes one of the queued jobs, and tells whether it was asked for ahead. A seed decides which: the pager relies on no order.
    pub(super) fn take_job(&mut self) -> Option<(Job, bool)> {
        let ready = self.ready_jobs();
        if ready == 0 {
            return None;
        }
        let n = self.rng.below(ready);
        let of_faults = self.jobs.len();
        if n < of_faults {
            return Some((self.jobs.swap_remove(n), false));
        }
        self.ahead_running += 1;
        Some((self.ahead.swap_remove(n - of_faults), true))
    }
}
