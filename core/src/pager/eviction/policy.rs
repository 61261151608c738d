//! The eviction policy: which block goes where memory is short.
//!
//! No access to a block that is in memory can be seen, only the fault that brings it in. What a policy can go by is how
//! soon a block comes back after it was let go of. So there is a queue for blocks that came once (a scan passes through
//! it and disturbs no other block, as in 2Q, Johnson and Shasha 1994), one for those that came back, which are passed
//! over the more often the sooner they did, and a memory of those that were let go of lately. Blocks that were written
//! to cost a write, and go in the order in which they came.

use std::collections::{HashMap, VecDeque};
use std::sync::Weak;

use crate::pager::Pager;

/// Blocks that came once give way before those that came back only where they take more than this part of the budget. It
/// is more than readahead takes, and leaves most of the budget to blocks that come back.
const FRESH_PART: usize = 6;

/// Clean blocks give way first while they take more than this part of the budget. The rest stays theirs, so that reads go
/// on while other threads write.
const CLEAN_PART: usize = 8;

/// Or more than so many bytes, at most half of the budget: a few blocks for as many readers.
const LEAST_CLEAN: usize = 16 << 20;

/// Second chances that a returning block gets per estimated use per turnover of the cache.
const CHANCES_PER_USE: f32 = 8.0;

/// No block has more of them: the work that used it may be over.
const MOST_CHANCES: f32 = 64.0;

/// Blocks let go of that are remembered, beside as many as are in memory.
const REMEMBERED: usize = 1024;

/// The memory of their own that the spans of an engine have, and what it took to stay within the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// The budget in bytes; `usize::MAX` if there is none.
    pub budget_bytes: usize,
    /// Charged to it at present: copied blocks whole, zero memory as if all of it were written to.
    pub used_bytes: usize,
    /// Blocks copied into memory so far: produced, or read back from where they were spilled.
    pub blocks_copied: u64,
    /// Blocks let go of so far that were not written to.
    pub blocks_evicted: u64,
    /// Blocks let go of so far that were written to; what of them had changed was spilled.
    pub blocks_spilled: u64,
}

/// The outcome of evicting a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has no memory any more.
    Freed,
    /// It had none already.
    Gone,
    /// Not now.
    Busy,
}

/// Charged blocks, in the order in which they are to go.
#[derive(Default)]
pub(crate) struct EvictionPolicy {
    pub(crate) counts: MemoryUse,
    /// Charged, or about to be.
    pub(crate) used_bytes: usize,
    next: u64,
    /// How many blocks came: the time that the policy goes by.
    clock: u64,
    charged: HashMap<u64, Charged>,
    fresh: Queue,
    returned: Queue,
    dirty: Queue,
    ghosts: GhostList,
}

/// Tickets in the order in which they go. Those of blocks that left the queue stay, and are passed over.
#[derive(Default)]
struct Queue {
    tickets: VecDeque<u64>,
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
    /// To let go of it takes a write.
    is_dirty: bool,
    /// How often it is used, by what is known, while all of memory is replaced once; 0 if it never came back.
    uses: f32,
    /// Second chances that it has left.
    chances: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Fresh,
    Returned,
    Dirty,
    /// Being evicted: it leaves, or goes back to its queue.
    BeingEvicted,
}

/// Blocks evicted lately.
#[derive(Default)]
struct GhostList {
    blocks: HashMap<(u64, u64), Ghost>,
    /// In the order in which they went. Those that came back, or went again, stay, and are passed over.
    order: VecDeque<((u64, u64), u64)>,
}

/// A block that was evicted lately: what is known of it.
#[derive(Clone, Copy)]
struct Ghost {
    uses: f32,
    /// How many blocks had come when it went.
    at: u64,
}

impl GhostList {
    /// Forgets a block that came back.
    fn take(&mut self, block: (u64, u64)) -> Option<Ghost> {
        self.blocks.remove(&block)
    }

    fn insert(&mut self, block: (u64, u64), ghost: Ghost, most: usize) {
        self.blocks.insert(block, ghost);
        self.order.push_back((block, ghost.at));
        let GhostList { blocks, order } = self;
        if order.len() > 2 * most {
            order.retain(|(block, at)| blocks.get(block).is_some_and(|ghost| ghost.at == *at));
        }
        while blocks.len() > most
            && let Some((oldest, at)) = order.pop_front()
        {
            if blocks.get(&oldest).is_some_and(|ghost| ghost.at == at) {
                blocks.remove(&oldest);
            }
        }
    }
}

/// The block that is to be evicted.
pub(crate) struct Victim {
    pub(crate) ticket: u64,
    pub(crate) pager: Weak<Pager>,
    pub(crate) block: u64,
}

