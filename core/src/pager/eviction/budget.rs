//! The memory budget: the memory of their own that all spans of an engine together may have. Where it is exceeded, the
//! eviction policy names the block that goes; see [`policy`](super::policy).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pager::Pager;
use crate::pager::eviction::policy::{EvictionPolicy, MemoryUse, Outcome, Victim};
use crate::sync::{FaultMutex, FaultMutexGuard};

/// Blocks in a row that cannot be evicted just now, after which no more are tried.
const MOST_BUSY: usize = 64;

/// What all spans of one engine share.
pub(crate) struct Budget {
    limit_bytes: usize,
    state: FaultMutex<EvictionPolicy>,
    /// A job spills in the background.
    is_trimming: AtomicBool,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { limit_bytes, state: FaultMutex::default(), is_trimming: AtomicBool::new(false) })
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn lock(&self) -> FaultMutexGuard<'_, EvictionPolicy> {
        self.state.lock()
    }

    pub(crate) fn in_use(&self) -> MemoryUse {
        let state = self.lock();
        MemoryUse { budget_bytes: self.limit_bytes, used_bytes: state.used_bytes, ..state.counts }
    }

    /// A charge of one byte, for a block of no pager.
    #[cfg(test)]
    pub(crate) fn charge_for_test(self: &Arc<Self>) -> Charge {
        let mut state = self.lock();
        state.used_bytes += 1;
        let ticket = state.charge(std::sync::Weak::new(), 0, 0, 1, false);
        drop(state);
        Charge { budget: self.clone(), ticket }
    }

    /// A block was let go of.
    pub(crate) fn count(&self, is_written_to: bool) {
        let counts = &mut self.lock().counts;
        *(if is_written_to { &mut counts.blocks_spilled } else { &mut counts.blocks_evicted }) += 1;
    }

    /// A number for a pager.
    pub(crate) fn new_owner(&self) -> u64 {
        self.lock().number()
    }

    /// A permit for `bytes` that evicts nothing; `None` if the budget has no room. For no bytes it always has.
    pub(crate) fn room_left(self: &Arc<Self>, bytes: usize) -> Option<BudgetPermit> {
        if bytes == 0 {
            return Some(BudgetPermit { budget: self.clone(), bytes });
        }
        let mut state = self.lock();
        let used = state.used_bytes.checked_add(bytes).filter(|used| *used <= self.limit_bytes)?;
        state.used_bytes = used;
        Some(BudgetPermit { budget: self.clone(), bytes })
    }

    /// A permit for `bytes`, over the budget if need be.
    pub(crate) fn overcommit(self: &Arc<Self>, bytes: usize) -> BudgetPermit {
        self.lock().used_bytes += bytes;
        BudgetPermit { budget: self.clone(), bytes }
    }

    /// A permit for `bytes`. Blocks are evicted for it, which may take a write. Where none can be just now the budget
    /// is exceeded: a thread that waits for a page must get it.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: usize) -> BudgetPermit {
        if let Some(permit) = self.room_left(bytes) {
            return permit;
        }
        let permit = self.overcommit(bytes);
        self.evict_while(|state| (state.used_bytes > self.limit_bytes).then(|| state.victim(self.limit_bytes))?);
        permit
    }

    /// The same for what no thread waits for; `None` where it would exceed the budget.
    pub(crate) fn make_room_within(self: &Arc<Self>, bytes: usize) -> Option<BudgetPermit> {
        let permit = self.make_room(bytes);
        (!self.is_exceeded()).then_some(permit)
    }

    /// Whether more is used than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.lock().used_bytes > self.limit_bytes
    }

    /// Whether so much is written to that it should be spilled before a thread has to wait for it. `true`
    /// obliges the caller to run `trim`: until then no other caller gets it.
    pub(crate) fn is_to_be_trimmed(&self) -> bool {
        self.lock().dirty_bytes() > self.limit_bytes / 4 * 3 && !self.is_trimming.swap(true, Ordering::Relaxed)
    }

    /// Spills some of what was written to.
    pub(crate) fn trim(&self) {
        self.evict_while(|state| (state.dirty_bytes() > self.limit_bytes / 8 * 5).then(|| state.dirty_victim())?);
        self.is_trimming.store(false, Ordering::Relaxed);
    }

    fn evict_while(&self, next: impl Fn(&mut EvictionPolicy) -> Option<Victim>) {
        let mut busy = 0;
        while busy < MOST_BUSY
            && let Some(victim) = {
                let mut state = self.lock();
                next(&mut state)
            }
        {
            // Without the lock: to let go of a block takes that of its table, under which this one is taken.
            let outcome =
                victim.pager.upgrade().map_or(Outcome::Gone, |pager| pager.evict(victim.block, victim.ticket));
            if outcome == Outcome::Busy {
                busy += 1;
                self.lock().put_back(victim.ticket);
            }
        }
    }
}

/// A part of the budget for what is about to come.
pub(crate) struct BudgetPermit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl BudgetPermit {
    /// Charges `block` of `pager` with `bytes` of this room. `dirty`: to let go of it takes a write.
    pub(crate) fn charge(&mut self, pager: &Pager, block: u64, bytes: usize, dirty: bool) -> Charge {
        let taken = bytes.min(self.bytes);
        self.bytes -= taken;
        let mut state = self.budget.lock();
        state.counts.blocks_copied += u64::from(!dirty);
        state.used_bytes += bytes - taken;
        let ticket = state.charge(pager.this.clone(), pager.owner, block, bytes, dirty);
        drop(state);
        Charge { budget: self.budget.clone(), ticket }
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.lock().used_bytes -= self.bytes;
        }
    }
}

/// A block's share of the budget, until this is dropped.
pub(crate) struct Charge {
    budget: Arc<Budget>,
    ticket: u64,
}

impl Charge {
    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// From here on, to let go of it takes a write.
    pub(crate) fn is_written_to(&self) {
        self.budget.lock().is_written_to(self.ticket);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.lock().uncharge(self.ticket);
    }
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charge({})", self.ticket)
    }
}
