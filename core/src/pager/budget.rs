//! The memory budget: what the spans of an engine together may have of memory of their own, and who gives way.
//!
//! No access to a block that is in memory can be seen, only the fault that brings it in. What a policy can go by is
//! which blocks come back after they were let go of: a queue for blocks that came once (a scan passes through it and
//! disturbs nobody else), one for those that came back, which stay the longer the more often they did, and a memory of
//! those that were let go of lately (as in 2Q, Johnson and Shasha 1994). Blocks that were written to cost a write, and
//! go in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Pager;
use super::evict::Outcome;

/// The queue of blocks that came once may have this part of the budget before others than it give way.
const FRESH_PART: usize = 4;

/// Clean blocks give way first, until this part of the budget is left to them: whoever reads must be able to go on
/// while others write.
const CLEAN_PART: usize = 8;

/// A block that came back so often stays no longer for coming back again.
const MOST_RETURNS: u8 = 6;

/// So many in a row that cannot be let go of just now are enough.
const MOST_BUSY: usize = 64;

/// Blocks let go of that are remembered, beside as many as are in memory.
const REMEMBERED: usize = 1024;

/// What the spans of an engine have of memory of their own, and what it took to stay within the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The budget in bytes; `usize::MAX` if there is none.
    pub budget_bytes: usize,
    /// Charged to it at present: copied blocks whole, zero memory as if all of it were written to.
    pub used_bytes: usize,
    /// Blocks copied into memory so far: produced, or read back from where they were written ahead.
    pub blocks_copied: u64,
    /// Blocks let go of so far that were not written to.
    pub blocks_evicted: u64,
    /// Blocks let go of so far that were written to; what of them had changed was written ahead.
    pub blocks_spilled: u64,
}

/// What all spans of one engine share.
pub(crate) struct Budget {
    limit_bytes: usize,
    state: Mutex<State>,
    /// Somebody writes ahead in the background.
    is_trimming: AtomicBool,
}

#[derive(Default)]
struct State {
    counts: MemoryUse,
    /// Charged, or about to be.
    used_bytes: usize,
    next: u64,
    charged: HashMap<u64, Charged>,
    fresh: Queue,
    returned: Queue,
    dirty: Queue,
    gone: Gone,
}

/// Stamps in the order in which they go. Those of what has left the queue stay, and are passed over.
#[derive(Default)]
struct Queue {
    stamps: VecDeque<u64>,
    bytes: usize,
    blocks: usize,
}

/// Memory of one block.
struct Charged {
    pager: Weak<Pager>,
    owner: u64,
    block: u64,
    bytes: usize,
    place: Place,
    /// How often it came back.
    returns: u8,
    /// How often it is passed over yet.
    credit: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Fresh,
    Returned,
    Dirty,
    /// Somebody tries to let go of it.
    InHand,
}

/// Blocks let go of lately, and how often they had come back.
#[derive(Default)]
struct Gone {
    returns: HashMap<(u64, u64), u8>,
    order: VecDeque<(u64, u64)>,
}

impl Gone {
    fn insert(&mut self, key: (u64, u64), returns: u8, most: usize) {
        if self.returns.insert(key, returns).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.returns.remove(&oldest);
        }
    }
}

/// Who is to give way.
struct Victim {
    stamp: u64,
    pager: Weak<Pager>,
    block: u64,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Budget> {
        Arc::new(Budget { limit_bytes, state: Mutex::default(), is_trimming: AtomicBool::new(false) })
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_use(&self) -> MemoryUse {
        let state = self.lock();
        MemoryUse { budget_bytes: self.limit_bytes, used_bytes: state.used_bytes, ..state.counts }
    }

    /// A block was let go of.
    pub(super) fn count(&self, is_written_to: bool) {
        let counts = &mut self.lock().counts;
        *(if is_written_to { &mut counts.blocks_spilled } else { &mut counts.blocks_evicted }) += 1;
    }

    /// A number for a pager.
    pub(super) fn new_owner(&self) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        state.next
    }

