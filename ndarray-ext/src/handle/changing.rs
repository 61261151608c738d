//! What handles of a transaction change without knowing the type of the elements.

/// The methods that change and need no type, for a handle with a [`Writer`](bigarray_core::Writer) as its field
/// `source`.
macro_rules! changing {
    () => {
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
        pub fn flush(&mut self) -> crate::Result<()> {
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
        /// As [`rows`](crate::BigArrayMut::rows) for rows that there are not.
        pub fn depend_on(&mut self, range: impl std::ops::RangeBounds<usize>) -> crate::Result<()> {
            let bytes = crate::layout::bytes(self.source.name(), self.source.descriptor(), range)?;
            crate::view::here_mut(&mut self.source)?.depend_on(bytes);
            Ok(())
        }

        /// Says how the array will be read, until the transaction ends; see [`BigArray::advise`](crate::BigArray::advise).
        /// Views may live.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # db.transact(|txn| { txn.create::<f32, _>("grid", (40, 30))?.view_mut().fill(0.5); Ok(()) })?;
        /// let txn = db.begin()?;
        /// let grid = txn.array::<f32, bigarray::ndarray::Ix2>("grid")?;
        /// grid.advise(bigarray::Access::Random);
        /// assert_eq!(grid.view()[[17, 4]], 0.5);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        pub fn advise(&self, access: crate::Access) {
            if self.source.is_here() {
                self.source.advise(access);
            }
        }

        /// Sets an attribute: any JSON value.
        ///
        /// **JSON has no NaN and no infinity, and `serde_json` makes `null` of them**, in `json!` and `Value::from`, before
        /// bigarray sees them. [`set_attr_number`](Self::set_attr_number) refuses them instead.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// use bigarray::serde_json::json;
        ///
        /// # let txn = db.begin()?;
        /// let mut sst = txn.create::<f32, _>("sst", (60, 12))?;
        /// sst.set_attr("unit", "K".into())?;
        /// sst.set_attr("range", json!({ "from": 271.0, "to": 305.0 }))?;
        /// assert_eq!(sst.attrs()["range"]["to"], 305.0);
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// Conflicts with another transaction that set the same attribute of the array, whatever to, or that removed or
        /// renamed the array, with no other.
        ///
        /// # Errors
        /// [`Invalid`](crate::ErrorKind::Invalid) for a key that is empty, longer than 255 bytes or has control
        /// characters; [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
        pub fn set_attr(&mut self, key: &str, value: serde_json::Value) -> crate::Result<()> {
            crate::view::here_mut(&mut self.source)?.set_attr(key, value)
        }

        /// Sets an attribute to a number, which JSON has.
        ///
        /// ```
        /// # let dir = tempfile::tempdir().unwrap();
        /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
        /// # let txn = db.begin()?;
        /// let mut sst = txn.create::<f32, _>("sst", (60, 12))?;
        /// sst.set_attr_number("scale", 0.01)?;
        /// assert!(sst.set_attr_number("missing", f32::NAN).unwrap_err().is_invalid());
        /// sst.set_attr("missing", "NaN".into())?; // as Zarr has it
        /// # Ok::<(), bigarray::Error>(())
        /// ```
        ///
        /// # Errors
        /// [`Invalid`](crate::ErrorKind::Invalid) for NaN and infinities; as [`set_attr`](Self::set_attr).
        pub fn set_attr_number(&mut self, key: &str, number: impl Into<f64>) -> crate::Result<()> {
            let number = number.into();
            let Some(json) = serde_json::Number::from_f64(number) else {
                let name = self.name();
                let why = format!(
                    "array {name:?}: attribute {key:?} cannot be {number}, which JSON does not have; store it as a text, \
                     {:?}",
                    number.to_string()
                );
                return Err(crate::Error::new(crate::ErrorKind::Invalid, why));
            };
            self.set_attr(key, json.into())
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
        /// Conflicts as [`set_attr`](Self::set_attr) does.
        ///
        /// # Errors
        /// [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the array.
        pub fn remove_attr(&mut self, key: &str) -> crate::Result<Option<serde_json::Value>> {
            Ok(crate::view::here_mut(&mut self.source)?.remove_attr(key))
        }
    };
}

pub(crate) use changing;
