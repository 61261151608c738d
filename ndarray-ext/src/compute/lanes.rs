//! How an array is reduced: whole, or to its lanes along one axis.
//!
//! In storage order an array is `outer × length × inner` elements, where the lanes have `length` elements each: what becomes
//! of them is `outer × inner` values. Whole, it is one lane. The work is split into pieces by shape alone, and the pieces
//! are put together in one order, so that the outcome is the same to the last bit with any number of threads. What is held
//! are the accumulators of the values, and of some pieces while they are put together.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Order, Result, signals};
use ndarray::{Array, Axis, Dimension, RemoveAxis, ShapeBuilder};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::accumulate::{Accumulator, LANES, RUN, Tile};
use super::number::Number;
use super::walk::{PIECE, Walk};
use crate::process::OfProcess;
use crate::view::{Source, elements, here};

/// Bytes of a tile, which is gone over twice for a variance: they stay in the processor's cache.
const TILE: usize = 64 << 10;

/// A piece has at least so many rows, else its lanes are not put together but each is added to by one thread.
const LEAST_ROWS: usize = 64;

/// Bytes that are gone over together where lanes are split among threads.
const BATCH: usize = 32 << 20;

/// What became of each lane along an axis.
pub(super) struct Reduced<A, D> {
    lanes: Vec<A>,
    dim: D,
    order: Order,
    /// How many elements a lane has.
    pub(super) length: usize,
}

impl<A, D: Dimension> Reduced<A, D> {
    pub(super) fn map<R>(self, f: impl Fn(A) -> R) -> Array<R, D> {
        let values = self.lanes.into_iter().map(f).collect();
        let shape = self.dim.set_f(self.order == Order::ColumnMajor);
        Array::from_shape_vec(shape, values).expect("a value for each lane")
    }
}

/// What becomes of all elements.
pub(super) fn whole<T: Number, A: Accumulator<T>>(source: &OfProcess<impl Source>) -> Result<A> {
    let length = here(source)?.descriptor().shape.iter().product();
    Ok(reduce(source, 1, length, 1)?[0])
}

/// What becomes of the lanes along `axis`.
///
/// # Errors
/// [`ErrorKind::ShapeMismatch`] if there is no such axis, and what storage reports.
pub(super) fn along<T: Number, D: RemoveAxis, A: Accumulator<T>>(
    source: &OfProcess<impl Source>,
    axis: Axis,
) -> Result<Reduced<A, D::Smaller>> {
    let array = here(source)?.descriptor();
    let mut shape = array.shape.clone();
    if axis.0 >= shape.len() {
        let name = source.name();
        let why = format!("array {name:?} of shape {shape:?} has no axis {}", axis.0);
        return Err(Error::new(ErrorKind::ShapeMismatch, why));
    }
    let length = shape[axis.0];
    let (before, behind) = (shape[..axis.0].iter().product(), shape[axis.0 + 1..].iter().product());
    let (outer, inner) = if array.order == Order::RowMajor { (before, behind) } else { (behind, before) };
    shape.remove(axis.0);
    let mut dim = D::Smaller::zeros(shape.len());
    dim.slice_mut().copy_from_slice(&shape);
    let order = array.order;
    Ok(Reduced { lanes: reduce(source, outer, length, inner)?, dim, order, length })
}

fn reduce<T: Number, A: Accumulator<T>>(
    source: &OfProcess<impl Source>,
    outer: usize,
    length: usize,
    inner: usize,
) -> Result<Vec<A>> {
    let mut out = empty_lanes(source.name(), outer * inner)?;
    if length > 0 && !out.is_empty() {
        Walk::go(source, |walk| Lanes { walk, length, inner }.reduce::<T, A>(&mut out))?;
    }
    Ok(out)
}

/// Accumulators of no element each.
fn empty_lanes<T, A: Accumulator<T>>(name: &str, count: usize) -> Result<Vec<A>> {
    let _held = signals::hold();
    let mut lanes = Vec::new();
    lanes.try_reserve_exact(count).map_err(|_| {
        let why = format!("array {name:?}: there is no memory for {count} results of {} bytes", size_of::<A>());
        Error::new(ErrorKind::TooLarge, why)
    })?;
    lanes.resize(count, A::EMPTY);
    Ok(lanes)
}

/// Rows of `inner` elements; `length` of them are one element of each of `inner` lanes.
struct Lanes<'a, 'w, S> {
    walk: &'w Walk<'a, S>,
    length: usize,
    inner: usize,
}

