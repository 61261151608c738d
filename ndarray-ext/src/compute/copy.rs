//! Copies of arrays: to another name, database, order, codec or block size.

use std::ops::Range;

use bigarray_core::{Progress, Result, Writer};
use ndarray::Dimension;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use serde_json::{Map, Value};

use super::transpose::{Runs, Transposed};
use super::walk::{PIECE, Walk};
use crate::array::BigArray;
use crate::array_mut::BigArrayMut;
use crate::array_options::ArrayOptions;
use crate::element::Element;
use crate::layout::Layout;
use crate::process::OfProcess;
use crate::transaction::Transaction;
use crate::view::{Source, elements, elements_mut, here};

/// Most bytes that are copied at a time.
const BATCH: usize = 64 << 20;

macro_rules! copying {
    () => {
        /// Copies the array, its attributes included, into `txn`, which may be of another database, as a new array that has
        /// `options`: another order, codec or block size. It keeps the [fill value](ArrayOptions::fill), unless `options` have
        /// one. `progress` hears of the bytes that are copied, of all that there
        /// are.
        ///
        /// What was never written is not read, and takes no storage in the copy either, where order and fill value are the
        /// same: a sparse array of terabytes is copied as fast as what was written to it.
        ///
        /// Both sides stay within the memory budget of their database. Where the order is the same, elements are copied
        /// front to back. Where it changes, the copy is filled front to back, a quarter of the budget at a time, and for each
        /// of these parts the array is gone over once: all of it where rows are short, of long ones the pages that are
        /// needed. Mapped blocks are in the page cache then, and cost little; compressed ones are decompressed each time,
        /// unless the budget has room for all of them, so copy such an array with a large budget.
        ///
        /// An array grows along its first axis if it is row-major, and along its last if it is column-major. To grow along
        /// another one, copy it to the other order:
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| txn.create::<f32, _>("a", (300, 20))?.set_attr("unit", "K".into()))?;
        /// use bigarray::ArrayOptions;
        /// use bigarray::ndarray::{Array2, Axis, Ix2, Order};
        ///
        /// let a = db.array::<f32, Ix2>("a")?; // 300 × 20, grows along axis 0
        /// let txn = db.begin()?;
        /// let mut b = a.copy_to(&txn, "b", &ArrayOptions::new().order(Order::ColumnMajor), |_| {})?;
        /// b.append(Axis(1), Array2::zeros((300, 5)).view())?;
        /// assert_eq!((b.shape(), &b.attrs()["unit"]), (&[300, 25][..], &"K".into()));
        /// drop(b);
        /// txn.remove("a")?;
        /// txn.rename("b", "a")?;
        /// txn.commit()?;
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// As [`create_with`](Transaction::create_with); what storage reports, of either database. There is no new array
        /// then.
        pub fn copy_to<'c>(
            &self,
            txn: &'c Transaction,
            name: &str,
            options: &ArrayOptions,
            mut progress: impl FnMut(Progress),
        ) -> Result<BigArrayMut<'c, T, D>> {
            copy_to(&self.source, self.attrs(), txn, name, options, &mut progress)
        }
    };
}

/// Copies.
impl<T: Element, D: Dimension> BigArray<T, D> {
    copying!();
}

/// Copies.
impl<T: Element, D: Dimension> BigArrayMut<'_, T, D> {
    copying!();
}

fn copy_to<'c, T: Element, D: Dimension>(
    source: &OfProcess<impl Source>,
    attrs: &Map<String, Value>,
    txn: &'c Transaction,
    name: &str,
    options: &ArrayOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<BigArrayMut<'c, T, D>> {
    let dim = Layout::<D>::new(source.name(), here(source)?.descriptor()).dim();
    let options = options.or_fill_of::<T>(here(source)?.descriptor());
    let mut copy = txn.create_dim(name, dim, &options)?;
    let mut fill = || {
        attrs.iter().try_for_each(|(key, value)| copy.set_attr(key, value.clone()))?;
        copy_elements::<T>(source, &mut copy.source, progress)
    };
    match fill() {
        Ok(()) => Ok(copy),
        Err(error) => {
            drop(copy);
            // The first error says more.
            let _ = txn.remove(name);
            Err(error)
        }
    }
}

