//! A store whose reads, or look-ups, are as slow as a test demands.

use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::sync::{Condvar, Mutex, MutexGuard};

use super::adapter::{Adapter, StoreOp, Watch};
use crate::role::{Role, role};

/// Long enough for anything but a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store whose reads, or look-ups of blocks, wait for each other.
pub type Gated<S> = Adapter<S, Gate>;

/// Holds reads, or look-ups, back until so many are under way at once; from then on all go through.
pub struct Gate {
    held: &'static [StoreOp],
    opens_at: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    under_way: usize,
    most: usize,
    is_open: bool,
}

impl<S> Gated<S> {
    /// Wraps `store`. Its reads wait until `opens_at` of them are under way, or the gate is [opened](Gated::open).
    pub fn new(store: S, opens_at: usize) -> Gated<S> {
        Adapter::wrap(store, Gate::of(&[StoreOp::Read, StoreOp::ReadSpilled], opens_at))
    }

    /// Wraps `store`. Its look-ups of blocks [may block](bigarray_core::store::Snapshot::lookups_may_block), and do
    /// while the gate is [held](Gated::hold). It is open.
    pub fn of_lookups(store: S) -> Gated<S> {
        let gated = Adapter::wrap(store, Gate::of(&[StoreOp::Blocks], usize::MAX));
        gated.open();
        gated
    }

    /// Lets all reads through, now and later.
    pub fn open(&self) {
        self.watch.change(|state| state.is_open = true);
    }

    /// Holds reads back from here on, and counts them anew.
    pub fn hold(&self) {
        self.watch.change(|state| (state.is_open, state.most) = (false, state.under_way));
    }

    /// Waits until so many reads have been under way at once.
    ///
    /// # Panics
    /// If that takes so long that it will not happen any more.
    pub fn wait_for(&self, reads: usize) {
        let state = self.watch.wait_while(|state| state.most < reads);
        assert!(state.most >= reads, "{} reads at most were under way at once, not {reads}", state.most);
    }

    /// How many reads were under way at once, at most.
    pub fn most_reads(&self) -> usize {
        self.watch.state.lock().most
    }
}

impl Gate {
    fn of(held: &'static [StoreOp], opens_at: usize) -> Gate {
        Gate { held, opens_at, state: Mutex::default(), changed: Condvar::new() }
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// As long as `condition` holds, but not for ever.
    fn wait_while(&self, condition: impl Fn(&mut State) -> bool) -> MutexGuard<'_, State> {
        self.changed.wait_timeout_while(self.state.lock(), PATIENCE, condition)
    }
}

impl Watch for Gate {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        if self.held.contains(&op) {
            assert!(role() != Role::Monitor, "{op:?} by the thread that receives faults, though it may block");
            self.change(|state| {
                state.under_way += 1;
                state.most = state.most.max(state.under_way);
                state.is_open |= state.under_way >= self.opens_at;
            });
            // A read that waits in vain goes on at last, which `most_reads` shows.
            drop(self.wait_while(|state| !state.is_open));
            self.change(|state| state.under_way -= 1);
        }
        Ok(())
    }

    fn lookups_may_block(&self) -> bool {
        self.held.contains(&StoreOp::Blocks)
    }
}
