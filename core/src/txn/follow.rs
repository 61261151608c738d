//! Waiting for the next commit, of any thread, process or machine.
//!
//! The store is asked again and again. A wait for a message could be lost for ever: with the committer, if that is killed
//! after its commit, or where its container and this one share files and nothing else.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use crate::descriptor::Version;
use crate::error::Result;
use crate::signals;
use crate::store::Snapshot;

/// A pause is at most so small a part of the wait until then: a commit is seen that much later than it could be.
const PART_OF_WAIT: u32 = 8;

impl Engine {
    /// Waits until a state later than the one with the number `after` is committed, and gives it; `None` if there was none
    /// for as long as `timeout`. The first question is asked at once, and the last one when `timeout` is over.
    ///
    /// # Errors
    /// What the store reports.
    pub fn wait_for_commit(&self, after: Version, timeout: Duration) -> Result<Option<Arc<dyn Snapshot>>> {
        let _held = signals::hold_between_waits();
        let pauses = self.store.pauses();
        let began = Instant::now();
        loop {
            if let Some(newer) = self.store.newer(after)? {
                return Ok(Some(newer));
            }
            let waited = began.elapsed();
            let left = timeout.saturating_sub(waited);
            if left.is_zero() {
                return Ok(None);
            }
            let pause = (waited / PART_OF_WAIT).clamp(*pauses.start(), *pauses.end());
            signals::let_through(|| thread::sleep(pause.min(left)));
        }
    }
}