impl EvictionPolicy {
    /// A number that was never given before.
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Bytes of blocks whose eviction takes a write.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.bytes
    }

    pub(crate) fn dirty_victim(&mut self) -> Option<Victim> {
        self.pop(Place::Dirty)
    }

    fn queue(&mut self, place: Place) -> Option<&mut Queue> {
        match place {
            Place::Fresh => Some(&mut self.fresh),
            Place::Returned => Some(&mut self.returned),
            Place::Dirty => Some(&mut self.dirty),
            Place::BeingEvicted => None,
        }
    }

    fn enter(&mut self, place: Place, ticket: u64, bytes: usize) {
        let EvictionPolicy { fresh, returned, dirty, charged, .. } = self;
        let queue = match place {
            Place::Fresh => fresh,
            Place::Returned => returned,
            Place::Dirty => dirty,
            Place::BeingEvicted => return,
        };
        queue.bytes += bytes;
        queue.blocks += 1;
        queue.tickets.push_back(ticket);
        if queue.tickets.len() > 2 * queue.blocks + REMEMBERED {
            queue.tickets.retain(|ticket| charged.get(ticket).is_some_and(|c| c.place == place));
        }
    }

    fn leave(&mut self, place: Place, bytes: usize) {
        if let Some(queue) = self.queue(place) {
            queue.bytes -= bytes;
            queue.blocks -= 1;
        }
    }

    /// A block is in memory.
    pub(crate) fn charge(&mut self, pager: Weak<Pager>, owner: u64, block: u64, bytes: usize, is_dirty: bool) -> u64 {
        let ticket = self.number();
        self.clock += 1;
        let uses = self.ghosts.take((owner, block)).map_or(0.0, |ghost| {
            let now = self.charged.len().max(1) as f32 / (self.clock - ghost.at) as f32;
            if ghost.uses > 0.0 { f32::midpoint(ghost.uses, now) } else { now }
        });
        let charged = Charged {
            pager,
            owner,
            block,
            bytes,
            place: Place::BeingEvicted,
            is_dirty,
            uses,
            chances: (uses * CHANCES_PER_USE).min(MOST_CHANCES) as u8,
        };
        self.charged.insert(ticket, charged);
        self.put_back(ticket);
        ticket
    }

    /// It is no more.
    pub(crate) fn uncharge(&mut self, ticket: u64) {
        let Some(charged) = self.charged.remove(&ticket) else { return };
        self.used_bytes -= charged.bytes;
        self.leave(charged.place, charged.bytes);
        if charged.place == Place::BeingEvicted {
            // Let go of, not given back: it may be wanted again.
            let most = self.charged.len() + REMEMBERED;
            let ghost = Ghost { uses: charged.uses, at: self.clock };
            self.ghosts.insert((charged.owner, charged.block), ghost, most);
        }
    }

    /// From here on, to let go of it takes a write.
    pub(crate) fn is_written_to(&mut self, ticket: u64) {
        let Some(charged) = self.charged.get_mut(&ticket) else { return };
        let (before, bytes) = (charged.place, charged.bytes);
        charged.is_dirty = true;
        if matches!(before, Place::Fresh | Place::Returned) {
            charged.place = Place::BeingEvicted;
            self.leave(before, bytes);
            self.put_back(ticket);
        }
    }

    /// The next one to give way, of a memory of `limit_bytes`. It is the caller's to uncharge it, or to put it back.
    pub(crate) fn victim(&mut self, limit_bytes: usize) -> Option<Victim> {
        let clean_bytes = self.fresh.bytes + self.returned.bytes;
        let kept_clean = (limit_bytes / CLEAN_PART).max(LEAST_CLEAN.min(limit_bytes / 2));
        if clean_bytes <= kept_clean
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
        while let Some(ticket) = self.queue(place)?.tickets.pop_front() {
            let Some(charged) = self.charged.get_mut(&ticket).filter(|c| c.place == place) else { continue };
            let bytes = charged.bytes;
            if charged.chances > 0 && place == Place::Returned {
                charged.chances -= 1;
                self.queue(place)?.tickets.push_back(ticket);
                continue;
            }
            charged.place = Place::BeingEvicted;
            let victim = Victim { ticket, pager: charged.pager.clone(), block: charged.block };
            self.leave(place, bytes);
            return Some(victim);
        }
        None
    }

    /// To the end of the queue that it belongs to.
    pub(crate) fn put_back(&mut self, ticket: u64) {
        if let Some(charged) = self.charged.get_mut(&ticket).filter(|c| c.place == Place::BeingEvicted) {
            charged.place = match charged.uses > 0.0 {
                _ if charged.is_dirty => Place::Dirty,
                true => Place::Returned,
                false => Place::Fresh,
            };
            let (place, bytes) = (charged.place, charged.bytes);
            self.enter(place, ticket, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bigarray_testing::Rng;

    /// What would be in memory, of blocks that are one byte each, and how many loads that took.
    struct Memory {
        state: EvictionPolicy,
        limit: usize,
        there: HashMap<u64, u64>,
        loads: usize,
    }

    impl Memory {
        fn new(limit: usize) -> Memory {
            Memory { state: EvictionPolicy::default(), limit, there: HashMap::new(), loads: 0 }
        }

        fn read(&mut self, block: u64) {
            if self.there.contains_key(&block) {
                return; // no policy sees that
            }
            self.loads += 1;
            self.state.used_bytes += 1;
            while self.state.used_bytes > self.limit {
                let victim = self.state.victim(self.limit).expect("a block can give way");
                assert_eq!(self.there.remove(&victim.block), Some(victim.ticket));
                self.state.uncharge(victim.ticket);
            }
            self.there.insert(block, self.state.charge(Weak::new(), 1, block, 1, false));
        }
    }

    /// Loads of a first-in, first-out memory.
    fn fifo(limit: usize, reads: &[u64]) -> usize {
        let (mut order, mut there, mut loads) = (VecDeque::new(), std::collections::HashSet::new(), 0);
        for &block in reads {
            if there.insert(block) {
                loads += 1;
                order.push_back(block);
                if order.len() > limit {
                    there.remove(&order.pop_front().unwrap());
                }
            }
        }
        loads
    }

    fn loads(limit: usize, reads: &[u64]) -> usize {
        let mut memory = Memory::new(limit);
        reads.iter().for_each(|&block| memory.read(block));
        memory.loads
    }

    /// Zipf-distributed numbers below `n`, the most frequent ones anywhere among them.
    fn zipf(n: u64, exponent: f64, count: usize, seed: u64) -> Vec<u64> {
        let mut sums = Vec::new();
        let mut sum = 0.0;
        for rank in 1..=n {
            sum += (rank as f64).powf(-exponent);
            sums.push(sum);
        }
        let mut rng = Rng::new(seed);
        (0..count)
            .map(|_| {
                let drawn = (rng.draw() >> 11) as f64 / (1u64 << 53) as f64 * sum;
                sums.partition_point(|sum| *sum < drawn) as u64 * 7919 % n
            })
            .collect()
    }

    #[test]
    fn zipf_distributed_reads_need_clearly_fewer_loads_than_first_in_first_out() {
        for (n, limit) in [(2048, 64), (2048, 256), (65536, 2048)] {
            for exponent in [0.8, 1.0, 1.2] {
                let reads = zipf(n, exponent, 60_000, 1);
                let (plain, ours) = (fifo(limit, &reads), loads(limit, &reads));
                let most = plain * if exponent < 1.0 { 93 } else { 88 } / 100;
                assert!(ours <= most, "{limit} of {n}, exponent {exponent}: {ours} loads, by plain FIFO {plain}");
            }
        }
    }

    /// Half of the reads are of few blocks, the others go through many, again and again.
    #[test]
    fn a_scan_does_not_push_out_what_comes_back_again_and_again() {
        for (hot, limit, scan) in [(32, 64, 3000), (48, 64, 1000), (400, 512, 5000)] {
            let mut rng = Rng::new(3);
            let reads: Vec<u64> =
                (0..3 * scan).flat_map(|at| [1000 + at % scan, rng.below(hot as usize) as u64]).collect();
            let by_the_scan = 3 * scan as usize;
            let (plain, ours) = (fifo(limit, &reads) - by_the_scan, loads(limit, &reads));
            let others = ours.saturating_sub(by_the_scan);
            assert!(others <= plain / 4, "{hot} hot of {limit}, scan of {scan}: {others} loads, by plain FIFO {plain}");
        }
    }

    #[test]
    fn a_new_working_set_gets_the_memory_of_the_old() {
        let mut memory = Memory::new(64);
        for round in 0..10 {
            let mut rng = Rng::new(round);
            for _ in 0..5000 {
                memory.read(round * 100 + rng.below(48) as u64);
            }
        }
        assert!(memory.loads <= 10 * 48 * 2, "{}", memory.loads);
    }

    #[test]
    fn what_is_remembered_does_not_grow_with_what_was_read() {
        let mut memory = Memory::new(16);
        let mut rng = Rng::new(1);
        for _ in 0..50_000 {
            memory.read(rng.below(4000) as u64);
            if let Some(ticket) = memory.there.get(&(rng.below(4000) as u64)) {
                memory.state.is_written_to(*ticket);
            }
        }
        let EvictionPolicy { charged, fresh, returned, dirty, ghosts, .. } = &memory.state;
        assert!(charged.len() <= 16 && ghosts.blocks.len() <= 16 + REMEMBERED);
        let queued = [fresh, returned, dirty].iter().map(|queue| queue.tickets.len()).max();
        assert!(queued <= Some(2 * 16 + REMEMBERED + 1), "{queued:?}");
        assert!(ghosts.order.len() <= 2 * (16 + REMEMBERED) + 1, "{}", ghosts.order.len());
        assert_eq!(fresh.blocks + returned.blocks + dirty.blocks, charged.len());
    }

    #[test]
    fn what_cannot_be_let_go_of_goes_back_to_where_it_was_unless_it_was_written_to_meanwhile() {
        let mut state = EvictionPolicy::default();
        let tickets: Vec<u64> = (0..2).map(|block| state.charge(Weak::new(), 1, block, 1, false)).collect();
        for _ in 0..2 {
            state.pop(Place::Fresh).unwrap();
        }
        state.is_written_to(tickets[1]);
        tickets.iter().for_each(|ticket| state.put_back(*ticket));
        assert_eq!((state.fresh.blocks, state.dirty.blocks), (1, 1));
    }
}
