//! How many mappings a process has, and may have.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// What the kernel allows where it does not say.
const DEFAULT_MAX_MAP_COUNT: usize = 65530;

/// Changes after which mappings near the limit are counted exactly: counting reads a line for each mapping.
const RECOUNT_NEAR: usize = 64;

/// Changes after which they are counted far from the limit too, and refusals after which they are counted again: other
/// code of the process maps and unmaps as well.
const RECOUNT_FAR: usize = 4096;

/// Knows about how many mappings the process has.
pub(crate) struct MappingCount {
    limit: usize,
    estimate: &'static Estimate,
}

/// About how many mappings there are. Atomic numbers rather than a lock, which a fork might leave locked in the child.
///
/// Racy by design: a concurrent install counts twice, or is missed until the next recount; the fifth of the limit that
/// is left free covers both.
///
/// The number must not stay too high: blocks would be copied instead of mapped for ever, since copying changes nothing
/// that is counted here. Three rules prevent that:
///
/// - A count may have seen mappings that went after it began. So unmapping raises `doubts` when the mappings are gone,
///   and a count carries the `doubts` from before it began. A count that says that nothing fits is believed only if
///   `doubts` is still the same. That holds for any number of counts at once, published in any order, since a count and
///   its doubts are one word.
/// - A thread that counts goes by its own count, even if an older one is published over it at once.
/// - Mappings of other code come and go unseen: a count that says that nothing fits is repeated after [`RECOUNT_FAR`]
///   refusals.
struct Estimate {
    /// The last count, and the doubts from before it: see [`Count`].
    counted: AtomicU64,
    /// Operations since that may have added two mappings each: the new one, and the rest of the one it splits.
    installs: AtomicUsize,
    /// Questions since that were answered with no.
    refusals: AtomicUsize,
    /// How many times a count became doubtful: ranges were given back, or the system refused.
    doubts: AtomicU32,
}

/// A number of mappings, and how many doubts there had been before it was counted.
#[derive(Clone, Copy)]
struct Count {
    mappings: u32,
    doubts: u32,
}

impl Count {
    fn to_word(self) -> u64 {
        u64::from(self.mappings) << 32 | u64::from(self.doubts)
    }

    fn of_word(word: u64) -> Count {
        Count { mappings: (word >> 32) as u32, doubts: word as u32 }
    }
}

/// One for all memories, since the limit is one: each on its own, several would go past it together.
static PROCESS: Estimate = Estimate::new();

impl Estimate {
    const fn new() -> Estimate {
        Estimate {
            counted: AtomicU64::new(0),
            installs: AtomicUsize::new(0),
            refusals: AtomicUsize::new(0),
            doubts: AtomicU32::new(0),
        }
    }

    /// Counts, and publishes that.
    fn count(&self) -> Count {
        let doubts = self.doubts.load(Ordering::SeqCst);
        self.installs.store(0, Ordering::Relaxed);
        self.refusals.store(0, Ordering::Relaxed);
        let count = Count { mappings: u32::try_from(mappings()).unwrap_or(u32::MAX), doubts };
        self.publish(count);
        count
    }

    fn publish(&self, count: Count) {
        self.counted.store(count.to_word(), Ordering::SeqCst);
    }

    fn last(&self) -> Count {
        Count::of_word(self.counted.load(Ordering::SeqCst))
    }

    /// The doubts until now; there is another one from here on.
    fn doubt(&self) -> u32 {
        self.doubts.fetch_add(1, Ordering::SeqCst)
    }

    fn fits(&self, count: Count, n: usize, limit: usize) -> bool {
        let installs = self.installs.load(Ordering::Relaxed);
        (count.mappings as usize).saturating_add(2 * installs).saturating_add(n) <= limit
    }

    /// Whether to count again, as it `fits` or not by this count.
    fn must_recount(&self, count: Count, fits: bool) -> bool {
        let installs = self.installs.load(Ordering::Relaxed);
        if fits {
            return installs >= RECOUNT_FAR;
        }
        let is_doubted = count.doubts != self.doubts.load(Ordering::SeqCst);
        is_doubted || installs >= RECOUNT_NEAR || self.refusals.fetch_add(1, Ordering::Relaxed) >= RECOUNT_FAR
    }
}

impl MappingCount {
    pub(crate) fn new(max_mappings: Option<usize>) -> MappingCount {
        MappingCount::with(max_mappings.unwrap_or_else(|| max_map_count() / 5 * 4), &PROCESS)
    }

    fn with(limit: usize, estimate: &'static Estimate) -> MappingCount {
        estimate.count();
        MappingCount { limit, estimate }
    }

