//! Copies to the other order, in tiles.
//!
//! The axes of a copy in the other order lie the other way round in storage. Both arrays are matrices: the copy has a row,
//! here a *run*, for each index of all axes but the first of the source in storage order, and the source has a column for
//! it. Of a matrix the n-th run is the n-th column; of more dimensions the columns lie in another order.
//!
//! A tile is read row by row, turned in the processor's cache, and written column by column.

use std::ops::Range;

use bigarray_core::{Descriptor, Order, Result, Writer};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::walk::Walk;
use crate::element::Element;
use crate::process::OfProcess;
use crate::view::{Source, elements, elements_mut};

/// Columns of a tile, which are read as far as they lie side by side.
const WIDTH: usize = 32;

/// Rows of a tile: as many elements are written side by side.
const HEIGHT: usize = 64;

/// Where the runs of the copy lie in the source.
pub(super) struct Runs {
    /// The source's axes in storage order, but the first.
    axes: Vec<usize>,
    /// Length of a run.
    length: usize,
    count: usize,
}

impl Runs {
    pub(super) fn of(source: &Descriptor) -> Runs {
        let mut axes = source.shape.clone();
        if source.order == Order::ColumnMajor {
            axes.reverse();
        }
        let length = if axes.is_empty() { 1 } else { axes.remove(0) };
        Runs { count: axes.iter().product(), axes, length }
    }

    /// The column of the source that run `n` of the copy is.
    fn column(&self, mut n: usize) -> usize {
        // Its axes lie the other way round in the copy: the first one changes fastest.
        let (mut column, mut stride) = (0, self.count);
        for length in &self.axes {
            stride /= length;
            column += n % length * stride;
            n /= length;
        }
        column
    }
}

/// A copy in the other order.
pub(super) struct Transposed<'a, 'w, S> {
    pub(super) walk: &'w Walk<'a, S>,
    pub(super) runs: Runs,
    /// So many elements are in memory of either array.
    pub(super) part: usize,
    /// Elements of a block of the copy.
    pub(super) block: usize,
}

impl<S: Source> Transposed<'_, '_, S> {
    /// Fills the copy front to back, some runs at a time. `told` hears how many elements are done.
    pub(super) fn fill<T: Element>(&self, copy: &mut OfProcess<Writer<'_>>, told: &mut dyn FnMut(usize)) -> Result<()> {
        let Runs { length, count, .. } = self.runs;
        if length * count == 0 {
            return Ok(());
        }
        // Runs that do not fit are begun together and grow together, each by a block.
        let together = (self.part / length.min(self.block)).clamp(1, count);
        let tall = (self.part / together).clamp(1, length);
        let (mut buffer, mut done) = (Vec::new(), 0);
        for first in (0..count).step_by(together) {
            let columns: Vec<usize> = (first..count.min(first + together)).map(|n| self.runs.column(n)).collect();
            for top in (0..length).step_by(tall) {
                let rows = top..length.min(top + tall);
                if rows.len() == length {
                    let start = first * length;
                    let to = elements_mut::<T>(copy, start..start + columns.len() * length)?;
                    self.fill_runs(&columns, &rows, to)?;
                } else {
                    buffer.resize(columns.len() * rows.len(), T::zeroed());
                    self.fill_runs(&columns, &rows, &mut buffer)?;
                    for (n, run) in buffer.chunks(rows.len()).enumerate() {
                        let start = (first + n) * length;
                        elements_mut::<T>(copy, start + rows.start..start + rows.end)?.copy_from_slice(run);
                    }
                }
                done += columns.len() * rows.len();
                told(done);
            }
        }
        Ok(())
    }

    /// Fills `to` with the rows of `columns`, one column after the other. Does nothing once storage has failed, as the walk
    /// knows.
    fn fill_runs<T: Element>(&self, columns: &[usize], rows: &Range<usize>, to: &mut [T]) -> Result<()> {
        let width = self.runs.count;
        // As many rows of the source as can be in memory at once; of longer ones what is needed.
        let at_once = (self.part / width).max(1);
        let (left, right) = match at_once {
            1 => (columns.iter().min().copied().unwrap_or(0), columns.iter().max().map_or(0, |last| last + 1)),
            _ => (0, width),
        };
        for top in rows.clone().step_by(at_once) {
            let now = top..rows.end.min(top + at_once);
            let range = now.start * width + left..(now.end - 1) * width + right;
            if !self.walk.load_together(range.start * size_of::<T>()..range.end * size_of::<T>()) {
                return Ok(());
            }
            let from = elements::<T>(self.walk.source, range)?;
            let tiles = to.par_chunks_mut(WIDTH * rows.len()).zip(columns.par_chunks(WIDTH));
            tiles.for_each(|(to, columns)| {
                let mut tile = vec![T::zeroed(); columns.len() * HEIGHT];
                for top in now.clone().step_by(HEIGHT) {
                    let tall = HEIGHT.min(now.end - top);
                    for y in 0..tall {
                        let row = &from[(top + y - now.start) * width..];
                        for (x, column) in columns.iter().enumerate() {
                            tile[x * HEIGHT + y] = row[column - left];
                        }
                    }
                    for (to, tile) in to.chunks_mut(rows.len()).zip(tile.chunks(HEIGHT)) {
                        to[top - rows.start..][..tall].copy_from_slice(&tile[..tall]);
                    }
                }
            });
        }
        Ok(())
    }
}
