//! The handle of an array in a transaction, for reading and writing.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use bigarray_core::{Result, Writer};
use ndarray::{ArrayViewMut, Dimension};

use crate::element::Element;
use crate::handle::{changing, debug, reading, viewing};
use crate::layout;
use crate::process::OfProcess;

/// An array open in a [`Transaction`](crate::Transaction), for reading and writing.
///
/// Changes show in this transaction at once, and elsewhere once the transaction has committed.
/// Dropping it closes the array; the changes stay in the transaction. Drop it before the commit, which takes the
/// transaction that it borrows. To index and to compute call `view` or `view_mut` first.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// let txn = db.begin()?;
/// let mut a = txn.create::<f64, _>("A", 10)?;
/// a.view_mut()[3] = 2.5;
/// assert_eq!(a.view().sum(), 2.5);
/// drop(a); // else `commit` does not compile: `a` borrows `txn`
/// txn.commit()?;
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// What a view shows stays at its address until the next call that takes the handle as `&mut`, or until it is dropped: an
/// array that grows may move.
///
/// The borrow checker keeps views from outliving what they show:
///
/// ```compile_fail,E0505
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let view = a.view();
/// txn.commit().unwrap(); // a view cannot outlive the commit ...
/// println!("{}", view[0]);
/// ```
///
/// ```compile_fail,E0505
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let mut view = a.view_mut();
/// txn.abort(); // ... nor the abort ...
/// view[0] = 1.0;
/// ```
///
/// ```compile_fail,E0505
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let mut view = a.view_mut();
/// drop(a); // ... nor the array ...
/// view[0] = 1.0;
/// ```
///
/// ```compile_fail,E0502
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let view = a.view();
/// a.resize(20).unwrap(); // ... nor a resize ...
/// println!("{}", view[0]);
/// ```
///
/// ```compile_fail,E0502
/// # use bigarray::ndarray::Axis;
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let view = a.view();
/// a.append(Axis(0), view).unwrap(); // ... nor an append, least of all one of itself.
/// ```
///
/// ```compile_fail,E0499
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let mut one = a.view_mut();
/// let mut two = a.view_mut(); // One view to write through at a time; it can be split.
/// one[0] = two[0];
/// ```
///
/// ```compile_fail,E0502
/// # let db = bigarray::Database::open("a.bigarray").unwrap();
/// let txn = db.begin().unwrap();
/// let mut a = txn.create::<f64, _>("A", 10).unwrap();
/// let read = a.rows(0..5).unwrap();
/// let mut write = a.rows_mut(5..10).unwrap();
/// write[0] = read[0];
/// ```
pub struct BigArrayMut<'t, T, D> {
    pub(crate) source: OfProcess<Writer<'t>>,
    element: PhantomData<(T, D)>,
}

impl<'t, T: Element, D: Dimension> BigArrayMut<'t, T, D> {
    /// The array, if it is one of elements `T` in `D` dimensions.
    pub(crate) fn new(source: OfProcess<Writer<'t>>) -> Result<BigArrayMut<'t, T, D>> {
        layout::check::<T, D>(source.name(), source.descriptor())?;
        Ok(BigArrayMut { source, element: PhantomData })
    }

    /// The same array, which has the dimension `D2` now.
    pub(crate) fn with_dimension<D2: Dimension>(self) -> BigArrayMut<'t, T, D2> {
        BigArrayMut { source: self.source, element: PhantomData }
    }

    reading!();
    viewing!();

    /// The whole array, to change. Costs nothing: pages are loaded when they are touched, and found by commit when
    /// they were written to. A spill that fails while it lives, as on a full disk, fails the commit.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
    /// grid.view_mut().row_mut(3).fill(1.0);
    /// assert_eq!(grid.view()[[3, 29]], 1.0);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Panics
    /// If no address range of that size can be had, and in a process forked from the one that opened the array
    /// ([`rows_mut`](Self::rows_mut) says so as an error).
    pub fn view_mut(&mut self) -> ArrayViewMut<'_, T, D> {
        let whole = self.layout().whole();
        crate::view::exclusive_anyhow(&mut self.source, &whole).unwrap_or_else(|error| crate::view::no_view(&error))
    }

    /// The rows `range`, to change; see [`rows`](Self::rows). Commit looks for changes in such ranges only.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
    /// grid.rows_mut(10..20)?.mapv_inplace(|x| x * 2.0);
    /// assert_eq!((grid.view()[[10, 0]], grid.view()[[20, 0]]), (1.0, 0.5));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`rows`](Self::rows); [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports where changes
    /// are spilled, now or earlier, and there is more in memory than the budget allows.
    pub fn rows_mut(&mut self, range: impl RangeBounds<usize>) -> Result<ArrayViewMut<'_, T, D>> {
        let window = self.layout().window(range)?;
        crate::view::exclusive(&mut self.source, &window)
    }

    changing!();
}

impl<T, D: Dimension> fmt::Debug for BigArrayMut<'_, T, D> {
    debug!("BigArrayMut");
}
