//! Ranges of rows, one a block of storage: work that is split by them loads each block once.

use std::iter::FusedIterator;
use std::ops::Range;

use bigarray_core::Descriptor;
use rayon::iter::plumbing::{Consumer, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// Ranges of the growth axis that together cover it, each about one block of storage: its rows are those that begin in
/// the block, or one row that is larger than a block. The last range may be short.
///
/// An iterator, and by rayon a parallel one. It borrows nothing, so that windows may be taken meanwhile:
///
/// ```
/// # use bigarray::{Database, ndarray::Ix2};
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f32, _>("A", (1000, 1000))?.view_mut().fill(0.5); Ok(()) })?;
/// use rayon::prelude::*;
///
/// let a = db.array::<f32, Ix2>("A")?;
/// let sum: f32 = a.blocks().into_par_iter().map(|rows| a.rows(rows).unwrap().sum()).sum();
/// assert_eq!(sum, 500_000.0);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "ranges are handed out when they are iterated over"]
pub struct Blocks {
    rows: usize,
    row_bytes: usize,
    block_bytes: usize,
    /// Bytes of the first block that lie before the first row.
    before: usize,
    /// Ranges still to come, by number.
    left: Range<usize>,
}

impl Blocks {
    /// Those of `array`.
    pub(crate) fn new(array: &Descriptor) -> Blocks {
        let (rows, row_bytes, block_bytes) = (array.rows(), array.row_bytes(), array.block_size.bytes());
        let before = array.skip % block_bytes;
        let ranges = match (rows, row_bytes) {
            (0, _) => 0,
            (_, 0) => 1,
            // The last row begins in the last block that any row begins in.
            _ if row_bytes <= block_bytes => (before + (rows - 1) * row_bytes) / block_bytes + 1,
            _ => rows,
        };
        Blocks { rows, row_bytes, block_bytes, before, left: 0..ranges }
    }

    /// The first row of range `n`; of the one past the last, how many rows there are.
    fn start(&self, n: usize) -> usize {
        match self.row_bytes {
            0 if n == 0 => 0,
            0 => self.rows,
            bytes if bytes <= self.block_bytes => {
                (n * self.block_bytes).saturating_sub(self.before).div_ceil(bytes).min(self.rows)
            }
            _ => n,
        }
    }

    fn range(&self, n: usize) -> Range<usize> {
        self.start(n)..self.start(n + 1)
    }
}

impl Iterator for Blocks {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        self.left.next().map(|n| self.range(n))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    fn nth(&mut self, n: usize) -> Option<Range<usize>> {
        self.left.nth(n).map(|n| self.range(n))
    }
}

impl DoubleEndedIterator for Blocks {
    fn next_back(&mut self) -> Option<Range<usize>> {
        self.left.next_back().map(|n| self.range(n))
    }
}

impl ExactSizeIterator for Blocks {}
impl FusedIterator for Blocks {}

impl IntoParallelIterator for Blocks {
    type Iter = ParBlocks;
    type Item = Range<usize>;

    fn into_par_iter(self) -> ParBlocks {
        ParBlocks(self)
    }
}

/// [`Blocks`] as rayon's parallel iterator.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
/// use rayon::prelude::*;
///
/// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
/// let largest = grid.blocks().into_par_iter().map(|rows| grid.rows(rows).unwrap().fold(0.0, |a: f32, b| a.max(*b)));
/// assert_eq!(largest.reduce(|| 0.0, f32::max), 0.5);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ParBlocks(Blocks);

impl ParallelIterator for ParBlocks {
    type Item = Range<usize>;

    fn drive_unindexed<C: UnindexedConsumer<Range<usize>>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl IndexedParallelIterator for ParBlocks {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn drive<C: Consumer<Range<usize>>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<B: ProducerCallback<Range<usize>>>(self, callback: B) -> B::Output {
        callback.callback(self)
    }
}

impl Producer for ParBlocks {
    type Item = Range<usize>;
    type IntoIter = Blocks;

    fn into_iter(self) -> Blocks {
        self.0
    }

    fn split_at(self, index: usize) -> (ParBlocks, ParBlocks) {
        let (mut left, mut right) = (self.0.clone(), self.0);
        let middle = left.left.start + index;
        left.left.end = middle;
        right.left.start = middle;
        (ParBlocks(left), ParBlocks(right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bigarray_core::BlockSize;
    use bigarray_testing::array_of;

    fn of_bytes(shape: &[usize], block_size: BlockSize) -> Blocks {
        Blocks::new(&Descriptor { shape: shape.into(), block_size, ..array_of(1) })
    }

    fn blocks(rows: usize, row: usize) -> Blocks {
        of_bytes(&[rows, row], BlockSize::MIN)
    }

    fn behind(skip: usize, rows: usize, row: usize) -> Blocks {
        Blocks::new(&Descriptor { shape: vec![rows, row], skip, ..array_of(1) })
    }

    /// Whatever the sizes: the ranges follow each other without gap, none is empty, each begins in a block of its own
    /// or is one row.
    fn covers(skip: usize, rows: usize, row: usize) {
        let block = BlockSize::MIN.bytes();
        let ranges: Vec<_> = behind(skip, rows, row).collect();
        assert_eq!(ranges.len(), behind(skip, rows, row).len());
        let first = skip / block;
        let mut next = 0;
        for (n, range) in ranges.iter().enumerate() {
            assert_eq!(range.start, next, "{rows} × {row}");
            assert!(!range.is_empty(), "{rows} × {row}");
            if row <= block {
                let in_block = |at: usize| (skip + at * row) / block == first + n;
                assert!(in_block(range.start) && in_block(range.end - 1), "{skip}: {rows} × {row}");
            }
            next = range.end;
        }
        assert_eq!(next, rows, "{rows} × {row}");
    }

    #[test]
    fn ranges_cover_the_axis_block_by_block() {
        let block = BlockSize::MIN.bytes();
        for row in [1, 24, 40, 4096, block - 1, block, block + 1, 3 * block] {
            let many = 5 * block / row;
            for rows in [1, 2, 7, many.max(1), many + 1, many + 17] {
                for skip in [0, row, 7 * row, block - 1, block, 9 * block + 5] {
                    covers(skip, rows, row);
                }
            }
        }
    }

    #[test]
    fn empty_arrays_have_no_ranges_and_empty_rows_one() {
        assert_eq!(blocks(0, 5).next(), None);
        assert!(blocks(3, 0).eq(std::iter::once(0..3)));
        assert!(of_bytes(&[], BlockSize::MAX).eq(std::iter::once(0..1)));
    }

    #[test]
    fn the_largest_array_does_not_overflow() {
        let mut blocks = of_bytes(&[isize::MAX as usize], BlockSize::MAX);
        assert_eq!(blocks.len(), 1 << 42);
        assert_eq!(blocks.next_back().unwrap().end, isize::MAX as usize);
    }

    #[test]
    fn parallel_and_reversed_see_the_same_ranges() {
        let all: Vec<_> = blocks(100_000, 40).collect();
        let parallel: Vec<_> = blocks(100_000, 40).into_par_iter().collect();
        assert_eq!(parallel, all);
        let mut reversed: Vec<_> = blocks(100_000, 40).rev().collect();
        reversed.reverse();
        assert_eq!(reversed, all);
        assert_eq!(blocks(100_000, 40).nth(2), Some(all[2].clone()));
    }
}
