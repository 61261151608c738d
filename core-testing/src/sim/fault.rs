//! How a fault reaches the pager, and how its thread waits. The thread that faults stands in for the monitor and, where
//! the test starts none, for the resolvers while it waits, so that one thread is enough and a seed decides everything.

use std::sync::Weak;
use std::time::Instant;

use bigarray_core::PAGE;
use bigarray_core::memory::Job;

use super::page::Outcome;
use super::world::{Fault, Shared};
use super::{SimOp, SimSpan};
use crate::role::{Acting, Role, role};

/// One fault in this many is delivered again after it was resolved.
const LATE: usize = 6;

/// An entry in the list of waiting threads, removed when dropped, by a panic too.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.world().waiters.retain(|waiter| waiter.ticket != self.ticket);
    }
}

/// A job that was asked for ahead runs until this is dropped, by a panic too.
struct RunsAhead<'a>(&'a Shared);

impl Drop for RunsAhead<'_> {
    fn drop(&mut self) {
        self.0.world().ahead_running -= 1;
        self.0.moved.notify_all();
    }
}

impl SimSpan {
    /// A fault at byte `at` that comes late: the pager is told of it whether or not the page is there. Returns at once.
    pub fn late_fault(&self, at: usize) {
        let fault = Fault { base: self.base, offset: at / PAGE * PAGE, what: Outcome::Missing };
        let jobs = self.shared.deliver(&fault);
        self.shared.world().jobs.extend(jobs);
        self.shared.moved.notify_all();
    }
}

impl Shared {
    /// Delivers `fault` to the pager, and waits until the access may be tried again.
    pub(super) fn fault(&self, fault: Fault) {
        assert!(role() != Role::Resolver, "a job of the pager waits for a page: {fault:x?}; it would wait for itself");
        let mut world = self.world();
        let stopped = world.faults_stopped;
        assert!(!stopped, "{fault:x?} after faults had stopped: Faults::fail did not poison the page");
        let ticket = world.wait_for(fault.clone());
        let stale = if world.rng.one_in(LATE) { world.late.pop() } else { None };
        let (runs_now, comes_late) = (world.rng.one_in(2), world.rng.one_in(LATE));
        let stands_in = world.resolvers == 0;
        drop(world);
        let _waiting = Waiting { shared: self, ticket };
        for fault in stale.iter().chain([&fault]) {
            let mut jobs = self.deliver(fault).into_iter();
            let first = if runs_now && stands_in { jobs.next() } else { None };
            // Queued before the first one runs, which may take long: other threads can run them meanwhile.
            self.world().jobs.extend(jobs);
            self.moved.notify_all();
            if let Some(job) = first {
                self.run(job);
            }
        }
        self.wait(ticket, &fault, stands_in);
        if comes_late {
            self.world().late.push(fault);
        }
        while stands_in && !self.options.leaves_jobs && self.run_a_job() {}
    }

    fn wait(&self, ticket: u64, fault: &Fault, stands_in: bool) {
        loop {
            while !self.world().take_woken(ticket) {
                if !stands_in || !self.run_a_job() {
                    break;
                }
            }
            let mut world = self.world();
            if !world.waiters.iter().any(|waiter| waiter.ticket == ticket) {
                return;
            }
            // Nothing to run: another thread runs the job, or none does.
            let since = Instant::now();
            loop {
                if world.take_woken(ticket) {
                    return;
                }
                if stands_in && world.ready_jobs() > 0 {
                    break;
                }
                let Some(left) = self.options.patience.checked_sub(since.elapsed()).filter(|left| !left.is_zero())
                else {
                    let state = world.spans.get(&fault.base).map(|span| {
                        span.table.pages.get(&(fault.offset / PAGE)).map_or("missing", super::page::Page::name)
                    });
                    drop(world);
                    panic!("deadlock: a thread waits in {fault:x?} and no thread wakes it; the page is {state:?}");
                };
                world = self.moved.wait_timeout(world, left);
            }
        }
    }

    /// Delivers a fault to the pager. A stale one may be of a span that is gone.
    fn deliver(&self, fault: &Fault) -> Vec<Job> {
        let mut world = self.world();
        let Some(span) = world.spans.get(&fault.base) else { return Vec::new() };
        let faults = span.faults.as_ref().and_then(Weak::upgrade);
        let op = if fault.what == Outcome::Missing { SimOp::Missing } else { SimOp::Protected };
        world.log(fault.base, op, fault.offset..fault.offset + PAGE);
        drop(world);
        let Some(faults) = faults else { return Vec::new() };
        let _acting = Acting::as_a(Role::Monitor);
        match fault.what {
            Outcome::Missing => faults.missing(fault.offset),
            _ => {
                faults.protected(fault.offset);
                Vec::new()
            }
        }
    }

    /// Runs one of the queued jobs, if there is one.
    pub(super) fn run_a_job(&self) -> bool {
        let Some((job, is_ahead)) = self.world().take_job() else { return false };
        let _runs = is_ahead.then(|| RunsAhead(self));
        self.run(job);
        true
    }

    fn run(&self, job: Job) {
        self.world().log(0, SimOp::Job, 0..0);
        let _acting = Acting::as_a(Role::Resolver);
        job();
    }

    pub(super) fn fail_faults(&self, why: &str) {
        let pagers: Vec<_> = {
            let mut world = self.world();
            world.faults_stopped = true;
            world.spans.values().filter_map(|span| span.faults.as_ref()?.upgrade()).collect()
        };
        let _acting = Acting::as_a(Role::Monitor);
        for pager in pagers {
            pager.fail(why);
        }
    }
}
