//! Following what others commit.

use std::time::Duration;

use bigarray_core::{Result, Version};

use crate::database::Database;
use crate::snapshot::Snapshot;

impl Database {
    /// Waits until there is a later state than the one with the number `after`, and gives the newest. A commit of this
    /// process counts as one of another process or machine does. `None` if there was none for as long as `timeout`.
    ///
    /// A commit between the snapshot that `after` is of and this call is not missed: then there is nothing to wait for.
    /// Several commits in a row may be seen as one, and a later state need not show anything new: a directory makes some for
    /// itself, as when a transaction of any process spills. The wait goes on after a signal, whose handler runs meanwhile.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// let seen = db.snapshot()?.version();
    /// let writer = std::thread::spawn({
    ///     let db = db.clone(); // it could be another process as well
    ///     move || db.transact(|txn| txn.create::<f64, _>("sst", (60, 12)).map(drop))
    /// });
    /// let newer = db.wait_for_commit(seen, Duration::from_secs(60))?.expect("a commit within a minute");
    /// assert!(newer.version() > seen);
    /// assert_eq!(newer.arrays()?.len(), 1);
    /// # writer.join().unwrap()?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// To follow for ever, keep the number and not the snapshot, whose storage would not be reused:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # let db = bigarray::Database::open("a.bigarray")?;
    /// let mut seen = db.snapshot()?.version();
    /// loop {
    ///     let Some(newer) = db.wait_for_commit(seen, Duration::from_secs(10))? else { continue };
    ///     seen = newer.version();
    ///     println!("{} arrays", newer.arrays()?.len());
    /// }
    /// # #[allow(unreachable_code)]
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Cost
    /// The calling thread sleeps, and looks again and again, so nothing that happens to the committing process can make it
    /// miss a commit. In a directory a look takes a fraction of a microsecond; the pauses grow with the wait, from 0.1 ms
    /// to 5 ms, and a commit is seen within one of them. A database on object storage is asked by a request, which brings
    /// nothing if there was no commit, after pauses of 0.1 s to 1 s, and as seldom as its option `max_staleness` allows.
    ///
    /// # Errors
    /// As [`snapshot`](Database::snapshot). A server that does not answer may make the call last longer than `timeout`, by
    /// its `deadline` at most.
    pub fn wait_for_commit(&self, after: Version, timeout: Duration) -> Result<Option<Snapshot>> {
        self.home.check_process()?;
        let newer = self.home.engine.wait_for_commit(after, timeout)?;
        Ok(newer.map(|state| Snapshot::new(self.home.clone(), state)))
    }
}
