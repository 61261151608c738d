//! The elements that a slice picks, as bytes, piece by piece.

use std::ops::Range;

use bigarray::AnyArray;
use bigarray::ndarray::Order;

use crate::address::Pick;
use crate::failure::Result;

/// Bytes of a piece, at most, unless one element is larger.
const PIECE: usize = 1 << 20;

/// Bytes that are loaded before a piece is put together; where it lies in more, touching loads it.
const LOADED: usize = 8 << 20;

/// Elements of an array.
pub(crate) struct Selection<'a> {
    array: &'a AnyArray,
    picks: Vec<Pick>,
    item: usize,
}

/// One axis that is walked: how often, and by how many bytes a step.
#[derive(Clone, Copy)]
struct Walked {
    len: usize,
    stride: isize,
}

impl<'a> Selection<'a> {
    /// What `picks`, one for each axis, pick of `array`.
    pub(crate) fn new(array: &'a AnyArray, picks: Vec<Pick>) -> Selection<'a> {
        let item = array.info().item_size;
        Selection { array, picks, item }
    }

    /// The shape of the result: without axes of which a single index was picked.
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.picks.iter().filter(|pick| pick.is_kept).map(|pick| pick.len).collect()
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        // Axes of great length may be there beside one of none.
        if self.picks.iter().any(|pick| pick.len == 0) { 0 } else { self.picks.iter().map(|pick| pick.len).product() }
    }

    /// How many bytes these are.
    pub(crate) fn nbytes(&self) -> usize {
        self.len() * self.item
    }

    /// Whether it is the whole array as it is stored.
    pub(crate) fn is_whole(&self) -> bool {
        self.picks.iter().zip(self.array.shape()).all(|(pick, len)| pick.is_whole(*len))
    }

    /// Whether it has all columns, in their order: what lies along the last axis, behind the first.
    pub(crate) fn has_all_columns(&self) -> bool {
        self.picks.iter().zip(self.array.shape()).skip(1).last().is_none_or(|(pick, len)| pick.is_whole(*len))
    }

    /// Hands all bytes to `take` in the order `order` of the result, whole elements at a time.
    ///
    /// # Errors
    /// What storage reports, and what `take` returns.
    pub(crate) fn for_each_piece(&self, order: Order, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.len() == 0 {
            return Ok(());
        }
        if self.is_whole() && (self.picks.len() < 2 || order.is_row_major() == self.array.order().is_row_major()) {
            return self.whole(take);
        }
        let (base, mut axes) = self.walked();
        if order.is_row_major() {
            axes.reverse(); // the fastest first
        }
        let bytes = self.array.row_bytes(..)?;
        let mut piece = Vec::with_capacity(PIECE + self.item);
        let per_piece = (PIECE / self.item).max(1);
        // Axes of length 1 do not move, and a fastest axis without gaps is copied as one run.
        axes.retain(|axis| axis.len > 1);
        let is_run = axes.first().is_some_and(|axis| axis.stride == self.item as isize);
        let fastest = axes.first().copied().unwrap_or(Walked { len: 1, stride: 0 });
        let slower = axes.get(1..).unwrap_or_default();
        let mut at = vec![0usize; slower.len()];
        let mut line = base as isize;
        let mut loaded = 0..0;
        loop {
            let mut done = 0;
            while done < fastest.len {
                let count = (per_piece - piece.len() / self.item).min(fastest.len - done);
                let first = line + done as isize * fastest.stride;
                self.load(first, count, fastest.stride, &mut loaded)?;
                if is_run {
                    let first = first as usize;
                    piece.extend_from_slice(&bytes[first..first + count * self.item]);
                } else {
                    for n in 0..count {
                        let one = (first + n as isize * fastest.stride) as usize;
                        piece.extend_from_slice(&bytes[one..one + self.item]);
                    }
                }
                done += count;
                if piece.len() / self.item >= per_piece {
                    take(&piece)?;
                    piece.clear();
                }
            }
            // The next line, as an odometer has it.
            let mut axis = 0;
            loop {
                let Some(walked) = slower.get(axis) else {
                    return if piece.is_empty() { Ok(()) } else { take(&piece) };
                };
                at[axis] += 1;
                line += walked.stride;
                if at[axis] < walked.len {
                    break;
                }
                line -= walked.stride * walked.len as isize;
                at[axis] = 0;
                axis += 1;
            }
        }
    }

    /// All elements in the order of storage.
    fn whole(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut blocks = self.array.blocks().peekable();
        let mut piece = Vec::new();
        while let Some(rows) = blocks.next() {
            self.array.prefetch(rows.clone())?;
            if let Some(next) = blocks.peek() {
                self.array.prefetch_ahead(next.clone())?;
            }
            let bytes = self.array.row_bytes(rows)?;
            for chunk in bytes.chunks((PIECE / self.item).max(1) * self.item) {
                // A system call that meets a page that is not there fails, where a copy loads it.
                piece.clear();
                piece.extend_from_slice(chunk);
                take(&piece)?;
            }
        }
        Ok(())
    }

    /// Where the first element lies, and each axis in the order of the array.
    fn walked(&self) -> (usize, Vec<Walked>) {
        let shape = self.array.shape();
        let mut strides = vec![self.item; shape.len()];
        let mut bytes = self.item;
        let is_c = self.array.order().is_row_major();
        for n in 0..shape.len() {
            let axis = if is_c { shape.len() - 1 - n } else { n };
            strides[axis] = bytes;
            bytes *= shape[axis];
        }
        let base = self.picks.iter().zip(&strides).map(|(pick, stride)| pick.start * stride).sum();
        let walked = self.picks.iter().zip(&strides);
        let walked =
            walked.map(|(pick, stride)| Walked { len: pick.len, stride: (*stride as isize).wrapping_mul(pick.step) });
        (base, walked.collect())
    }

    /// Loads the elements of a line, and some around them, so that a failure of storage is an error and no signal.
    fn load(&self, first: isize, count: usize, stride: isize, loaded: &mut Range<usize>) -> Result<()> {
        let last = first + (count as isize - 1) * stride;
        let (from, to) = (first.min(last) as usize, first.max(last) as usize + self.item);
        if to - from > LOADED || (loaded.start <= from && to <= loaded.end) {
            return Ok(());
        }
        let row = self.row_bytes();
        let rows = from / row..to.max(self.array.nbytes().min(from + LOADED / 4)).div_ceil(row);
        // Only whole rows are loaded ahead, and these are much longer than what is wanted: touching loads that.
        if rows.len().saturating_mul(row) > 4 * LOADED {
            return Ok(());
        }
        self.array.prefetch(rows.clone())?;
        *loaded = rows.start * row..rows.end * row;
        Ok(())
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        let rows = self.array.shape();
        let rows = if self.array.order().is_row_major() { rows.first() } else { rows.last() };
        self.array.nbytes() / rows.copied().unwrap_or(1).max(1)
    }
}
