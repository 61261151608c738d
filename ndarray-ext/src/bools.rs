//! Arrays of `bool`: stored as bytes, of which not every one is a `bool`, so they are checked first.

use std::ops::RangeBounds;

use bigarray_core::{Descriptor, Error, ErrorKind, Order, Result};
use ndarray::{ArrayView, Dimension};

use crate::array::BigArray;
use crate::array_mut::BigArrayMut;
use crate::boolean::Bool;
use crate::layout::Layout;
use crate::process::OfProcess;
use crate::view::{self, Source};

fn checked<'a, D: Dimension>(
    source: &'a OfProcess<impl Source>,
    layout: &Layout<'_, D>,
    rows: impl RangeBounds<usize>,
) -> Result<ArrayView<'a, bool, D>> {
    view::bools(source, &layout.window(rows)?)?
        .map_err(|(at, byte)| no_bool(source.name(), source.descriptor(), at, byte))
}

fn bytes<'a, D: Dimension>(
    source: &'a OfProcess<impl Source>,
    layout: &Layout<'_, D>,
    rows: impl RangeBounds<usize>,
) -> Result<ArrayView<'a, u8, D>> {
    let window = layout.window(rows)?;
    let bytes = view::bytes(source, window.bytes.clone())?;
    Ok(ArrayView::from_shape(window.shape(), bytes).expect("an element is a byte"))
}

/// The element of byte `at` is no `bool`.
fn no_bool(name: &str, array: &Descriptor, at: usize, byte: Bool) -> Error {
    let mut rest = at;
    let mut index = vec![0; array.shape.len()];
    let mut place = |axis: usize| {
        index[axis] = rest % array.shape[axis];
        rest /= array.shape[axis];
    };
    match array.order {
        Order::RowMajor => (0..array.shape.len()).rev().for_each(&mut place),
        Order::ColumnMajor => (0..array.shape.len()).for_each(&mut place),
    }
    let byte = byte.byte();
    let why = format!(
        "array {name:?}: element {index:?} is the byte {byte}, neither 0 (false) nor 1 (true); BigArray::bytes shows what is \
         stored"
    );
    Error::new(ErrorKind::Corrupt, why)
}

impl<D: Dimension> BigArray<Bool, D> {
    /// The rows `range` as `bool`. Costs one read of them at each call: each byte is looked at, in pieces of 2 MiB, within
    /// the memory budget. What is shown does not change any more. For a part of a large array ask for its rows.
    ///
    /// ```
    /// # use bigarray::{Bool, Database, ndarray::Ix1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<Bool, _>("mask", 100)?.view_mut()[7] = true.into(); Ok(()) })?;
    /// let mask = db.array::<Bool, Ix1>("mask")?;
    /// assert!(mask.bools(5..10)?[2]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a byte that is neither 0 nor 1, naming the element; as
    /// [`rows`](Self::rows), and whatever storage reports.
    pub fn bools(&self, range: impl RangeBounds<usize>) -> Result<ArrayView<'_, bool, D>> {
        checked(&self.source, &self.layout(), range)
    }
}

impl<D: Dimension> BigArray<Bool, D> {
    /// The rows `range` as bytes, whatever these are. Costs nothing.
    ///
    /// ```
    /// # use bigarray::{Bool, Database, ndarray::Ix1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<Bool, _>("mask", 100)?.view_mut()[7] = true.into(); Ok(()) })?;
    /// let mask = db.array::<Bool, Ix1>("mask")?;
    /// assert_eq!(mask.bytes(5..10)?[2], 1);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    pub fn bytes(&self, range: impl RangeBounds<usize>) -> Result<ArrayView<'_, u8, D>> {
        bytes(&self.source, &self.layout(), range)
    }
}

impl<D: Dimension> BigArrayMut<'_, Bool, D> {
    /// As [`BigArray::bools`]. While the view lives nothing can be written to the array; after that the rows are checked
    /// again.
    ///
    /// ```
    /// # use bigarray::{Bool, Database, ndarray::Ix1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| {
    ///     let mut mask = txn.create::<Bool, _>("mask", 100)?;
    ///     mask.view_mut()[7] = true.into();
    ///     assert!(mask.bools(..)?[7]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// A view that lives on does not compile:
    ///
    /// ```compile_fail,E0502
    /// # use bigarray::{Bool, Database, ndarray::Ix1};
    /// # let db = Database::open("a.bigarray").unwrap();
    /// # let txn = db.begin().unwrap();
    /// let mut mask = txn.array::<Bool, Ix1>("mask").unwrap();
    /// let bools = mask.bools(..).unwrap();
    /// mask.view_mut()[0] = true.into();
    /// println!("{}", bools[0]);
    /// ```
    ///
    /// # Errors
    /// As [`BigArray::bools`].
    pub fn bools(&self, range: impl RangeBounds<usize>) -> Result<ArrayView<'_, bool, D>> {
        checked(&self.source, &self.layout(), range)
    }
}