fn copy_elements<T: Element>(
    source: &OfProcess<impl Source>,
    copy: &mut OfProcess<Writer<'_>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<()> {
    let (from, to) = (source.descriptor(), copy.descriptor());
    let (total, len) = (to.nbytes() as u64, to.nbytes() / size_of::<T>());
    let part = (BATCH.min(source.budget_bytes() / 4).min(copy.budget_bytes() / 4) / size_of::<T>()).max(1);
    let block = (to.block_size.bytes() / size_of::<T>()).max(1);
    let mut told = |elements: usize| progress(Progress::new((elements * size_of::<T>()) as u64, total));
    let is_same_order = from.order == to.order || from.shape.len() < 2;
    // What was never written is equal in both.
    let skips = from.fill == to.fill;
    Walk::go(source, |walk| {
        if is_same_order {
            let bytes = |elements: &Range<usize>| elements.start * size_of::<T>()..elements.end * size_of::<T>();
            // Where it cannot be told, as after a failure to spill, the rows are read: that says why if they cannot be.
            let is_written = |elements: &Range<usize>| !skips || source.is_written(bytes(elements)).unwrap_or(true);
            let runs = WrittenRuns { step: part.min(block), most: part, is_written };
            in_order::<T>(walk, copy, len, &runs, &mut told)
        } else {
            Transposed { walk, runs: Runs::of(from), part, block }.fill::<T>(copy, &mut told)
        }
    })?
}

/// Runs of elements that were written, as far as blocks tell.
struct WrittenRuns<W> {
    /// So many elements are in a run or not.
    step: usize,
    /// No run is longer.
    most: usize,
    is_written: W,
}

impl<W: Fn(&Range<usize>) -> bool> WrittenRuns<W> {
    /// The first run in `elements`; behind them all if there is none. Asks as often as gaps and runs are, not elements.
    fn first_in(&self, elements: Range<usize>) -> Range<usize> {
        let from = |start: usize, len: usize| start..elements.end.min(start.saturating_add(len));
        let (mut start, mut len) = (elements.start, self.step);
        // Twice as many each time, until something in them was written; that is in half of them, and so on.
        while start < elements.end && !(self.is_written)(&from(start, len)) {
            start = from(start, len).end;
            len = len.saturating_mul(2);
        }
        while len > self.step {
            len /= 2;
            if !(self.is_written)(&from(start, len)) {
                start = from(start, len).end;
            }
        }
        let mut end = from(start, self.step).end;
        while end < elements.end && end - start + self.step <= self.most && (self.is_written)(&from(end, self.step)) {
            end = from(end, self.step).end;
        }
        start..end
    }
}

fn in_order<T: Element>(
    walk: &Walk<'_, impl Source>,
    copy: &mut OfProcess<Writer<'_>>,
    len: usize,
    runs: &WrittenRuns<impl Fn(&Range<usize>) -> bool>,
    told: &mut dyn FnMut(usize),
) -> Result<()> {
    let mut done = 0;
    while done < len {
        let range = runs.first_in(done..len);
        if !range.is_empty() {
            if !walk.load_together(range.start * size_of::<T>()..range.end * size_of::<T>()) {
                break;
            }
            let from = elements::<T>(walk.source, range.clone())?;
            let pieces = from.par_chunks((PIECE / size_of::<T>()).max(1));
            let to = elements_mut::<T>(copy, range.clone())?.par_chunks_mut((PIECE / size_of::<T>()).max(1));
            to.zip(pieces).for_each(|(to, from)| to.copy_from_slice(from));
        }
        done = range.end;
        told(done);
    }
    Ok(())
}