    /// Room for `bytes`, without anybody giving way; `None` if there is none.
    pub(super) fn room_left(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let mut state = self.lock();
        let used = state.used_bytes.checked_add(bytes).filter(|used| *used <= self.limit_bytes)?;
        state.used_bytes = used;
        Some(Room { budget: self.clone(), bytes })
    }

    /// Room for `bytes`, over the budget if need be.
    pub(super) fn room_anyhow(self: &Arc<Self>, bytes: usize) -> Room {
        self.lock().used_bytes += bytes;
        Room { budget: self.clone(), bytes }
    }

    /// Room for `bytes`: others give way, which may take a write. Where nobody can just now the budget is exceeded:
    /// whoever waits for a page must get it.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: usize) -> Room {
        let room = self.room_anyhow(bytes);
        self.evict_while(|state| (state.used_bytes > self.limit_bytes).then(|| state.victim(self.limit_bytes))?);
        room
    }

    /// Whether more is used than may be.
    pub(super) fn is_exceeded(&self) -> bool {
        self.lock().used_bytes > self.limit_bytes
    }

    /// Whether so much is written to that it should be written ahead before somebody has to wait for it. Then it is the
    /// caller's to see to it.
    pub(super) fn is_to_be_trimmed(&self) -> bool {
        self.lock().dirty.bytes > self.limit_bytes / 4 * 3 && !self.is_trimming.swap(true, Ordering::Relaxed)
    }

    /// Writes ahead some of what was written to.
    pub(super) fn trim(&self) {
        self.evict_while(|state| (state.dirty.bytes > self.limit_bytes / 8 * 5).then(|| state.pop(Place::Dirty))?);
        self.is_trimming.store(false, Ordering::Relaxed);
    }

    fn evict_while(&self, next: impl Fn(&mut State) -> Option<Victim>) {
        let mut busy = 0;
        while busy < MOST_BUSY
            && let Some(victim) = {
                let mut state = self.lock();
                next(&mut state)
            }
        {
            // Without the lock: to let go of a block takes that of its table, under which this one is taken.
            let outcome = victim.pager.upgrade().map_or(Outcome::Gone, |pager| pager.evict(victim.block, victim.stamp));
            if outcome == Outcome::Busy {
                busy += 1;
                self.lock().put_back(victim.stamp);
            }
        }
    }

    fn uncharge(&self, stamp: u64) {
        let mut state = self.lock();
        let Some(charged) = state.charged.remove(&stamp) else { return };
        state.used_bytes -= charged.bytes;
        state.leave(charged.place, charged.bytes);
        if charged.place == Place::InHand {
            // Let go of, not given back: it may be wanted again.
            let most = state.charged.len() + REMEMBERED;
            state.gone.insert((charged.owner, charged.block), charged.returns, most);
        }
    }
}

impl State {
    fn queue(&mut self, place: Place) -> Option<&mut Queue> {
        match place {
            Place::Fresh => Some(&mut self.fresh),
            Place::Returned => Some(&mut self.returned),
            Place::Dirty => Some(&mut self.dirty),
            Place::InHand => None,
        }
    }

    fn enter(&mut self, place: Place, stamp: u64, bytes: usize) {
        let State { fresh, returned, dirty, charged, .. } = self;
        let queue = match place {
            Place::Fresh => fresh,
            Place::Returned => returned,
            Place::Dirty => dirty,
            Place::InHand => return,
        };
        queue.bytes += bytes;
        queue.blocks += 1;
        queue.stamps.push_back(stamp);
        if queue.stamps.len() > 2 * queue.blocks + REMEMBERED {
            queue.stamps.retain(|stamp| charged.get(stamp).is_some_and(|c| c.place == place));
        }
    }

    fn leave(&mut self, place: Place, bytes: usize) {
        if let Some(queue) = self.queue(place) {
            queue.bytes -= bytes;
            queue.blocks -= 1;
        }
    }

