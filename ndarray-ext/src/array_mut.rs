//! The handle of an array in a transaction, for reading and writing.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeBounds;

use bigarray_core::{Access, Result, Writer};
use ndarray::{ArrayViewMut, Dimension};

use crate::element::Element;
use crate::handle::{debug, reading};
use crate::layout;
use crate::process::OfProcess;

/// An array open in a [`Transaction`](crate::Transaction), for reading and writing.
///
/// Changes show in this transaction at once, and elsewhere once the transaction has committed.
/// Dropping it closes the array; the changes stay in the transaction.
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
    pub(crate) fn new(source: Writer<'t>) -> Result<BigArrayMut<'t, T, D>> {
        layout::check::<T, D>(source.name(), source.descriptor())?;
        Ok(BigArrayMut { source: OfProcess::new(source), element: PhantomData })
    }

    /// The same array, which has the dimension `D2` now.
    pub(crate) fn with_dimension<D2: Dimension>(self) -> BigArrayMut<'t, T, D2> {
        BigArrayMut { source: self.source, element: PhantomData }
    }

    reading!();

    /// The whole array, to change. Costs nothing: pages are loaded when they are touched, and found by commit when
    /// they were written to.
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
    /// # Errors
    /// As [`rows`](Self::rows).
    pub fn rows_mut(&mut self, range: impl RangeBounds<usize>) -> Result<ArrayViewMut<'_, T, D>> {
        let window = self.layout().window(range)?;
        crate::view::exclusive(&mut self.source, &window)
    }

    /// Spills the changes: writes them to the data file before the commit, and frees their memory. No snapshot shows
    /// them before the transaction has committed; if it aborts, or its process is killed, the space is used again.
    ///
    /// Never needed for correctness: spilled pages are loaded again when they are touched. It keeps memory small
    /// between two steps of a job whose changes are to *stored* blocks, which otherwise stay in memory as long as a
    /// view of them lives (see [`memory_budget`](crate::OpenOptions::memory_budget)), and makes the commit short.
    ///
    /// ```
    /// use bigarray::{Database, ndarray::Ix2};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("in", (100_000, 32))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let input = txn.array::<f32, Ix2>("in")?;
    /// let mut out = txn.create::<f32, _>("out", (100_000, 32))?;
    /// for (n, rows) in input.blocks().enumerate() {
    ///     out.rows_mut(rows.clone())?.zip_mut_with(&input.rows(rows)?, |out, x| *out = x * 2.0);
    ///     if n % 64 == 63 {
    ///         out.flush()?;
    ///     }
    /// }
    /// drop((input, out));
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// A view cannot outlive it:
    ///
    /// ```compile_fail,E0499
    /// # let db = bigarray::Database::open("a.bigarray").unwrap();
    /// let txn = db.begin().unwrap();
    /// let mut a = txn.create::<f64, _>("A", 10).unwrap();
    /// let mut view = a.view_mut();
    /// a.flush().unwrap();
    /// view[0] = 1.0;
    /// ```
    ///
    /// # Errors
    /// [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports, also of a page that could not be
    /// loaded earlier. The changes are still there.
    pub fn flush(&mut self) -> Result<()> {
        crate::view::here_mut(&mut self.source)?.flush()
    }

    /// Says that the commit relies on the rows `range` being as this transaction saw them: it
    /// [conflicts](crate::ErrorKind::Conflict) if another one has meanwhile changed them, written zeros to them, or
    /// shrunk, reshaped, renamed or removed the array. Rows that are only read do not count otherwise, which allows [write
    /// skew](crate::guide::conflict#what-was-only-read). Holds until the transaction ends, also once the array is closed; a
    /// [rollback](crate::Transaction::rollback) forgets what was said since its savepoint.
    ///
    /// The blocks that the rows lie in are compared, so a change of other rows of these blocks conflicts, too; so does
    /// an append to the block that the rows end in. Rows appended behind that block and attributes set do not. A
    /// transaction that changes nothing may depend on rows as well: if its commit passes, they were unchanged all
    /// along.
    ///
    /// ```
    /// use bigarray::{Database, ndarray::Ix1};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| {
    /// #     txn.create::<f64, _>("prices", 100)?.view_mut().fill(2.0);
    /// #     txn.create::<f64, _>("bill", 1)?;
    /// #     Ok(())
    /// # })?;
    /// let txn = db.begin()?;
    /// let mut prices = txn.array::<f64, Ix1>("prices")?;
    /// prices.depend_on(10..20)?;
    /// txn.array::<f64, Ix1>("bill")?.view_mut()[0] = prices.rows(10..20)?.sum();
    /// drop(prices);
    /// db.transact(|other| Ok(other.array::<f64, Ix1>("prices")?.view_mut()[15] = 3.0))?;
    /// assert!(txn.commit().unwrap_err().is_conflict()); // the bill would be wrong
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`rows`](Self::rows) for rows that there are not.
    pub fn depend_on(&mut self, range: impl RangeBounds<usize>) -> Result<()> {
        let bytes = self.layout().bytes(range)?;
        crate::view::here_mut(&mut self.source)?.depend_on(bytes);
        Ok(())
    }

    /// Says how the array will be read, until the transaction ends; see [`BigArray::advise`](crate::BigArray::advise).
    /// Views may live.
    pub fn advise(&self, access: Access) {
        if self.source.is_here() {
            self.source.advise(access);
        }
    }

    /// Sets an attribute: any JSON value.
    ///
    /// Conflicts with another transaction that set the same attribute of the array, whatever to, or that removed or
    /// renamed the array, with no other.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 255 bytes or has control characters.
    pub fn set_attr(&mut self, key: &str, value: serde_json::Value) -> Result<()> {
        crate::view::here_mut(&mut self.source)?.set_attr(key, value)
    }

    /// Removes an attribute, and returns what it was; `None` if there is none of that name, which changes nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// let mut sst = txn.create::<f32, _>("sst", 12)?;
    /// sst.set_attr("unit", "K".into())?;
    /// assert_eq!(sst.remove_attr("unit")?, Some("K".into()));
    /// assert!(sst.attrs().is_empty());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// Conflicts as [`set_attr`](BigArrayMut::set_attr) does.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
    pub fn remove_attr(&mut self, key: &str) -> Result<Option<serde_json::Value>> {
        Ok(crate::view::here_mut(&mut self.source)?.remove_attr(key))
    }
}

impl<T, D: Dimension> fmt::Debug for BigArrayMut<'_, T, D> {
    debug!("BigArrayMut");
}