impl<S: Source> Lanes<'_, '_, S> {
    fn reduce<T: Number, A: Accumulator<T>>(&self, out: &mut [A]) {
        let piece = PIECE / size_of::<T>();
        let group = piece / (self.length * self.inner);
        if group > 0 {
            // Several times all lanes are less than a piece.
            out.par_chunks_mut(group * self.inner).enumerate().for_each(|(n, out)| {
                let first = n * group * self.length;
                let rows = first..first + out.len() / self.inner * self.length;
                if self.load::<T>(&rows) {
                    for (n, out) in out.chunks_mut(self.inner).enumerate() {
                        self.add::<T, A>(first + n * self.length..first + (n + 1) * self.length, out);
                    }
                }
            });
        } else if self.inner == 1 || self.inner * LEAST_ROWS <= piece {
            out.par_chunks_mut(self.inner).enumerate().for_each(|(n, out)| {
                self.by_rows::<T, A>(n * self.length..(n + 1) * self.length, (piece / self.inner).max(1), out);
            });
        } else {
            out.chunks_mut(self.inner).enumerate().for_each(|(n, out)| {
                self.by_lanes::<T, A>(n * self.length..(n + 1) * self.length, out);
            });
        }
    }

    /// Splits the rows among threads: halves, and halves of these, down to pieces of `piece` rows.
    fn by_rows<T: Number, A: Accumulator<T>>(&self, rows: Range<usize>, piece: usize, out: &mut [A]) {
        if rows.len() <= piece {
            let step = (self.walk.step / size_of::<T>() / self.inner).max(1);
            // A multiple of the rows of a tile.
            let step = if step < piece { (step / self.tile_rows::<T>()).max(1) * self.tile_rows::<T>() } else { piece };
            for start in rows.clone().step_by(step) {
                let rows = start..rows.end.min(start + step);
                if self.load::<T>(&rows) {
                    self.add::<T, A>(rows, out);
                }
            }
            return;
        }
        let middle = rows.start + rows.len().div_ceil(piece).div_ceil(2) * piece;
        let (front, back) = (rows.start..middle, middle..rows.end);
        let ((), behind) = rayon::join(
            || self.by_rows::<T, A>(front, piece, out),
            || {
                let held = signals::hold();
                let mut behind = vec![A::EMPTY; self.inner];
                drop(held);
                self.by_rows::<T, A>(back, piece, &mut behind);
                behind
            },
        );
        for (lane, behind) in out.iter_mut().zip(behind.iter()) {
            lane.merge(*behind);
        }
        let _held = signals::hold();
        drop(behind);
    }

    /// Splits the lanes among threads, which go over some rows together, and then over the next.
    fn by_lanes<T: Number, A: Accumulator<T>>(&self, rows: Range<usize>, out: &mut [A]) {
        let row_bytes = self.inner * size_of::<T>();
        let batch = (BATCH.min(self.walk.source.budget_bytes() / 4) / row_bytes).max(1);
        let batches = rows.clone().step_by(batch).map(|start| start..rows.end.min(start + batch));
        let bytes = |rows: Range<usize>| rows.start * row_bytes..rows.end * row_bytes;
        let mut is_loaded = self.walk.load_together(bytes(rows.start..rows.end.min(rows.start + batch)));
        for now in batches {
            let next = now.end..rows.end.min(now.end + batch);
            if !is_loaded {
                return;
            }
            (_, is_loaded) = rayon::join(
                || {
                    out.par_chunks_mut(LANES).enumerate().for_each(|(n, out)| {
                        self.add_lanes::<T, A>(now.clone(), n * LANES, out);
                    });
                },
                || self.walk.load_together(bytes(next)),
            );
        }
    }

    /// Takes in rows that are loaded.
    fn add<T: Number, A: Accumulator<T>>(&self, rows: Range<usize>, out: &mut [A]) {
        if self.inner > 1 {
            for (n, out) in out.chunks_mut(LANES).enumerate() {
                self.add_lanes::<T, A>(rows.clone(), n * LANES, out);
            }
        } else if let Some(run) = self.elements::<T>(rows) {
            run.chunks(RUN).for_each(|run| out[0].merge(A::of_run(run)));
        }
    }

    /// Takes in a part of rows that are loaded: [`LANES`] lanes at most, from `first` on.
    fn add_lanes<T: Number, A: Accumulator<T>>(&self, rows: Range<usize>, first: usize, out: &mut [A]) {
        let tile = self.tile_rows::<T>();
        for start in rows.clone().step_by(tile) {
            let end = rows.end.min(start + tile);
            let range = start * self.inner + first..(end - 1) * self.inner + first + out.len();
            if let Some(elements) = self.elements::<T>(range) {
                A::merge_tile(out, &Tile::new(elements, self.inner, out.len()));
            }
        }
    }

    /// How many rows of lanes are taken in at a time.
    fn tile_rows<T>(&self) -> usize {
        if self.inner == 1 { RUN } else { (TILE / size_of::<T>() / self.inner.min(LANES)).min(RUN) }
    }

    fn elements<T: Number>(&self, range: Range<usize>) -> Option<&[T]> {
        elements(self.walk.source, range).map_err(|error| self.walk.fail(error)).ok()
    }

    fn load<T>(&self, rows: &Range<usize>) -> bool {
        let row_bytes = self.inner * size_of::<T>();
        self.walk.load(rows.start * row_bytes..rows.end * row_bytes)
    }
}