    fn victim(&mut self, limit_bytes: usize) -> Option<Victim> {
        let clean_bytes = self.fresh.bytes + self.returned.bytes;
        if clean_bytes <= limit_bytes / CLEAN_PART
            && let Some(victim) = self.pop(Place::Dirty)
        {
            return Some(victim);
        }
        let fresh_first = self.fresh.bytes > limit_bytes / FRESH_PART;
        let order = if fresh_first { [Place::Fresh, Place::Returned] } else { [Place::Returned, Place::Fresh] };
        order.into_iter().chain([Place::Dirty]).find_map(|place| self.pop(place))
    }

    /// Takes the next one of a queue in hand.
    fn pop(&mut self, place: Place) -> Option<Victim> {
        while let Some(stamp) = self.queue(place)?.stamps.pop_front() {
            let Some(charged) = self.charged.get_mut(&stamp).filter(|c| c.place == place) else { continue };
            let bytes = charged.bytes;
            if charged.credit > 0 {
                charged.credit -= 1;
                self.queue(place)?.stamps.push_back(stamp);
                continue;
            }
            charged.place = Place::InHand;
            let victim = Victim { stamp, pager: charged.pager.clone(), block: charged.block };
            self.leave(place, bytes);
            return Some(victim);
        }
        None
    }

    /// What was taken in hand and cannot be let go of now.
    fn put_back(&mut self, stamp: u64) {
        if let Some(charged) = self.charged.get_mut(&stamp).filter(|c| c.place == Place::InHand) {
            // Whatever it was: what cannot be let go of for the moment is written to, or about to be.
            charged.place = Place::Dirty;
            let bytes = charged.bytes;
            self.enter(Place::Dirty, stamp, bytes);
        }
    }
}

/// A part of the budget for what is about to come.
pub(crate) struct Room {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Room {
    /// Charges `block` of `pager` with `bytes` of this room. `dirty`: to let go of it takes a write.
    pub(super) fn charge(&mut self, pager: &Pager, block: u64, bytes: usize, dirty: bool) -> Charge {
        let mut state = self.budget.lock();
        state.counts.blocks_copied += u64::from(!dirty);
        let taken = bytes.min(self.bytes);
        self.bytes -= taken;
        state.used_bytes += bytes - taken;
        state.next += 1;
        let (stamp, owner) = (state.next, pager.owner);
        let returns = match state.gone.returns.get(&(owner, block)) {
            Some(returns) if !dirty => Some((returns + 1).min(MOST_RETURNS)),
            _ => None,
        };
        let place = match returns {
            _ if dirty => Place::Dirty,
            Some(_) => Place::Returned,
            None => Place::Fresh,
        };
        let returns = returns.unwrap_or(0);
        let pager = pager.this.clone();
        state
            .charged
            .insert(stamp, Charged { pager, owner, block, bytes, place, returns, credit: returns.saturating_sub(1) });
        state.enter(place, stamp, bytes);
        drop(state);
        Charge { budget: self.budget.clone(), stamp }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.lock().used_bytes -= self.bytes;
        }
    }
}

/// What a block in memory counts. It counts no more when this is dropped.
pub(crate) struct Charge {
    budget: Arc<Budget>,
    stamp: u64,
}

impl Charge {
    pub(super) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// From here on, to let go of it takes a write.
    pub(super) fn is_written_to(&self) {
        let mut state = self.budget.lock();
        let Some(charged) = state.charged.get_mut(&self.stamp) else { return };
        let (before, bytes) = (charged.place, charged.bytes);
        if matches!(before, Place::Fresh | Place::Returned) {
            charged.place = Place::Dirty;
            charged.credit = 0;
            state.leave(before, bytes);
            state.enter(Place::Dirty, self.stamp, bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.uncharge(self.stamp);
    }
}

impl std::fmt::Debug for Charge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Charge({})", self.stamp)
    }
}
