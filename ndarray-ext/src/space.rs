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
    /// db.transact(|txn| { txn.array::<f64, bigarray::ndarray::Ix1>("A")?.view_mut().fill(2.5); Ok(()) })?;
    ///
    /// let space = db.space()?;
    /// assert_eq!(space.live_bytes, 8 << 20);
    /// assert_eq!(space.pinned_bytes, 8 << 20);
    /// assert!(space.oldest_snapshot.is_some_and(|oldest| oldest.commits_behind > 0));
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
