//! Faults as an event of `tracing`: one for all that come within a while.
//!
//! A subscriber is code of the program. It may wait for a lock whose holder waits for a page, and it may touch a view
//! itself. So no thread that a fault waits for runs any of it: neither the monitor nor a resolver emits an event, and
//! neither asks whether one is wanted, since subscribers answer that, too. A fault looks at one number: the most verbose
//! level that any subscriber asked for. If that suffices, and no batch is open, it opens one. The memory reports the
//! batch a moment later, in a thread that no other waits for.
//!
//! Threads of the program emit events themselves, at places where they hold no lock of the pager or of the store that
//! resolving a fault takes: not in the write transaction of a store, which a load may wait for that spills to make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;

use crate::metrics::{Counters, Metrics};
use crate::pager::Pager;
use crate::pager::eviction::budget::Budget;

/// What all spans of one engine did, and whether a batch of it is about to be reported.
pub(crate) struct Activity {
    pub(crate) counters: Counters,
    budget: Arc<Budget>,
    is_batch_open: AtomicBool,
}

impl Activity {
    pub(crate) fn new(budget: &Arc<Budget>) -> Arc<Activity> {
        let (counters, is_batch_open) = (Counters::default(), AtomicBool::new(false));
        Arc::new(Activity { counters, budget: budget.clone(), is_batch_open })
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
}

/// A batch of faults, open until it is dropped.
struct Batch {
    activity: Arc<Activity>,
    before: Metrics,
}

impl Batch {
    fn emit(&self) {
        let batch = self.activity.metrics().since(&self.before);
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
        self.activity.is_batch_open.store(false, Ordering::Relaxed);
    }
}

impl Pager {
    /// Opens a batch with the fault that comes next, if a subscriber may want it and none is open.
    pub(crate) fn report_faults(&self) {
        if LevelFilter::current() < LevelFilter::DEBUG || self.activity.is_batch_open.swap(true, Ordering::Relaxed) {
            return;
        }
        let batch = Batch { activity: self.activity.clone(), before: self.activity.metrics() };
        self.memory.report(Box::new(move || {
            batch.emit();
        }));
    }
}
