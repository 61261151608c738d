//! The handle of an array of a snapshot, for reading.

use std::fmt;
use std::marker::PhantomData;

use bigarray_core::{Access, Reader, Result};
use ndarray::Dimension;

use crate::element::Element;
use crate::handle::{debug, reading, viewing};
use crate::layout;
use crate::process::OfProcess;

/// An array of a [`Snapshot`](crate::Snapshot), for reading.
///
/// Owns its snapshot: it can be kept in a struct, returned, sent to a thread, and outlives the
/// [`Database`](crate::Database) value it came from. Cloning costs nothing. What it shows never changes; as long as it
/// lives, the storage it refers to is not reused.
///
/// It is no array of ndarray: call [`view`](Self::view) first, and index, iterate and compute as with any of those,
/// `a.view()[3]`, `&a.view() * 2.0`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// # db.transact(|txn| { txn.create::<f64, _>("A", 10)?.view_mut().fill(0.5); Ok(()) })?;
/// let a = db.array::<f64, bigarray::ndarray::Ix1>("A")?;
/// assert_eq!((a.view()[3], (&a.view() * 2.0)[9]), (0.5, 1.0));
/// # Ok::<(), bigarray::Error>(())
/// ```
///
/// What a view shows stays at its address as long as the handle lives.
///
/// A view borrows from it:
///
/// ```compile_fail,E0505
/// # use bigarray::{Database, ndarray::Ix1};
/// # let db = Database::open("a.bigarray").unwrap();
/// let a = db.array::<f64, Ix1>("A").unwrap();
/// let view = a.view();
/// drop(a);
/// println!("{}", view[0]);
/// ```
///
/// ```compile_fail,E0515
/// # use bigarray::{Database, ndarray::{ArrayView1, Ix1}};
/// fn view(db: &Database) -> ArrayView1<'static, f64> {
///     let a = db.array::<f64, Ix1>("A").unwrap();
///     a.view()
/// }
/// ```
pub struct BigArray<T, D> {
    pub(crate) source: OfProcess<Reader>,
    element: PhantomData<(T, D)>,
}

impl<T: Element, D: Dimension> BigArray<T, D> {
    /// The array, if it is one of elements `T` in `D` dimensions.
    pub(crate) fn new(source: OfProcess<Reader>) -> Result<BigArray<T, D>> {
        layout::check::<T, D>(source.name(), source.descriptor())?;
        Ok(BigArray { source, element: PhantomData })
    }

    reading!();
    viewing!();

    /// Tells how you will read the array, so that read-ahead fits: from now on, for all handles of the array in the same
    /// state. Changes speed only.
    ///
    /// For a few scattered rows take [`Access::Random`]. Then each touched page comes from the disk, and nothing else.
    /// Never take it before reading a plane across the order, which touches every block: page by page that is far slower
    /// ([table](crate::guide::view#order-and-cost)). Rows longer than a page are read in one go by
    /// [`prefetch`](Self::prefetch):
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix2};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("vectors", (1000, 4096))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::Access;
    ///
    /// let vectors = db.array::<f32, Ix2>("vectors")?;
    /// vectors.advise(Access::Random);
    /// for row in [711, 3, 999, 42] {
    ///     vectors.prefetch(row..row + 1)?;
    ///     assert_eq!(vectors.view().row(row).sum(), 2048.0);
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// With [`Pager::Copy`](crate::Pager::Copy) whole blocks are read all the same; there small blocks help.
    pub fn advise(&self, access: Access) {
        if self.source.is_here() {
            self.source.advise(access);
        }
    }
}

impl<T, D> Clone for BigArray<T, D> {
    fn clone(&self) -> Self {
        BigArray { source: self.source.clone(), element: PhantomData }
    }
}

impl<T, D: Dimension> fmt::Debug for BigArray<T, D> {
    debug!("BigArray");
}
