//! Arrays are created and opened in a transaction.

use std::ops::Deref;
use std::sync::Arc;

use bigarray_core::{ArrayId, Descriptor, Error, Result, Version, Writer, signals};
use ndarray::{Dimension, IntoDimension};

use super::Transaction;
use crate::any_array_mut::AnyArrayMut;
use crate::array_mut::BigArrayMut;
use crate::array_options::ArrayOptions;
use crate::dtype::element_type;
use crate::element::Element;
use crate::process::OfProcess;

/// Opening and creating arrays.
impl Transaction {
    /// Creates a row-major array of zeros. It costs no storage until it is written to.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let txn = db.begin()?;
    /// txn.create::<f64, _>("grid", (1000, 1000))?.view_mut()[[3, 4]] = 1.5;
    /// txn.create::<u8, _>("log", 0)?;
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists), [`TooLarge`](crate::ErrorKind::TooLarge) for a shape of more
    /// than `isize::MAX` bytes, [`Invalid`](crate::ErrorKind::Invalid) for a name that is empty, longer than 255 bytes
    /// or has control characters, and where the database is open for reading only;
    /// [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports where changes of closed arrays are spilled.
    pub fn create<T: Element, Sh: IntoDimension>(&self, name: &str, shape: Sh) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.create_with(name, shape, &ArrayOptions::new())
    }

    /// The same with another order, block size, codec or fill value.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, Codec};
    ///
    /// let txn = db.begin()?;
    /// let a = txn.create_with::<f32, _>("a", (0, 12), &ArrayOptions::new().codec(Codec::Lz4 { shuffle: true }))?;
    /// assert_eq!(a.shape(), [0, 12]);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create`](Transaction::create); [`Invalid`](crate::ErrorKind::Invalid) for a block size or compression level
    /// that is none, [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch) for a fill value of another type than `T`,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that is not compiled in, and for a fill value that this
    /// database cannot keep, or that does not fit into memory where no page faults can be delivered.
    pub fn create_with<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.create_dim(name, shape.into_dimension(), options)
    }

    /// The same with a dimension that is none of another type.
    pub(crate) fn create_dim<T: Element, D: Dimension>(
        &self,
        name: &str,
        shape: D,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, D>> {
        let writer = self.create_erased(name, T::dtype(), size_of::<T>(), shape.slice(), options)?;
        BigArrayMut::new(OfProcess::new(writer))
    }

    fn create_erased(
        &self,
        name: &str,
        dtype: String,
        item_size: usize,
        shape: &[usize],
        options: &ArrayOptions,
    ) -> Result<Writer<'_>> {
        let _held = signals::hold_between_waits();
        self.check_change(format_args!("create array {name:?}"))?;
        let named = |e: Error| e.context(format_args!("array {name:?}"));
        let (order, block_size, codec) = options.checked().map_err(named)?;
        let fill = options.checked_fill(&dtype, item_size).map_err(named)?;
        let descriptor = Descriptor {
            id: ArrayId(0), // given by the commit
            dtype,
            item_size,
            shape: shape.to_vec(),
            order,
            block_size,
            skip: 0,
            codec,
            fill,
            changed: Version(0),
            reshaped: Version(0),
            named: Version(0),
        };
        self.inner.create(name, descriptor)
    }

    /// Opens the array `name`, whose elements are of type `T` and which has the dimension `D`; `IxDyn` opens any.
    /// Several arrays can be open at once, each once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use bigarray::ndarray::Ix2;
    ///
    /// let txn = db.begin()?;
    /// let mut grid = txn.array::<f32, Ix2>("grid")?;
    /// grid.view_mut()[[0, 0]] = 2.5;
    /// assert!(txn.array::<f32, Ix2>("grid").unwrap_err().is_in_use()); // `grid` has it
    /// drop(grid);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound), [`DtypeMismatch`](crate::ErrorKind::DtypeMismatch),
    /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) if the dimension is another,
    /// [`InUse`](crate::ErrorKind::InUse) if it is open already, [`Unsupported`](crate::ErrorKind::Unsupported) if its
    /// codec is not compiled in; [`StoreFull`](crate::ErrorKind::StoreFull) and whatever else storage reports, also where
    /// changes of closed arrays are spilled.
    pub fn array<T: Element, D: Dimension>(&self, name: &str) -> Result<BigArrayMut<'_, T, D>> {
        self.home.check_process()?;
        BigArrayMut::new(OfProcess::new(self.inner.open(name)?))
    }

    /// The same, with a handle that keeps the transaction instead of borrowing it: both can be in one struct, as bindings
    /// of other languages need it.
    ///
    /// [`Arc::into_inner`] and [`Arc::try_unwrap`] give the transaction back, to be committed, once no handle has it any
    /// more. As long as one has, the first is `None` and drops its `Arc`, the second returns it. If all are dropped, the
    /// transaction is aborted with the last.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| txn.create::<f64, _>("grid", 10).map(drop))?;
    /// use std::sync::Arc;
    /// use bigarray::{BigArrayMut1, Transaction};
    ///
    /// struct Session {
    ///     grid: BigArrayMut1<'static, f64>,
    ///     txn: Arc<Transaction>,
    /// }
    ///
    /// let txn = Arc::new(db.begin()?);
    /// let mut session = Session { grid: txn.array_owned("grid")?, txn };
    /// session.grid.view_mut()[3] = 1.5;
    ///
    /// let Session { grid, txn } = session;
    /// drop(grid);
    /// Arc::into_inner(txn).expect("no handle is left").commit()?;
    /// assert_eq!(db.array::<f64, bigarray::ndarray::Ix1>("grid")?.view()[3], 1.5);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array).
    pub fn array_owned<T: Element, D: Dimension>(self: &Arc<Self>, name: &str) -> Result<BigArrayMut<'static, T, D>> {
        BigArrayMut::new(OfProcess::new(self.open_owned(name)?))
    }

    /// Opens the array `name`, whatever its elements and its dimension are; see [`AnyArrayMut`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// let txn = db.begin()?;
    /// let mut grid = txn.any_array("grid")?;
    /// grid.row_bytes_mut(0..1)?.fill(0);
    /// drop(grid);
    /// txn.commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array), but for the two mismatches.
    pub fn any_array(&self, name: &str) -> Result<AnyArrayMut<'_>> {
        self.home.check_process()?;
        AnyArrayMut::new(self.inner.open(name)?)
    }

    /// The same, with a handle that keeps the transaction; see [`array_owned`](Transaction::array_owned).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
    /// use std::sync::Arc;
    ///
    /// let txn = Arc::new(db.begin()?);
    /// let mut grid = txn.any_array_owned("grid")?;
    /// grid.resize(&[50, 30])?;
    /// drop(grid);
    /// Arc::into_inner(txn).expect("no handle is left").commit()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`any_array`](Transaction::any_array).
    pub fn any_array_owned(self: &Arc<Self>, name: &str) -> Result<AnyArrayMut<'static>> {
        AnyArrayMut::new(self.open_owned(name)?)
    }

    fn open_owned(self: &Arc<Self>, name: &str) -> Result<Writer<'static>> {
        self.home.check_process()?;
        bigarray_core::Transaction::open_owned(Owner(self.clone()), name)
    }

    /// Creates an array of zeros whose element type is known by its NumPy name only, as a converter of other formats or a
    /// binding of another language has it: `"<f4"`, `"|u1"`, `"[('time', '<i8'), ('size', '<u4', (2,))]"`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, ndarray::{Ix1, arr1}};
    ///
    /// db.transact(|txn| {
    ///     let mut copied = txn.create_any("copied", "<u2", &[0], &ArrayOptions::new())?;
    ///     copied.append_bytes(&[1, 0, 2, 0])
    /// })?;
    /// assert_eq!(db.array::<u16, Ix1>("copied")?.view(), arr1(&[1, 2]));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create_with`](Transaction::create_with); [`Invalid`](crate::ErrorKind::Invalid) for a `dtype` that no
    /// [`Element`] has: of another byte order, a text, a struct with two fields of one name.
    pub fn create_any(
        &self,
        name: &str,
        dtype: &str,
        shape: &[usize],
        options: &ArrayOptions,
    ) -> Result<AnyArrayMut<'_>> {
        let (dtype, item_size) = element_type(dtype).map_err(|e| e.context(format_args!("array {name:?}")))?;
        AnyArrayMut::new(self.create_erased(name, dtype, item_size, shape, options)?)
    }

    /// Opens the array `name`, or creates it with `shape` if there is none. An array that is there keeps its shape, which
    /// may have grown.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::ndarray::{Axis, aview1};
    ///
    /// for _ in 0..2 {
    ///     db.transact(|txn| txn.open_or_create::<u64, _>("log", 0)?.append(Axis(0), aview1(&[1, 2, 3])))?;
    /// }
    /// # assert_eq!(db.array::<u64, bigarray::ndarray::Ix1>("log")?.len(), 6);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`array`](Transaction::array) for one that is there, but for *not found*; as [`create`](Transaction::create)
    /// for one that is not.
    pub fn open_or_create<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        self.open_or_create_with(name, shape, &ArrayOptions::new())
    }

    /// The same; one that is created has these options.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// use bigarray::{ArrayOptions, ndarray::Order};
    ///
    /// let options = ArrayOptions::new().order(Order::ColumnMajor);
    /// let txn = db.begin()?;
    /// let frames = txn.open_or_create_with::<u16, _>("frames", (512, 512, 0), &options)?;
    /// assert_eq!(frames.order(), Order::ColumnMajor);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open_or_create`](Transaction::open_or_create), and as [`create_with`](Transaction::create_with).
    pub fn open_or_create_with<T: Element, Sh: IntoDimension>(
        &self,
        name: &str,
        shape: Sh,
        options: &ArrayOptions,
    ) -> Result<BigArrayMut<'_, T, Sh::Dim>> {
        match self.array(name) {
            Err(error) if error.is_not_found() => self.create_with(name, shape, options),
            opened => opened,
        }
    }
}

/// What a handle has that keeps its transaction.
struct Owner(Arc<Transaction>);

impl Deref for Owner {
    type Target = bigarray_core::Transaction;

    fn deref(&self) -> &bigarray_core::Transaction {
        &self.0.inner
    }
}
