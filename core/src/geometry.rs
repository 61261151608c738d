//! Pages, blocks and the ranges made of them. Three units never mix: bytes (`usize`/`u64`, always an offset from the
//! start of the array), pages of a block (`u32`), and blocks ([`BlockNo`]).

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Bytes of a page: the unit of dirty tracking and of checksums.
pub const PAGE: usize = 4096;

/// Number of a block within its array, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNo(pub u64);

/// Bytes of a block: a power of two from 64 KiB to 2 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 64 KiB.
    pub const MIN: BlockSize = BlockSize(64 << 10);
    /// 2 MiB, the default: one chunk of the data file, one huge page.
    pub const MAX: BlockSize = BlockSize(2 << 20);

    /// A block of `bytes` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] unless a power of two from 64 KiB to 2 MiB.
    pub fn new(bytes: usize) -> Result<BlockSize> {
        if bytes.is_power_of_two() && (Self::MIN.bytes()..=Self::MAX.bytes()).contains(&bytes) {
            Ok(BlockSize(bytes as u32))
        } else {
            Err(Error::new(
                ErrorKind::Invalid,
                format!("a block of {bytes} bytes: it must be a power of two from 65536 (64 KiB) to 2097152 (2 MiB)"),
            ))
        }
    }

    /// Bytes of a block.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// Pages of a block, 16 to 512.
    pub const fn pages(self) -> u32 {
        self.0 / PAGE as u32
    }

    /// The block that holds byte `offset` of the array.
    pub fn block_at(self, offset: usize) -> BlockNo {
        BlockNo((offset / self.bytes()) as u64)
    }

    /// First byte of `block`. Saturates, so that the end of the last block of a 2⁶⁴-byte space compares right.
    pub fn start_of(self, block: BlockNo) -> usize {
        usize::try_from(block.0).map_or(usize::MAX, |n| n.saturating_mul(self.bytes()))
    }

    /// The bytes of `block`.
    pub fn range_of(self, block: BlockNo) -> Range<usize> {
        self.start_of(block)..self.start_of(BlockNo(block.0 + 1))
    }

    /// How many blocks hold `bytes` bytes.
    pub fn blocks_for(self, bytes: usize) -> u64 {
        (bytes as u64).div_ceil(self.bytes() as u64)
    }

    /// The numbers of the blocks that `bytes` touches; empty for an empty range.
    pub fn blocks_in(self, bytes: &Range<usize>) -> Range<u64> {
        if bytes.is_empty() {
            return 0..0;
        }
        (bytes.start / self.bytes()) as u64..self.blocks_for(bytes.end)
    }
}

/// Rounds up to whole pages.
pub const fn page_ceil(bytes: usize) -> usize {
    bytes.next_multiple_of(PAGE)
}

/// The bytes of pages of a block that starts at byte `start`.
pub(crate) fn page_range(start: usize, pages: &Range<u32>) -> Range<usize> {
    start + pages.start as usize * PAGE..start + pages.end as usize * PAGE
}

/// Ascending numbers as runs.
pub(crate) fn runs(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => runs.push(number..number + 1),
        }
    }
    runs
}

/// A set of bytes as ascending ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    /// Adds `range`.
    pub(crate) fn insert(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|r| r.end < range.start);
        let last = self.0.partition_point(|r| r.start <= range.end);
        let joined = self.0[first..last].iter().fold(range, |all, r| all.start.min(r.start)..all.end.max(r.end));
        self.0.splice(first..last, [joined]);
    }

    /// Takes everything from byte `end` on away.
    pub(crate) fn truncate(&mut self, end: usize) {
        self.0.retain_mut(|r| {
            r.end = r.end.min(end);
            r.start < r.end
        });
    }

    /// Takes everything before byte `start` away.
    pub(crate) fn remove_before(&mut self, start: usize) {
        self.0.retain_mut(|r| {
            r.start = r.start.max(start);
            r.start < r.end
        });
    }

    /// Those of them that lie in `bytes`.
    pub(crate) fn within(&self, bytes: &Range<usize>) -> Ranges {
        let within = self.0.iter().map(|r| r.start.max(bytes.start)..r.end.min(bytes.end));
        Ranges(within.filter(|r| !r.is_empty()).collect())
    }

    /// The ranges, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Range<usize>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_are_powers_of_two_within_limits() {
        assert_eq!(BlockSize::new(65536).unwrap(), BlockSize::MIN);
        for bad in [0, 4096, 65537, 100_000, 4 << 20] {
            assert!(BlockSize::new(bad).unwrap_err().is_invalid(), "{bad}");
        }
    }

    #[test]
    fn blocks_in_covers_what_is_touched() {
        let size = BlockSize::MIN;
        assert_eq!(size.blocks_in(&(0..0)), 0..0);
        assert_eq!(size.blocks_in(&(65535..65537)), 0..2);
        assert_eq!(size.blocks_in(&(65536..131_072)), 1..2);
    }

    #[test]
    fn ranges_join_what_touches() {
        let mut set = Ranges::default();
        for range in [10..20, 30..40, 20..25, 5..6, 0..0, 24..30] {
            set.insert(range);
        }
        assert_eq!(set.0, [5..6, 10..40]);
        assert_eq!(set.within(&(0..12)).0, [5..6, 10..12]);
        set.truncate(15);
        assert_eq!(set.0, [5..6, 10..15]);
        let mut behind = set.clone();
        behind.insert(30..40);
        behind.remove_before(12);
        assert_eq!(behind.0, [12..15, 30..40]);
        set.truncate(5);
        assert_eq!(set.0, []);
    }
}
