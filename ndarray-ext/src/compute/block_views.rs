//! Views of an array's blocks, gone over by several threads.

use std::marker::PhantomData;
use std::ops::Range;

use bigarray_core::{Reader, Result, Writer};
use ndarray::{ArrayView, Dimension};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::walk::Walk;
use crate::blocks::Blocks;
use crate::element::Element;
use crate::layout::Layout;
use crate::process::OfProcess;
use crate::view::{Source, here, shared};

/// All of an array as views of about a block of storage each, for rayon's threads. Made by
/// [`par_blocks`](crate::BigArray::par_blocks).
///
/// Each view is of whole rows, as [`blocks`](crate::BigArray::blocks) tells them. Its block is loaded before the closure has it,
/// and those that the thread comes to next are loaded meanwhile, within the memory budget. What storage reports comes as
/// an error, and no more closures are called then. (A block that had to leave memory again before the closure was done
/// with it is loaded again; a failure of that ends the process, as it does for any view.)
///
/// The work is split by the blocks alone, and put together in their order: the outcome does not depend on the number of
/// threads.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| {
/// #     txn.create::<i32, _>("a", (2, 3))?.view_mut().assign(&bigarray::ndarray::aview2(&[[1, 2, 3], [4, 5, 6]]));
/// #     Ok(())
/// # })?;
/// use bigarray::ndarray::Ix2;
///
/// let a = db.array::<i32, Ix2>("a")?; // 1, 2, 3 and 4, 5, 6
/// assert_eq!(a.par_blocks().map(|_, rows| rows.len())?.iter().sum::<usize>(), 6);
/// # Ok::<(), bigarray::Error>(())
/// ```
#[must_use = "blocks are gone over by `map` or `fold`"]
pub struct BlockViews<'a, T, D> {
    array: Array<'a>,
    element: PhantomData<(T, D)>,
}

#[derive(Clone, Copy)]
enum Array<'a> {
    OfSnapshot(&'a OfProcess<Reader>),
    InTransaction(&'a OfProcess<Writer<'a>>),
}

impl<'a, T: Element, D: Dimension> BlockViews<'a, T, D> {
    pub(super) fn of_snapshot(source: &'a OfProcess<Reader>) -> BlockViews<'a, T, D> {
        BlockViews { array: Array::OfSnapshot(source), element: PhantomData }
    }

    pub(super) fn in_transaction(source: &'a OfProcess<Writer<'a>>) -> BlockViews<'a, T, D> {
        BlockViews { array: Array::InTransaction(source), element: PhantomData }
    }

    /// What `f` makes of each block, in their order. It has the block's rows, and a view of them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("a", (1000, 1000))?.view_mut().fill(0.5); Ok(()) })?;
    /// let a = db.array::<f32, bigarray::ndarray::Ix2>("a")?;
    /// let largest = a.par_blocks().map(|_rows, block| block.iter().copied().fold(0.0, f32::max))?;
    /// assert_eq!(largest, [0.5, 0.5]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports. [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
    pub fn map<R: Send>(self, f: impl Fn(Range<usize>, ArrayView<'_, T, D>) -> R + Sync) -> Result<Vec<R>> {
        match self.array {
            Array::OfSnapshot(source) => map(source, f),
            Array::InTransaction(source) => map(source, f),
        }
    }

    /// Folds each block into what `identity` gives, and merges the outcomes of neighbours, then of these, until there is
    /// one. An empty array's is what `identity` gives.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("a", (1000, 1000))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::{Array2, Ix2};
    ///
    /// // A product of the matrix with its transpose, in 64 bits.
    /// let a = db.array::<f32, Ix2>("a")?;
    /// let products = a.par_blocks().fold(
    ///     || Array2::<f64>::zeros((1000, 1000)),
    ///     |products, _rows, block| {
    ///         let block = block.mapv(f64::from);
    ///         products + block.t().dot(&block)
    ///     },
    ///     |front, back| front + back,
    /// )?;
    /// assert_eq!(products[[3, 4]], 250.0);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`map`](BlockViews::map).
    pub fn fold<A: Send>(
        self,
        identity: impl Fn() -> A + Sync,
        fold: impl Fn(A, Range<usize>, ArrayView<'_, T, D>) -> A + Sync,
        merge: impl Fn(A, A) -> A + Sync,
    ) -> Result<A> {
        let each = |rows: Range<usize>, view: ArrayView<'_, T, D>| fold(identity(), rows, view);
        let folded = match self.array {
            Array::OfSnapshot(source) => map_and_merge(source, each, merge),
            Array::InTransaction(source) => map_and_merge(source, each, merge),
        };
        Ok(folded?.unwrap_or_else(identity))
    }
}

fn map<T: Element, D: Dimension, R: Send>(
    source: &OfProcess<impl Source>,
    f: impl Fn(Range<usize>, ArrayView<'_, T, D>) -> R + Sync,
) -> Result<Vec<R>> {
    let blocks = Blocks::new(here(source)?.descriptor());
    // `None` is a walk that failed.
    let outcomes = Walk::go(source, |walk| blocks.into_par_iter().map(|rows| block(walk, rows, &f)).collect());
    outcomes.map(|outcomes: Option<Vec<R>>| outcomes.unwrap_or_default())
}

fn map_and_merge<T: Element, D: Dimension, A: Send>(
    source: &OfProcess<impl Source>,
    f: impl Fn(Range<usize>, ArrayView<'_, T, D>) -> A + Sync,
    merge: impl Fn(A, A) -> A + Sync,
) -> Result<Option<A>> {
    let blocks = Blocks::new(here(source)?.descriptor());
    let all = 0..blocks.len();
    Walk::go(source, |walk| tree(&|n| block(walk, blocks.clone().nth(n)?, &f), &merge, all))
}

/// What the leaves `range` give, merged. `None` if there are none, or one of them gave nothing.
fn tree<A: Send>(
    leaf: &(impl Fn(usize) -> Option<A> + Sync),
    merge: &(impl Fn(A, A) -> A + Sync),
    range: Range<usize>,
) -> Option<A> {
    match range.len() {
        0 => None,
        1 => leaf(range.start),
        len => {
            let middle = range.start + len / 2;
            let halves = || tree(leaf, merge, range.start..middle);
            let (front, back) = rayon::join(halves, || tree(leaf, merge, middle..range.end));
            Some(merge(front?, back?))
        }
    }
}

/// What `f` makes of one block, once it is loaded.
fn block<T: Element, D: Dimension, R>(
    walk: &Walk<'_, impl Source>,
    rows: Range<usize>,
    f: impl Fn(Range<usize>, ArrayView<'_, T, D>) -> R,
) -> Option<R> {
    let source = walk.source;
    let layout = Layout::<D>::new(source.name(), source.descriptor());
    let window = layout.window(rows.clone()).map_err(|error| walk.fail(error)).ok()?;
    if !walk.load(window.bytes.clone()) {
        return None;
    }
    let view = shared(source, &window).map_err(|error| walk.fail(error)).ok()?;
    Some(f(rows, view))
}
