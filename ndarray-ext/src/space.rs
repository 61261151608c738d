//! What the files of a database are used for.

use bigarray_core::Result;
use bigarray_core::store::Space;

use crate::database::Database;

impl Database {
    /// What the files of this database are used for: elements, free room, what snapshots hold, what transactions under way
    /// wrote. Others read and commit meanwhile.
    ///
    /// A file that stays large has `free_bytes`, which later commits use, or `pinned_bytes`, which `oldest_snapshot` holds.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// db.transact(|txn| { txn.create::<f64, _>("A", 1 << 20)?.view_mut().fill(1.5); Ok(()) })?;
    /// let held = db.snapshot()?;
    /// db.transact(|txn| txn.array::<f64, _>("A")?.view_mut().map(|mut a: bigarray::ndarray::ArrayViewMut1<f64>| a.fill(2.5)))?;
    ///
    /// let space = db.space()?;
    /// assert_eq!(space.live_bytes, 8 << 20);
    /// assert_eq!(space.pinned_bytes, 8 << 20);
    /// assert_eq!(space.oldest_snapshot.map(|oldest| oldest.commits_behind), Some(1));
    /// # drop(held);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a database on object storage;
    /// [`InUse`](crate::ErrorKind::InUse) in a forked child; what reading the index gives.
    pub fn space(&self) -> Result<Space> {
        self.home.check_process()?;
        self.home.engine.space()
    }
}
