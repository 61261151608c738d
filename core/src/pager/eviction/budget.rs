//! The memory budget: the memory of their own that all spans of an engine together may have. Where it is exceeded, the
//! eviction policy names the block that goes; see [`policy`](super::policy).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::pager::Pager;
use crate::pager::eviction::policy::{EvictionPolicy, Outcome, Victim};
use crate::sync::{FaultMutex, FaultMutexGuard};

/// Blocks in a row that cannot be evicted just now, after which no more are tried.
const MOST_BUSY: usize = 64;

/// A prefetch that no thread waits for takes no more than this part of the budget,
const SHARE_TAKEN: usize = 2;

/// and evicts blocks for no more than this part of it, which is as much as readahead takes. The blocks that came last, of as
/// many bytes, stay.
const SHARE_EVICTED: usize = 8;

/// Memory that a database uses for arrays besides the page cache, and how often blocks were copied in, evicted or spilled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// The budget in bytes; `usize::MAX` if there is none.
    pub budget_bytes: usize,
    /// Bytes in use now. A copied block counts whole, and a new block as if all that the array has of it were written to.
    pub used_bytes: usize,
    /// Blocks copied into memory so far: decompressed or copied, or read back after they were spilled.
    pub blocks_copied: u64,
    /// Blocks evicted so far that were not written to.
    pub blocks_evicted: u64,
    /// Blocks evicted so far that were written to; their changes were spilled.
    pub blocks_spilled: u64,
}

/// What all spans of one engine share.
pub(crate) struct Budget {
    limit_bytes: usize,
    state: FaultMutex<Charges>,
    /// A job spills in the background.
    is_trimming: AtomicBool,
}

/// Which blocks are charged, and what that sums up to.
struct Charges {
    policy: EvictionPolicy,
    /// Also of what is about to be charged.
    usage: MemoryUse,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Budget> {
        let usage = MemoryUse { budget_bytes: limit_bytes, ..MemoryUse::default() };
        let state = FaultMutex::new(Charges { policy: EvictionPolicy::default(), usage });
        Arc::new(Budget { limit_bytes, state, is_trimming: AtomicBool::new(false) })
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn lock(&self) -> FaultMutexGuard<'_, Charges> {
        self.state.lock()
    }

    pub(crate) fn in_use(&self) -> MemoryUse {
        self.lock().usage
    }

    /// A charge of one byte, for a block of no pager.
    #[cfg(test)]
    pub(crate) fn charge_for_test(self: &Arc<Self>) -> Charge {
        let mut state = self.lock();
        state.usage.used_bytes += 1;
        let ticket = state.policy.charge(std::sync::Weak::new(), 0, 0, 1, false);
        drop(state);
        Charge { budget: self.clone(), ticket }
    }

    /// A block was let go of.
    pub(crate) fn count(&self, is_written_to: bool) {
        let usage = &mut self.lock().usage;
        *(if is_written_to { &mut usage.blocks_spilled } else { &mut usage.blocks_evicted }) += 1;
    }

    /// A number for a pager.
    pub(crate) fn new_owner(&self) -> u64 {
        self.lock().policy.number()
    }

    /// A permit for `bytes` that evicts nothing; `None` if the budget has no room. For no bytes it always has.
    pub(crate) fn room_left(self: &Arc<Self>, bytes: usize) -> Option<BudgetPermit> {
        if bytes == 0 {
            return Some(BudgetPermit { budget: self.clone(), bytes });
        }
        let mut state = self.lock();
        state.usage.used_bytes = state.usage.used_bytes.checked_add(bytes).filter(|used| *used <= self.limit_bytes)?;
        Some(BudgetPermit { budget: self.clone(), bytes })
    }

    /// A permit for `bytes`, over the budget if need be.
    pub(crate) fn overcommit(self: &Arc<Self>, bytes: usize) -> BudgetPermit {
        self.lock().usage.used_bytes += bytes;
        BudgetPermit { budget: self.clone(), bytes }
    }

