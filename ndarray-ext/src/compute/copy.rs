//! Copies of arrays: to another name, database, order, codec or block size.

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
        /// What was never written takes no storage in the copy either, where order and fill value are the same.
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
    // Else zeros over holes are left out by the commit.
    let skips = from.fill.is_some() && from.fill == to.fill;
    Walk::go(source, |walk| {
        if is_same_order {
            in_order::<T>(walk, copy, len, if skips { part.min(block) } else { part }, skips, &mut told)
        } else {
            Transposed { walk, runs: Runs::of(from), part, block }.fill::<T>(copy, &mut told)
        }
    })?
}

fn in_order<T: Element>(
    walk: &Walk<'_, impl Source>,
    copy: &mut OfProcess<Writer<'_>>,
    len: usize,
    part: usize,
    skips: bool,
    told: &mut dyn FnMut(usize),
) -> Result<()> {
    for start in (0..len).step_by(part) {
        let range = start..len.min(start + part);
        if skips && !walk.source.is_written(range.start * size_of::<T>()..range.end * size_of::<T>())? {
            told(range.end);
            continue;
        }
        if !walk.load_together(range.start * size_of::<T>()..range.end * size_of::<T>()) {
            break;
        }
        let from = elements::<T>(walk.source, range.clone())?;
        let pieces = from.par_chunks((PIECE / size_of::<T>()).max(1));
        let to = elements_mut::<T>(copy, range.clone())?.par_chunks_mut((PIECE / size_of::<T>()).max(1));
        to.zip(pieces).for_each(|(to, from)| to.copy_from_slice(from));
        told(range.end);
    }
    Ok(())
}