    /// Mappings beyond which none is to be made.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A mapping was laid over a part of another one.
    pub(crate) fn installed(&self) {
        self.estimate.installs.fetch_add(1, Ordering::Relaxed);
    }

    /// Many mappings may have gone: to be called when they have, not before.
    pub(crate) fn released(&self) {
        self.estimate.doubt();
    }

    /// The system refused a mapping: others have taken more than was thought.
    pub(crate) fn refused(&self) {
        let doubts = self.estimate.doubt();
        self.estimate.publish(Count { mappings: u32::MAX, doubts });
    }

    /// Whether about `n` more fit.
    pub(crate) fn has_room_for(&self, n: usize) -> bool {
        let last = self.estimate.last();
        let fits = self.estimate.fits(last, n, self.limit);
        match self.estimate.must_recount(last, fits) {
            true => self.estimate.fits(self.estimate.count(), n, self.limit),
            false => fits,
        }
    }
}

/// `vm.max_map_count`.
pub(crate) fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAP_COUNT)
}

/// The mappings of this process: lines of `/proc/self/maps`. Where that cannot be read nothing is known, and nothing
/// is held against more of them.
pub(crate) fn mappings() -> usize {
    let Ok(mut maps) = File::open("/proc/self/maps") else { return 0 };
    let mut buffer = vec![0; 64 << 10];
    let mut lines = 0;
    loop {
        match maps.read(&mut buffer) {
            Ok(0) | Err(_) => return lines,
            Ok(n) => lines += buffer[..n].iter().filter(|&&byte| byte == b'\n').count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(limit: usize) -> MappingCount {
        // Other tests of the process change its own.
        MappingCount::with(limit, Box::leak(Box::new(Estimate::new())))
    }

    #[test]
    fn an_estimate_near_the_limit_is_replaced_by_a_count() {
        let count = count(mappings() + 10_000);
        assert!(count.has_room_for(1000));
        for _ in 0..5000 {
            count.installed();
        }
        // Estimated 10,000 more; in truth nothing was mapped.
        assert!(count.has_room_for(1000));
        assert_eq!(count.estimate.installs.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_process_at_its_limit_has_no_room() {
        let count = count(1);
        assert!(!count.has_room_for(1));
        count.released();
        assert!(!count.has_room_for(1));
    }

    #[test]
    fn a_refusal_is_believed_until_the_next_count_says_otherwise() {
        let count = count(mappings() + 10_000);
        count.refused();
        assert!(!count.estimate.fits(count.estimate.last(), 1, count.limit));
        assert!(count.has_room_for(1));
    }

    /// It stayed too high, and all that was loaded from then on was copied: a span was on its way out when another
    /// memory counted its mappings.
    #[test]
    fn mappings_that_go_while_another_counts_are_not_held_against_anyone() {
        let count = count(mappings() + 10_000);
        let of_doubts = |doubts| Count { mappings: u32::MAX - 1, doubts };
        // The other has begun, and counts what is given back before it has ended.
        let begun = count.estimate.doubts.load(Ordering::SeqCst);
        count.released();
        count.estimate.publish(of_doubts(begun));
        assert!(count.has_room_for(1000));
        // The same, where a third counts in between: its count is right, and overwritten.
        let begun = count.estimate.doubts.load(Ordering::SeqCst);
        count.released();
        count.estimate.count();
        count.estimate.publish(of_doubts(begun));
        assert!(count.has_room_for(1000));
        // One that began when they were gone is believed.
        count.estimate.publish(of_doubts(count.estimate.doubts.load(Ordering::SeqCst)));
        assert!(!count.has_room_for(1000));
        count.released();
        assert!(count.has_room_for(1000));
    }

    /// They do not say when they unmap.
    #[test]
    fn room_that_others_give_back_is_found_after_a_while() {
        let count = count(mappings() + 10_000);
        count.estimate.publish(Count { mappings: u32::MAX, doubts: 0 });
        let refused = (0..2 * RECOUNT_FAR).take_while(|_| !count.has_room_for(1000)).count();
        assert_eq!(refused, RECOUNT_FAR);
    }

    #[test]
    fn what_one_memory_maps_is_known_to_the_others() {
        let estimate = Box::leak(Box::new(Estimate::new()));
        let [one, other] = [(); 2].map(|()| MappingCount::with(mappings() + 10_000, estimate));
        (0..4000).for_each(|_| one.installed());
        assert!(!other.estimate.fits(other.estimate.last(), 5000, other.limit));
    }
}