    /// A permit for `bytes`. Blocks are evicted for it, which may take a write. Where none can be just now the budget
    /// is exceeded: a thread that waits for a page must get it.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: usize) -> BudgetPermit {
        if let Some(permit) = self.room_left(bytes) {
            return permit;
        }
        let permit = self.overcommit(bytes);
        self.evict_while(|state| {
            (state.usage.used_bytes > self.limit_bytes).then(|| state.policy.victim(self.limit_bytes))?
        });
        permit
    }

    /// The same for what no thread waits for; `None` where it would exceed the budget.
    pub(crate) fn make_room_within(self: &Arc<Self>, bytes: usize) -> Option<BudgetPermit> {
        let permit = self.make_room(bytes);
        (!self.is_exceeded()).then_some(permit)
    }

    /// The share of a prefetch that begins now, of blocks of `block_bytes`.
    pub(crate) fn share(&self, block_bytes: usize) -> Share {
        let came_last = (self.limit_bytes / SHARE_EVICTED / block_bytes) as u64;
        let spared = self.lock().policy.number().saturating_sub(came_last);
        Share { spared, taken: AtomicUsize::new(0), evicted: AtomicUsize::new(0) }
    }

    /// A permit for `bytes` of what a prefetch loads; `None` where its share is used up. Never over the budget. Evicted are
    /// clean blocks alone, and none that came since the prefetch began or shortly before: what a reader just loaded stays.
    pub(crate) fn make_room_of(self: &Arc<Self>, share: &Share, bytes: usize) -> Option<BudgetPermit> {
        if bytes > 0 && !take_up_to(&share.taken, bytes, self.limit_bytes / SHARE_TAKEN) {
            return None;
        }
        if let Some(permit) = self.room_left(bytes) {
            return Some(permit);
        }
        if !take_up_to(&share.evicted, bytes, self.limit_bytes / SHARE_EVICTED) {
            return None;
        }
        let is_there = Cell::new(false);
        self.evict_while(|Charges { policy, usage }| {
            is_there.set(usage.used_bytes.saturating_add(bytes) <= self.limit_bytes);
            if is_there.get() {
                usage.used_bytes += bytes;
                return None;
            }
            policy.clean_victim(self.limit_bytes, share.spared)
        });
        is_there.get().then(|| BudgetPermit { budget: self.clone(), bytes })
    }

    /// Whether more is used than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.lock().usage.used_bytes > self.limit_bytes
    }

    /// Whether so much is written to that it should be spilled before a thread has to wait for it. `true`
    /// obliges the caller to run `trim`: until then no other caller gets it.
    pub(crate) fn is_to_be_trimmed(&self) -> bool {
        self.lock().policy.dirty_bytes() > self.limit_bytes / 4 * 3 && !self.is_trimming.swap(true, Ordering::Relaxed)
    }

    /// Spills some of what was written to.
    pub(crate) fn trim(&self) {
        let most = self.limit_bytes / 8 * 5;
        self.evict_while(|Charges { policy, .. }| (policy.dirty_bytes() > most).then(|| policy.dirty_victim())?);
        self.is_trimming.store(false, Ordering::Relaxed);
    }

    fn evict_while(&self, next: impl Fn(&mut Charges) -> Option<Victim>) {
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
            if matches!(outcome, Outcome::Busy | Outcome::Unavailable) {
                busy += 1;
                self.lock().policy.put_back(victim.ticket);
            }
            if outcome == Outcome::Unavailable {
                break; // the next one would take as long
            }
        }
    }
}

/// The part of the budget that one prefetch may take.
pub(crate) struct Share {
    /// Blocks with this ticket or a later one are not evicted for it.
    spared: u64,
    /// Bytes that it took,
    taken: AtomicUsize,
    /// and those of them that others were evicted for.
    evicted: AtomicUsize,
}

/// Adds `bytes` to `taken`, unless that would be more than `most`.
fn take_up_to(taken: &AtomicUsize, bytes: usize, most: usize) -> bool {
    let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
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
        state.usage.blocks_copied += u64::from(!dirty);
        state.usage.used_bytes += bytes - taken;
        let ticket = state.policy.charge(pager.this.clone(), pager.owner, block, bytes, dirty);
        drop(state);
        Charge { budget: self.budget.clone(), ticket }
    }
}

impl Drop for BudgetPermit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.lock().usage.used_bytes -= self.bytes;
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

    /// It is of `bytes` from here on, over the budget if need be.
    pub(crate) fn become_of(&self, bytes: usize) {
        let mut state = self.budget.lock();
        let before = state.policy.recharge(self.ticket, bytes);
        state.usage.used_bytes = state.usage.used_bytes - before + bytes;
    }

    /// From here on, to let go of it takes a write.
    pub(crate) fn is_written_to(&self) {
        self.budget.lock().policy.is_written_to(self.ticket);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.usage.used_bytes -= state.policy.uncharge(self.ticket);
    }
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charge({})", self.ticket)
    }
}
