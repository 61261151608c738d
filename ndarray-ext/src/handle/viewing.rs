//! What handles that know the type of the elements read.

/// The methods that read elements of a type `T` in `D` dimensions, for the same.
macro_rules! viewing {
    () => {
        pub(crate) fn layout(&self) -> crate::layout::Layout<'_, D> {
            crate::layout::Layout::new(self.source.name(), self.source.descriptor())
        }

        /// Length of each axis, as ndarray's `dim` gives it: a number, a tuple, or for `IxDyn` an array of numbers.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| txn.create::<f32, _>("grid", (40, 30)).map(drop))?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// let (rows, columns) = grid.dim();
        /// assert_eq!((rows, columns), (40, 30));
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn dim(&self) -> D::Pattern {
            self.layout().dim().into_pattern()
        }

        /// The value of elements that were never written: zero, or what [`ArrayOptions::fill`](crate::ArrayOptions::fill) was
        /// given when the array was created.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// let options = bigarray::ArrayOptions::new().fill(-1i32);
        /// db.transact(|txn| txn.create_with::<i32, _>("labels", (40, 30), &options).map(drop))?;
        /// let labels = db.array::<i32, bigarray::ndarray::Ix2>("labels")?;
        /// assert_eq!(labels.fill_value(), -1);
        /// assert_eq!(labels.view()[[39, 29]], -1);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn fill_value(&self) -> T {
            let fill = self.source.descriptor().fill.as_ref();
            fill.map_or(T::zeroed(), |fill| bytemuck::pod_read_unaligned(fill.bytes()))
        }

        /// The whole array, as ndarray sees it. Costs nothing: pages are loaded when they are touched.
        ///
        /// ndarray's `sum`, `mean`, `std` and `product` of a view add up in the type of its elements, which for `f32` and
        /// `f16` is far too little for millions of them. [`sum`](Self::sum), [`mean`](Self::mean), [`std`](Self::std) and
        /// others of the array itself are right, and use all processors.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// assert_eq!(grid.view().row(3).sum(), 15.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Panics
        /// If no address range of that size can be had, and in a process forked from the one that opened the array
        /// ([`rows`](Self::rows) says so as an error).
        pub fn view(&self) -> ndarray::ArrayView<'_, T, D> {
            crate::view::shared(&self.source, &self.layout().whole())
                .unwrap_or_else(|error| crate::view::no_view(&error))
        }

        /// The rows `range`: consecutive slices along the growth axis, which is the first of a row-major array and the
        /// last of a column-major one. An array of dimension 0 is one row.
        ///
        /// Rows are one run of bytes, the cheapest part to read; see the [table](crate::guide::view#order-and-cost).
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let grid = db.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// assert_eq!(grid.rows(10..20)?.dim(), (10, 30));
        /// assert_eq!(grid.rows(..)?.sum(), 600.0);
        /// assert!(grid.rows(35..45).unwrap_err().is_shape_mismatch());
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`ShapeMismatch`](crate::ErrorKind::ShapeMismatch) for rows that are not there,
        /// [`TooLarge`](crate::ErrorKind::TooLarge) if no address range can be had; [`InUse`](crate::ErrorKind::InUse)
        /// in a process forked from the one that opened the array.
        pub fn rows(&self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<ndarray::ArrayView<'_, T, D>> {
            crate::view::shared(&self.source, &self.layout().window(range)?)
        }
    };
}

pub(crate) use viewing;
