//! The chunk grid of an array: which bytes of the array each chunk holds. Pure arithmetic.
//!
//! bigarray sees an array as one range of bytes, in its order of elements. A chunk is a box of elements, stored in the
//! same order and always whole, also where it reaches beyond the shape. So a chunk consists of *runs*: bytes that follow
//! each other in the array and in the chunk.
//!
//! Axes are counted here from the slowest to the fastest: *storage order*. Shapes and indices in arguments and results are
//! in the order of the array's axes.

use std::ops::Range;

use bigarray_core::{BlockSize, Error, ErrorKind, Order, Result};

/// Least and most bytes of a chunk of a new array.
const CHUNK_BYTES: Range<usize> = 1 << 20..8 << 20;

/// The chunks of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    order: Order,
    item_size: usize,
    /// Lengths of the axes, in storage order.
    shape: Vec<usize>,
    /// Lengths of a chunk, in storage order; none is 0.
    chunk: Vec<usize>,
}

/// Bytes that follow each other in the array and in one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The chunk.
    pub(crate) index: Vec<u32>,
    /// The bytes of the array.
    pub(crate) array: Range<usize>,
    /// Where they begin in the decoded chunk.
    pub(crate) chunk_offset: usize,
}

impl Grid {
    /// The grid of chunks of `chunk_shape` over an array of `shape`.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported): not a grid of that shape. [`TooLarge`](ErrorKind::TooLarge): the array or a
    /// chunk is more than `isize::MAX` bytes, or an axis has 2³² chunks or more: Icechunk counts them in 32 bits.
    pub(crate) fn new(shape: &[usize], chunk_shape: &[usize], order: Order, item_size: usize) -> Result<Grid> {
        if chunk_shape.len() != shape.len() || chunk_shape.contains(&0) {
            let text = format!("chunks of shape {chunk_shape:?} do not tile an array of shape {shape:?}");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        for (what, lengths) in [("an array", shape), ("a chunk", chunk_shape)] {
            let bytes = lengths.iter().try_fold(item_size, |bytes, &len| bytes.checked_mul(len.max(1)));
            if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
                let text =
                    format!("{what} of shape {lengths:?} of {item_size}-byte elements is more than an address space");
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
        }
        let grid =
            Grid { order, item_size, shape: turned(order, shape.to_vec()), chunk: turned(order, chunk_shape.to_vec()) };
        // Indices are 32-bit numbers.
        if let Some(axis) = grid.counts().iter().position(|&count| count > u64::from(u32::MAX)) {
            let text = format!(
                "an array of shape {shape:?} in chunks of shape {chunk_shape:?} has {} chunks along axis {axis}, and 2³² − 1 are the most",
                grid.counts()[axis]
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        Ok(grid)
    }

    /// The grid of a new array. A chunk has 1 to 8 MiB: whole rows, and whole blocks where a multiple of both is not larger.
    /// Where a row is larger than a chunk may be, it is cut along the next axis. Each chunk is one run.
    ///
    /// # Errors
    /// As of [`new`](Grid::new).
    pub(crate) fn for_new_array(
        shape: &[usize],
        order: Order,
        item_size: usize,
        block_size: BlockSize,
    ) -> Result<Grid> {
        let lengths = turned(order, shape.to_vec());
        let mut chunk = vec![1; lengths.len()];
        // From the fastest axis on, whole axes while they fit.
        let mut row_bytes = item_size;
        for axis in (0..lengths.len()).rev() {
            let whole = row_bytes.saturating_mul(lengths[axis].max(1));
            if axis > 0 && whole <= CHUNK_BYTES.end {
                chunk[axis] = lengths[axis].max(1);
                row_bytes = whole;
                continue;
            }
            let rows = rows_per_chunk(row_bytes, block_size.bytes());
            // The slowest axis grows. The others do not: they are cut into equal parts, as the last one is stored whole, too.
            let length = lengths[axis].max(1);
            chunk[axis] = if axis == 0 { rows } else { length.div_ceil(length.div_ceil(rows)) };
            break;
        }
        Grid::new(shape, &turned(order, chunk), order, item_size)
    }

    /// The same chunks, each with the same bytes, over an array of `shape` with as many elements: the `n`-th chunk along the
    /// growth axis stays the `n`-th, and there are no others. `None` where chunks would have to be cut anew.
    ///
    /// # Errors
    /// As of [`new`](Grid::new).
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Result<Option<Grid>> {
        let lengths = turned(self.order, shape.to_vec());
        let Some(inner) = lengths.get(1..) else {
            return Ok(None);
        };
        let chunk = self.chunk.iter().product::<usize>();
        let row = inner.iter().try_fold(1_usize, |row, &len| row.checked_mul(len)).unwrap_or(0);
        if !self.counts_chunks() || row == 0 || chunk % row != 0 {
            return Ok(None);
        }
        let chunk = [&[chunk / row], inner].concat();
        Grid::new(shape, &turned(self.order, chunk), self.order, self.item_size).map(Some)
    }

    /// Lengths of the axes of the array.
    pub(crate) fn shape(&self) -> Vec<usize> {
        turned(self.order, self.shape.clone())
    }

    /// Lengths of the axes of a chunk.
    pub(crate) fn chunk_shape(&self) -> Vec<usize> {
        turned(self.order, self.chunk.clone())
    }

    /// Bytes of the array.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.item_size
    }

    /// Bytes of a decoded chunk.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk.iter().product::<usize>() * self.item_size
    }

    /// How many chunks there are along each axis of the array.
    pub(crate) fn counts(&self) -> Vec<u64> {
        let counts = self.shape.iter().zip(&self.chunk).map(|(len, chunk)| len.div_ceil(*chunk) as u64);
        turned(self.order, counts.collect())
    }

    /// Whether each chunk is one run. Blocks of such arrays can be written without reading other parts of the array.
    pub(crate) fn is_linear(&self) -> bool {
        self.chunk.iter().take(self.run_axis()).all(|&len| len == 1)
    }

    /// The pieces of chunks that make up `bytes` of the array; bytes beyond its end have none. The pieces of a chunk follow
    /// each other, and if the grid is linear, all are in the order of the array.
    pub(crate) fn chunks_over(&self, bytes: Range<usize>) -> impl Iterator<Item = Piece> {
        let bytes = bytes.start..bytes.end.min(self.bytes());
        let span = if bytes.is_empty() { None } else { Some(self.bounds(&bytes)) };
        span.into_iter().flat_map(move |span| self.pieces(span, bytes.clone()))
    }

    /// The pieces that make up the chunk `index`, as far as it is in the array.
    pub(crate) fn pieces_of(&self, index: &[u32]) -> impl Iterator<Item = Piece> {
        let index = turned(self.order, index.to_vec());
        let first = index.iter().zip(&self.chunk).map(|(at, len)| *at as usize * len);
        let span: Vec<_> =
            first.zip(&self.chunk).zip(&self.shape).map(|((at, len), end)| at..(at + len).min(*end)).collect();
        let is_there = span.iter().all(|range| !range.is_empty());
        is_there.then_some(span).into_iter().flat_map(|span| self.pieces(span, 0..usize::MAX))
    }

    /// Whether the growth axis is the only one that is cut.
    fn counts_chunks(&self) -> bool {
        self.run_axis() == 0
    }

    /// The slowest axis along which a run goes: all faster ones are in the chunk as a whole, no more and no less.
    fn run_axis(&self) -> usize {
        (1..self.shape.len()).rev().find(|&axis| self.chunk[axis] != self.shape[axis].max(1)).unwrap_or(0)
    }

    /// The least box of elements that holds `bytes`, which are not empty and in the array.
    fn bounds(&self, bytes: &Range<usize>) -> Vec<Range<usize>> {
        let (first, last) = (bytes.start / self.item_size, (bytes.end - 1) / self.item_size);
        let (first, last) = (unravel(first, &self.shape), unravel(last, &self.shape));
        let mut same = true;
        let axes = first.into_iter().zip(last).zip(&self.shape);
        axes.map(|((first, last), &len)| {
            let range = if same { first..last + 1 } else { 0..len };
            same &= first == last;
            range
        })
        .collect()
    }

    /// The pieces of the chunks that the box `span` touches, as far as they are in `bytes`.
    fn pieces(&self, span: Vec<Range<usize>>, bytes: Range<usize>) -> impl Iterator<Item = Piece> {
        let run = self.run_axis();
        let chunks = span.iter().zip(&self.chunk).map(|(range, len)| range.start / len..range.end.div_ceil(*len));
        let strides = (strides(&self.shape), strides(&self.chunk));
        walk(chunks.collect()).flat_map(move |index| {
            let (strides, bytes) = (strides.clone(), bytes.clone());
            let first: Vec<usize> = index.iter().zip(&self.chunk).map(|(at, len)| at * len).collect();
            // The elements along each axis at which a run begins, and how many follow each other.
            let mut starts: Vec<Range<usize>> = Vec::new();
            let mut elements = 1;
            for axis in 0..self.shape.len() {
                let end = (first[axis] + self.chunk[axis]).min(self.shape[axis]);
                if axis < run {
                    starts.push(first[axis].max(span[axis].start)..end.min(span[axis].end));
                } else {
                    starts.push(first[axis]..first[axis] + 1);
                    elements *= end - first[axis];
                }
            }
            let chunk = self.index(&index);
            walk(starts).filter_map(move |start| {
                let at = |strides: &[usize], origin: &[usize]| {
                    let axes = start.iter().zip(origin).zip(strides);
                    axes.map(|((at, origin), stride)| (at - origin) * stride).sum::<usize>() * self.item_size
                };
                let in_array = at(&strides.0, &vec![0; start.len()]);
                let clipped = in_array.max(bytes.start)..(in_array + elements * self.item_size).min(bytes.end);
                (!clipped.is_empty()).then(|| Piece {
                    index: chunk.clone(),
                    chunk_offset: at(&strides.1, &first) + (clipped.start - in_array),
                    array: clipped,
                })
            })
        })
    }

    /// An index in the order of the array's axes. [`new`](Grid::new) saw that its numbers have 32 bits.
    fn index(&self, in_storage_order: &[usize]) -> Vec<u32> {
        turned(self.order, in_storage_order.iter().map(|&at| at as u32).collect())
    }
}

/// Rows of a chunk, of `row_bytes` each.
fn rows_per_chunk(row_bytes: usize, block_bytes: usize) -> usize {
    let goal = CHUNK_BYTES.start.max(block_bytes);
    // The least common multiple: a block is a power of two.
    let factor = 1 << (block_bytes.trailing_zeros().saturating_sub(row_bytes.trailing_zeros()));
    match row_bytes.checked_mul(factor) {
        Some(unit) if unit <= CHUNK_BYTES.end => goal.div_ceil(unit) * factor,
        _ => goal.div_ceil(row_bytes).min(CHUNK_BYTES.end / row_bytes).max(1),
    }
}

/// From the order of the axes to storage order, or back.
fn turned<T>(order: Order, mut lengths: Vec<T>) -> Vec<T> {
    if order == Order::ColumnMajor {
        lengths.reverse();
    }
    lengths
}

/// Elements from one place along each axis to the next.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The coordinates of an element.
fn unravel(mut element: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        at[axis] = element % shape[axis];
        element /= shape[axis];
    }
    at
}

/// All combinations of one number of each range, the last range the fastest.
fn walk(ranges: Vec<Range<usize>>) -> impl Iterator<Item = Vec<usize>> {
    let lengths: Vec<usize> = ranges.iter().map(|range| range.end.saturating_sub(range.start)).collect();
    let count = if lengths.contains(&0) { 0 } else { lengths.iter().product::<usize>() };
    (0..count).map(move |n| {
        let at = unravel(n, &lengths);
        at.iter().zip(&ranges).map(|(at, range)| range.start + at).collect()
    })
}
