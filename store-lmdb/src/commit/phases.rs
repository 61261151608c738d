//! How long the phases of a commit took: one event, once the commit holds no lock of the store.
//!
//! It is no span for each of them, since a subscriber runs code of the program. That may touch a view, whose load may have to
//! spill, and so wait for the write transaction that this commit holds.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The time in each phase, summed up where it was repeated.
#[derive(Default)]
pub(super) struct Phases {
    /// (3) or (6): payload compressed and written.
    pub(super) payload: Phase,
    /// (4): the wait for the commit lock.
    pub(super) commit_lock: Phase,
    /// (4): the wait for the write transaction.
    pub(super) write_transaction: Phase,
    /// (5)
    pub(super) conflict_check: Phase,
    /// (3) and (7): `fdatasync` of the data file.
    pub(super) sync: Phase,
    /// (7): LMDB commits.
    pub(super) index: Phase,
}

impl Phases {
    /// Emits the event.
    pub(super) fn report(&self) {
        tracing::debug!(
            payload_us = self.payload.micros(),
            commit_lock_us = self.commit_lock.micros(),
            write_transaction_us = self.write_transaction.micros(),
            conflict_check_us = self.conflict_check.micros(),
            fdatasync_us = self.sync.micros(),
            index_us = self.index.micros(),
            "stored"
        );
    }
}

/// One phase.
#[derive(Default)]
pub(super) struct Phase(Cell<Duration>);

impl Phase {
    /// Runs `run`, and adds the time it takes.
    pub(super) fn time<R>(&self, run: impl FnOnce() -> R) -> R {
        let began = Instant::now();
        let done = run();
        self.0.set(self.0.get() + began.elapsed());
        done
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.0.get().as_micros()).unwrap_or(u64::MAX)
    }
}
