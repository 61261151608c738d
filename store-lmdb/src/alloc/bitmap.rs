//! The free pages of one chunk.

use super::{CHUNK_PAGES, Run};

const WORDS: usize = CHUNK_PAGES as usize / 64;

/// One bit a page, page 0 the lowest bit of the first word; a set bit is a free page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bitmap([u64; WORDS]);

impl Bitmap {
    /// Bytes of a stored bitmap.
    pub(crate) const BYTES: usize = WORDS * 8;

    /// The size class of a wholly free chunk.
    pub(crate) const WHOLE: u8 = CHUNK_PAGES.trailing_zeros() as u8;

    /// No page free.
    pub(crate) const EMPTY: Bitmap = Bitmap([0; WORDS]);

    /// Every page free.
    pub(crate) const FULL: Bitmap = Bitmap([u64::MAX; WORDS]);

    /// As stored: words in order, little-endian.
    pub(crate) fn to_bytes(self) -> [u8; Bitmap::BYTES] {
        let mut bytes = [0; Bitmap::BYTES];
        for (to, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Decodes [`to_bytes`](Bitmap::to_bytes).
    pub(crate) fn from_bytes(bytes: &[u8; Bitmap::BYTES]) -> Bitmap {
        let mut words = [0; WORDS];
        for (word, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*from);
        }
        Bitmap(words)
    }

    /// Whether no page is free.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Bitmap::EMPTY
    }

    /// How many pages are free.
    pub(crate) fn count(&self) -> u16 {
        self.0.iter().map(|word| word.count_ones() as u16).sum()
    }

    /// Whether all pages of the run are free.
    pub(crate) fn has_all(&self, run: &Run) -> bool {
        self.masks(run).all(|(i, mask)| self.0[i] & mask == mask)
    }

    /// Whether any page of the run is free.
    pub(crate) fn has_any(&self, run: &Run) -> bool {
        self.masks(run).any(|(i, mask)| self.0[i] & mask != 0)
    }

    /// Makes the pages of the run free.
    pub(crate) fn add(&mut self, run: &Run) {
        for (i, mask) in self.masks(run) {
            self.0[i] |= mask;
        }
    }

    /// Takes the pages of the run.
    pub(crate) fn remove(&mut self, run: &Run) {
        for (i, mask) in self.masks(run) {
            self.0[i] &= !mask;
        }
    }

    /// The runs of free pages, as (first page, pages), ascending.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let bits = *self;
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = bits.next(from, true)?;
            let end = bits.next(first, false).unwrap_or(CHUNK_PAGES);
            from = end;
            Some((first, end - first))
        })
    }

    /// The shortest run of at least `pages` free pages, the first of several, as (first page, pages).
    pub(crate) fn best_fit(&self, pages: u16) -> Option<(u16, u16)> {
        self.runs().filter(|(_, n)| *n >= pages).min_by_key(|(_, n)| *n)
    }

    /// The longest run of free pages, the first of several, as (first page, pages).
    pub(crate) fn longest(&self) -> Option<(u16, u16)> {
        self.runs().min_by_key(|(_, n)| CHUNK_PAGES - n)
    }

    /// The size class under which a chunk is listed: its longest free run has at least 2^class pages, and less than twice as
    /// many. `None` if no page is free.
    pub(crate) fn class(&self) -> Option<u8> {
        self.longest().map(|(_, pages)| pages.ilog2() as u8)
    }

    /// The first page from `from` on that is free (`free`), or that is not.
    fn next(&self, from: u16, free: bool) -> Option<u16> {
        let mut i = usize::from(from) / 64;
        let mut keep = u64::MAX << (from % 64);
        while i < WORDS {
            let word = if free { self.0[i] } else { !self.0[i] } & keep;
            if word != 0 {
                return Some(i as u16 * 64 + word.trailing_zeros() as u16);
            }
            i += 1;
            keep = u64::MAX;
        }
        None
    }

    /// The words that a run touches, each with the run's bits in it.
    fn masks(&self, run: &Run) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (first, end) = (usize::from(run.first), usize::from(run.end()));
        (first / 64..end.div_ceil(64)).map(move |i| {
            let low = first.saturating_sub(i * 64);
            let high = (end - i * 64).min(64);
            (i, (u64::MAX >> (64 - (high - low))) << low)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run() -> impl Strategy<Value = Run> {
        (0..CHUNK_PAGES).prop_flat_map(|first| {
            (Just(first), 1..=CHUNK_PAGES - first).prop_map(|(first, pages)| Run { chunk: 0, first, pages })
        })
    }

    proptest! {
        #[test]
        fn behaves_as_an_array_of_flags(steps in prop::collection::vec((any::<bool>(), run()), 0..20)) {
            let mut bitmap = Bitmap::EMPTY;
            let mut flags = [false; CHUNK_PAGES as usize];
            for (add, run) in steps {
                if add { bitmap.add(&run) } else { bitmap.remove(&run) }
                flags[usize::from(run.first)..usize::from(run.end())].fill(add);
                prop_assert_eq!(bitmap.has_all(&run), add);
                prop_assert_eq!(bitmap.has_any(&run), add);
            }
            let runs: Vec<_> = bitmap.runs().collect();
            let mut again = [false; CHUNK_PAGES as usize];
            for (first, pages) in &runs {
                again[usize::from(*first)..usize::from(first + pages)].fill(true);
            }
            prop_assert_eq!(again, flags);
            // A run ends at a taken page, so none follows another directly.
            prop_assert!(runs.is_sorted_by(|a, b| a.0 + a.1 < b.0));
            prop_assert_eq!(Bitmap::from_bytes(&bitmap.to_bytes()), bitmap);
            prop_assert_eq!(bitmap.longest().map(|r| r.1), runs.iter().map(|r| r.1).max());
            for wanted in [1, 2, 7, 64, 512] {
                let fits = runs.iter().map(|r| r.1).filter(|n| *n >= wanted).min();
                prop_assert_eq!(bitmap.best_fit(wanted).map(|r| r.1), fits);
            }
        }
    }

    #[test]
    fn a_chunk_is_classed_by_its_longest_run() {
        assert_eq!(Bitmap::EMPTY.class(), None);
        assert_eq!(Bitmap::FULL.class(), Some(Bitmap::WHOLE));
        let mut bitmap = Bitmap::FULL;
        bitmap.remove(&Run { chunk: 0, first: 0, pages: 1 });
        assert_eq!(bitmap.class(), Some(Bitmap::WHOLE - 1));
        bitmap.remove(&Run { chunk: 0, first: 4, pages: 508 });
        assert_eq!(bitmap.class(), Some(1));
    }
}
