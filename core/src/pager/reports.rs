//! Faults as an event of `tracing`: one for all that come within a while.
//!
//! A subscriber is code of the program. It may wait for a lock whose holder waits for a page, and it may touch a view
//! itself. So no thread that a fault waits for runs any of it: neither the monitor nor a resolver emits an event, and
//! neither asks whether one is wanted, since subscribers answer that, too. A fault looks at one number: the most verbose
//! level that any subscriber asked for. If that suffices, and no batch is open, it opens one. The memory reports the
//! batch a moment later, in a thread that no other waits for.
//!
//! A warning that a wait lasts is emitted by a thread of its own, too: a resolver waits where it spills.
//!
//! Threads of the program emit other events themselves, at places where they hold no lock of the pager or of the store that
//! resolving a fault takes: not in the write transaction of a store, which a load may wait for that spills to make room.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use crate::metrics::{Counters, Metrics};
use crate::pager::Pager;
use crate::pager::eviction::budget::Budget;
use crate::sync::Mutex;

/// After a batch that could not be reported, for want of a thread, no other is opened for so long.
const CLOSED_FOR: Duration = Duration::from_secs(1);

/// What all spans of one engine did, and whether a batch of it is about to be reported.
pub(crate) struct Activity {
    pub(crate) counters: Counters,
    budget: Arc<Budget>,
    is_batch_open: AtomicBool,
    /// No batch is opened before, by the memory's clock, in nanoseconds.
    closed_until: AtomicU64,
    /// What the events add up to. Only threads that report take the lock, and none emits with it.
    reported: Mutex<Metrics>,
}

impl Activity {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Activity> {
        Arc::new(Activity {
            counters: Counters::default(),
            budget: budget.clone(),
            is_batch_open: AtomicBool::new(false),
            closed_until: AtomicU64::new(0),
            reported: Mutex::default(),
        })
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let usage = self.budget.in_use();
        Metrics {
            blocks_copied: usage.blocks_copied,
            blocks_evicted: usage.blocks_evicted,
            blocks_spilled: usage.blocks_spilled,
            ..self.counters.read()
        }
    }

    /// What no event told of yet. The one that the caller emits does.
    fn unreported(&self) -> Metrics {
        let mut reported = self.reported.lock();
        let now = self.metrics();
        now.since(&mem::replace(&mut *reported, now))
    }
}

/// A batch of faults, open until it is dropped. Faults that come while it is reported are in the event of the next one.
struct Batch {
    activity: Arc<Activity>,
    opened: Duration,
    is_reported: bool,
}

impl Batch {
    fn report(mut self) {
        self.is_reported = true;
        let batch = self.activity.unreported();
        tracing::debug!(
            missing = batch.faults_missing,
            protected = batch.faults_protected,
            futile = batch.faults_futile,
            blocks_mapped = batch.blocks_mapped,
            blocks_zeroed = batch.blocks_zeroed,
            blocks_copied = batch.blocks_copied,
            blocks_evicted = batch.blocks_evicted,
            blocks_spilled = batch.blocks_spilled,
            "faults"
        );
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.is_reported {
            self.activity.closed_until.store(nanos(self.opened + CLOSED_FOR), Ordering::Relaxed);
        }
        self.activity.is_batch_open.store(false, Ordering::Release);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Pager {
    /// Opens a batch with the fault that comes next, if a subscriber may want it and none is open.
    pub(crate) fn report_faults(&self) {
        let Activity { is_batch_open, closed_until, .. } = &*self.activity;
        if LevelFilter::current() < LevelFilter::DEBUG || is_batch_open.load(Ordering::Acquire) {
            return;
        }
        let opened = self.memory.now();
        if nanos(opened) < closed_until.load(Ordering::Relaxed) || is_batch_open.swap(true, Ordering::AcqRel) {
            return;
        }
        let batch = Batch { activity: self.activity.clone(), opened, is_reported: false };
        self.memory.report(Box::new(move || batch.report()));
    }
}
