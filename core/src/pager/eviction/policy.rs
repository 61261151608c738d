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
use crate::pager::eviction::ghosts::{Ghost, GhostList};

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

/// The outcome of evicting a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It has no memory any more.
    Freed,
    /// It had none already.
    Gone,
    /// Not now.
    Busy,
    /// Not now, and it took as long as storage takes to say that it is unavailable.
    Unavailable,
}

/// Charged blocks, in the order in which they are to go.
#[derive(Default)]
pub(crate) struct EvictionPolicy {
    next: u64,
    /// How many blocks came: the time that the policy goes by.
    clock: u64,
    charged: HashMap<u64, Charged>,
    /// One for each [`Place`].
    queues: [Queue; 3],
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
    /// `None` while it is being evicted: it leaves, or goes back to its queue.
    place: Option<Place>,
    /// To let go of it takes a write.
    is_dirty: bool,
    /// How often it is used, by what is known, while all of memory is replaced once; 0 if it never came back.
    uses: f32,
    /// Second chances that it has left.
    chances: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Came once.
    Fresh,
    /// Came back.
    Returned,
    /// Was written to.
    Dirty,
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

    fn bytes(&self, place: Place) -> usize {
        self.queues[place as usize].bytes
    }

    /// Bytes of blocks whose eviction takes a write.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.bytes(Place::Dirty)
    }

    pub(crate) fn dirty_victim(&mut self) -> Option<Victim> {
        self.pop(Place::Dirty)
    }

    fn leave(&mut self, place: Place, bytes: usize) {
        let queue = &mut self.queues[place as usize];
        queue.bytes -= bytes;
        queue.blocks -= 1;
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
            place: None,
            is_dirty,
            uses,
            chances: (uses * CHANCES_PER_USE).min(MOST_CHANCES) as u8,
        };
        self.charged.insert(ticket, charged);
        self.put_back(ticket);
        ticket
    }

    /// It is no more. Its bytes.
    pub(crate) fn uncharge(&mut self, ticket: u64) -> usize {
        let Some(charged) = self.charged.remove(&ticket) else { return 0 };
        match charged.place {
            Some(place) => self.leave(place, charged.bytes),
            // Let go of, not given back: it may be wanted again.
            None => {
                let most = self.charged.len() + REMEMBERED;
                let ghost = Ghost { uses: charged.uses, at: self.clock };
                self.ghosts.insert((charged.owner, charged.block), ghost, most);
            }
        }
        charged.bytes
    }

    /// It takes `bytes` from here on. What it took before.
    pub(crate) fn recharge(&mut self, ticket: u64, bytes: usize) -> usize {
        let Some(charged) = self.charged.get_mut(&ticket) else { return bytes };
        let before = std::mem::replace(&mut charged.bytes, bytes);
        if let Some(place) = charged.place {
            let queue = &mut self.queues[place as usize];
            queue.bytes = queue.bytes - before + bytes;
        }
        before
    }

    /// From here on, to let go of it takes a write.
    pub(crate) fn is_written_to(&mut self, ticket: u64) {
        let Some(charged) = self.charged.get_mut(&ticket) else { return };
        charged.is_dirty = true;
        let bytes = charged.bytes;
        if let Some(before) = charged.place.take_if(|place| *place != Place::Dirty) {
            self.leave(before, bytes);
            self.put_back(ticket);
        }
    }

    /// The next one to give way, of a memory of `limit_bytes`. It is the caller's to uncharge it, or to put it back.
    pub(crate) fn victim(&mut self, limit_bytes: usize) -> Option<Victim> {
        if !self.clean_give_way(limit_bytes)
            && let Some(victim) = self.pop(Place::Dirty)
        {
            return Some(victim);
        }
        self.clean_order(limit_bytes).into_iter().chain([Place::Dirty]).find_map(|place| self.pop(place))
    }

    /// The same, but a clean one that came before the one with the ticket `spared`, if a clean one is next.
    pub(crate) fn clean_victim(&mut self, limit_bytes: usize, spared: u64) -> Option<Victim> {
        if !self.clean_give_way(limit_bytes) {
            return None;
        }
        self.clean_order(limit_bytes).into_iter().find_map(|place| self.pop_before(place, spared))
    }

    /// Whether clean blocks take so much that they give way first.
    fn clean_give_way(&self, limit_bytes: usize) -> bool {
        let kept_clean = (limit_bytes / CLEAN_PART).max(LEAST_CLEAN.min(limit_bytes / 2));
        self.bytes(Place::Fresh) + self.bytes(Place::Returned) > kept_clean
    }

    fn clean_order(&self, limit_bytes: usize) -> [Place; 2] {
        let fresh_first = self.bytes(Place::Fresh) > limit_bytes / FRESH_PART;
        if fresh_first { [Place::Fresh, Place::Returned] } else { [Place::Returned, Place::Fresh] }
    }

    /// Takes the next one of a queue in hand.
    fn pop(&mut self, place: Place) -> Option<Victim> {
        self.pop_before(place, u64::MAX)
    }

    /// The same, if its ticket is before `spared`.
    fn pop_before(&mut self, place: Place, spared: u64) -> Option<Victim> {
        let queue = &mut self.queues[place as usize];
        while let Some(ticket) = queue.tickets.pop_front() {
            let Some(charged) = self.charged.get_mut(&ticket).filter(|c| c.place == Some(place)) else { continue };
            if ticket >= spared {
                queue.tickets.push_front(ticket);
                return None;
            }
            if charged.chances > 0 && place == Place::Returned {
                charged.chances -= 1;
                queue.tickets.push_back(ticket);
                continue;
            }
            charged.place = None;
            let (victim, bytes) =
                (Victim { ticket, pager: charged.pager.clone(), block: charged.block }, charged.bytes);
            self.leave(place, bytes);
            return Some(victim);
        }
        None
    }

    /// To the end of the queue that it belongs to.
    pub(crate) fn put_back(&mut self, ticket: u64) {
        let Some(charged) = self.charged.get_mut(&ticket).filter(|c| c.place.is_none()) else { return };
        let place = match charged.uses > 0.0 {
            _ if charged.is_dirty => Place::Dirty,
            true => Place::Returned,
            false => Place::Fresh,
        };
        charged.place = Some(place);
        let queue = &mut self.queues[place as usize];
        queue.bytes += charged.bytes;
        queue.blocks += 1;
        queue.tickets.push_back(ticket);
        if queue.tickets.len() > 2 * queue.blocks + REMEMBERED {
            queue.tickets.retain(|ticket| self.charged.get(ticket).is_some_and(|c| c.place == Some(place)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bigarray_testing::Rng;

    /// What would be in memory, of blocks that are one byte each, and how many loads that took.
    struct Memory {
        policy: EvictionPolicy,
        limit: usize,
        there: HashMap<u64, u64>,
        loads: usize,
    }

    impl Memory {
        fn new(limit: usize) -> Memory {
            Memory { policy: EvictionPolicy::default(), limit, there: HashMap::new(), loads: 0 }
        }

        fn read(&mut self, block: u64) {
            if self.there.contains_key(&block) {
                return; // no policy sees that
            }
            self.loads += 1;
            while self.there.len() >= self.limit {
                let victim = self.policy.victim(self.limit).expect("a block can give way");
                assert_eq!(self.there.remove(&victim.block), Some(victim.ticket));
                self.policy.uncharge(victim.ticket);
            }
            self.there.insert(block, self.policy.charge(Weak::new(), 1, block, 1, false));
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
                memory.policy.is_written_to(*ticket);
            }
        }
        let EvictionPolicy { charged, queues, ghosts, .. } = &memory.policy;
        assert!(charged.len() <= 16, "{}", charged.len());
        let queued = queues.iter().map(|queue| queue.tickets.len()).max();
        assert!(queued <= Some(2 * 16 + REMEMBERED + 1), "{queued:?}");
        let (remembered, entries) = ghosts.sizes();
        assert!(remembered <= 16 + REMEMBERED && entries <= 2 * (16 + REMEMBERED) + 1, "{remembered}, {entries}");
        assert_eq!(queues.iter().map(|queue| queue.blocks).sum::<usize>(), charged.len());
    }

    #[test]
    fn clean_blocks_keep_an_eighth_of_the_budget_or_16_mib_but_no_more_than_half() {
        let mib = 1 << 20;
        for (limit, kept) in [(1024, 128), (64, 16), (16, 8)] {
            let mut policy = EvictionPolicy::default();
            let dirty = policy.charge(Weak::new(), 1, 0, mib, true);
            (1..=limit).for_each(|block| _ = policy.charge(Weak::new(), 1, block, mib, false));
            let mut clean = limit;
            while let victim = policy.victim(limit as usize * mib).unwrap()
                && victim.ticket != dirty
            {
                policy.uncharge(victim.ticket);
                clean -= 1;
            }
            assert_eq!(clean, kept, "MiB of clean blocks, of a budget of {limit}");
        }
    }

    #[test]
    fn without_a_block_that_was_written_to_every_clean_one_goes() {
        let mut policy = EvictionPolicy::default();
        (0..4).for_each(|block| _ = policy.charge(Weak::new(), 1, block, 1 << 20, false));
        assert_eq!((0..5).filter_map(|_| policy.victim(64 << 20)).count(), 4);
    }

    #[test]
    fn what_cannot_be_let_go_of_goes_back_to_where_it_was_unless_it_was_written_to_meanwhile() {
        let mut policy = EvictionPolicy::default();
        let tickets: Vec<u64> = (0..2).map(|block| policy.charge(Weak::new(), 1, block, 1, false)).collect();
        for _ in 0..2 {
            policy.pop(Place::Fresh).unwrap();
        }
        policy.is_written_to(tickets[1]);
        tickets.iter().for_each(|ticket| policy.put_back(*ticket));
        assert_eq!(policy.queues.map(|queue| queue.blocks), [1, 0, 1]);
    }
}
