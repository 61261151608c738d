//! The unused pages of a claim. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::alloc::Pages;

/// Ranges of pages, none adjacent to another: pages that are given back join the ranges beside them.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// Start → pages.
    by_start: BTreeMap<u64, u64>,
    /// (Pages, start): the shortest range that fits, and of those the first, is used first. So pages that were given back are
    /// used before untouched ones, and these are filled front to back.
    by_length: BTreeSet<(u64, u64)>,
}

impl Unused {
    /// Adds pages, none of which may be in it.
    pub(super) fn add(&mut self, mut pages: Pages) {
        if pages.is_empty() {
            return;
        }
        let before = self.by_start.range(..pages.start).next_back().map(|(start, n)| *start..start + n);
        if let Some(before) = before.filter(|before| before.end == pages.start) {
            self.remove(&before);
            pages.start = before.start;
        }
        if let Some(n) = self.by_start.get(&pages.end).copied() {
            let behind = pages.end..pages.end + n;
            self.remove(&behind);
            pages.end = behind.end;
        }
        self.insert(&pages);
    }

    /// Takes `n` consecutive pages, which may lie in two chunks.
    pub(super) fn take(&mut self, n: u64) -> Option<Pages> {
        let (length, start) = self.by_length.range((n, 0)..).next().copied()?;
        Some(self.take_front(&(start..start + length), n))
    }

    /// Takes `n` pages, from ranges of `least` pages or longer, the longest first. `None`, and takes none, if there are too
    /// few.
    pub(super) fn take_many(&mut self, mut n: u64, least: u16) -> Option<Vec<Pages>> {
        if self.in_ranges_of(least) < n {
            return None;
        }
        let mut taken = Vec::new();
        while n > 0
            && let Some(&(length, start)) = self.by_length.last()
        {
            taken.push(self.take_front(&(start..start + length), n.min(length)));
            n -= n.min(length);
        }
        Some(taken)
    }

    /// Pages in ranges of `least` pages or longer.
    pub(super) fn in_ranges_of(&self, least: u16) -> u64 {
        self.by_length.range((u64::from(least), 0)..).map(|(length, _)| length).sum()
    }

    fn take_front(&mut self, of: &Pages, n: u64) -> Pages {
        self.remove(of);
        let (taken, rest) = (of.start..of.start + n, of.start + n..of.end);
        if !rest.is_empty() {
            self.insert(&rest);
        }
        taken
    }

    fn insert(&mut self, pages: &Pages) {
        self.by_start.insert(pages.start, pages.end - pages.start);
        self.by_length.insert((pages.end - pages.start, pages.start));
    }

    fn remove(&mut self, pages: &Pages) {
        self.by_start.remove(&pages.start);
        self.by_length.remove(&(pages.end - pages.start, pages.start));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn untouched_pages_are_filled_front_to_back_and_pages_given_back_are_used_first() {
        let mut unused = Unused::default();
        unused.add(512..2048);
        assert_eq!(
            (unused.take(100), unused.take(16), unused.take(1)),
            (Some(512..612), Some(612..628), Some(628..629))
        );
        unused.add(612..628);
        assert_eq!((unused.take(16), unused.take(16)), (Some(612..628), Some(629..645)));
        // A longer range is split only if none fits.
        unused.add(512..612);
        assert_eq!(
            (unused.take(40), unused.take(60), unused.take(1)),
            (Some(512..552), Some(552..612), Some(645..646))
        );
        assert_eq!(unused.take(2000), None);
    }

    #[test]
    fn many_pages_come_in_long_pieces_or_not_at_all() {
        let mut unused = Unused::default();
        unused.add(0..100);
        unused.add(512..1024);
        unused.add(5120..6144);
        assert_eq!(unused.take_many(1537, 512), None);
        assert_eq!(unused.take_many(1100, 512), Some(vec![5120..6144, 512..588]));
        assert_eq!(unused.take(436), Some(588..1024));
    }

    proptest! {
        #[test]
        fn no_page_is_taken_twice_or_lost(ops in proptest::collection::vec((1..600_u64, any::<usize>()), 1..200)) {
            let mut unused = Unused::default();
            unused.add(0..4096);
            unused.add(8192..9000);
            let mut held: Vec<Pages> = Vec::new();
            for (n, which) in ops {
                match unused.take(n) {
                    Some(pages) if which % 3 > 0 || held.is_empty() => {
                        prop_assert_eq!(pages.end - pages.start, n);
                        prop_assert!(held.iter().all(|h| h.end <= pages.start || pages.end <= h.start));
                        held.push(pages);
                    }
                    taken => {
                        taken.into_iter().for_each(|pages| unused.add(pages));
                        if !held.is_empty() {
                            unused.add(held.swap_remove(which % held.len()));
                        }
                    }
                }
            }
            held.drain(..).for_each(|pages| unused.add(pages));
            prop_assert_eq!((unused.take(4096), unused.take(808), unused.take(1)), (Some(0..4096), Some(8192..9000), None));
        }
    }
}
