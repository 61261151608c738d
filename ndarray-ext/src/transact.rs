//! Transactions that are run again until they land.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bigarray_core::store::waiting::is_wait_limit;
use bigarray_core::{Error, Result};
use bigarray_store_lmdb::is_index_full;

use crate::database::Database;
use crate::transaction::Transaction;

/// Attempts before one takes the commit lock first.
const OPTIMISTIC_ATTEMPTS: u32 = 4;

/// Longest wait before the second attempt; doubles with each one.
const BACK_OFF: Duration = Duration::from_millis(1);

/// Doublings of that at most.
const MOST_DOUBLINGS: u32 = 10;

impl Database {
    /// Runs `change` in a transaction and commits it; on a conflict runs it again on a fresh snapshot.
    ///
    /// Conflicts are met with growing, random waits, and after a few of them with the *commit lock*: while it is held
    /// no other transaction of any process commits, so this one gets through. Of a database on object storage it reaches
    /// the clones of one opening only: conflicts with others are met like those before. `change` must therefore be fit to
    /// run more than once.
    ///
    /// **It must not wait for another thread or process that commits to this database**, or opens it: with the commit
    /// lock, which it has from the fifth attempt on, it would wait for ever. That includes a thread that it starts and
    /// joins, and jobs of rayon, in which any thread of the pool may be waiting for any other. What threads compute
    /// together is fine: let them return it, and commit it here. A thread that waits for the commit lock says so by a
    /// warning event after a second, naming the thread that holds it;
    /// [`wait_timeout`](crate::OpenOptions::wait_timeout) ends such a wait.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| txn.create::<u64, _>("counter", 1).map(drop))?;
    /// let count = db.transact(|txn| {
    ///     let mut counter = txn.array::<u64, Ix1>("counter")?;
    ///     counter.view_mut()[0] += 1;
    ///     Ok(counter.view()[0])
    /// })?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `change` returns, which aborts the transaction, and what [`commit`](Transaction::commit) reports other than
    /// a conflict, [`InUse`](crate::ErrorKind::InUse) past [`wait_timeout`](crate::OpenOptions::wait_timeout) among it.
    pub fn transact<R>(&self, change: impl FnMut(&mut Transaction) -> Result<R>) -> Result<R> {
        self.try_transact(change)
    }

    /// The same for a closure with an error type of its own, which bigarray's converts to. What it returns as an error
    /// aborts the transaction and comes back as it is.
    ///
    /// ```
    /// # use bigarray::{Database, ndarray::Ix1};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = Database::open(dir.path().join("a.bigarray"))?;
    /// # db.transact(|txn| { txn.create::<i64, _>("accounts", 2)?.view_mut().fill(100); Ok(()) })?;
    /// #[derive(Debug)]
    /// enum Failure {
    ///     TooLittle(i64),
    ///     Storage(bigarray::Error),
    /// }
    ///
    /// impl From<bigarray::Error> for Failure {
    ///     fn from(error: bigarray::Error) -> Failure {
    ///         Failure::Storage(error)
    ///     }
    /// }
    ///
    /// let paid = db.try_transact(|txn| {
    ///     let mut accounts = txn.array::<i64, Ix1>("accounts")?;
    ///     let mut view = accounts.view_mut();
    ///     if view[0] < 500 {
    ///         return Err(Failure::TooLittle(view[0]));
    ///     }
    ///     view[0] -= 500;
    ///     view[1] += 500;
    ///     Ok(())
    /// });
    /// assert!(matches!(paid, Err(Failure::TooLittle(100))));
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`transact`](Database::transact), converted.
    pub fn try_transact<R, E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut Transaction) -> std::result::Result<R, E>,
    ) -> std::result::Result<R, E> {
        let mut index_may_grow = true;
        for attempt in 0..OPTIMISTIC_ATTEMPTS {
            let (txn, value) = self.run(&mut change)?;
            match txn.commit() {
                // In use is an index that another process enlarged: it is adopted when this transaction is gone. So is
                // one enlarged that another process filled, which this transaction alone may have kept from growing.
                Err(error)
                    if error.is_conflict()
                        || (error.is_in_use() && !is_wait_limit(&error))
                        || (is_index_full(&error) && std::mem::take(&mut index_may_grow)) =>
                {
                    tracing::debug!(attempt, %error, "transaction runs again");
                    std::thread::sleep(back_off(attempt));
                }
                done => return Ok(done.map(|()| value)?),
            }
        }
        self.home.check_process()?;
        let lock = self.home.engine.commit_lock()?;
        let mut attempt = OPTIMISTIC_ATTEMPTS;
        loop {
            let (txn, value) = self.run(&mut change)?;
            match txn.commit_in(Some(&*lock)) {
                // With a commit of another machine, which the lock does not reach.
                Err(error) if error.is_conflict() => {
                    tracing::debug!(attempt, %error, "transaction runs again");
                    std::thread::sleep(back_off(attempt));
                    attempt += 1;
                }
                done => return Ok(done.map(|()| value)?),
            }
        }
    }

    /// Runs `change` in a new transaction. An error of it is meant to abort that.
    fn run<R, E: From<Error>>(
        &self,
        change: &mut impl FnMut(&mut Transaction) -> std::result::Result<R, E>,
    ) -> std::result::Result<(Transaction, R), E> {
        let mut txn = self.begin()?;
        match change(&mut txn) {
            Ok(value) => Ok((txn, value)),
            Err(error) => {
                txn.abort();
                Err(error)
            }
        }
    }
}

/// A random wait of up to `BACK_OFF · 2^attempt`, so that transactions that met do not meet again.
fn back_off(attempt: u32) -> Duration {
    // Every `RandomState` hashes differently.
    let random = RandomState::new().build_hasher().finish();
    (BACK_OFF * (1 << attempt.min(MOST_DOUBLINGS))).mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bigarray_core::ErrorKind;
    use bigarray_testing::{Failing, MemStore, StoreOp};

    use super::*;

    #[test]
    fn a_conflict_with_what_the_commit_lock_does_not_reach_is_met_by_another_attempt() {
        let store = Arc::new(Failing::new(MemStore::new()));
        let db = Database::options().on(Path::new("shared"), |_| Ok(store.clone())).unwrap();
        for nth in 0..OPTIMISTIC_ATTEMPTS + 3 {
            store.fail(StoreOp::Commit, nth as usize, ErrorKind::Conflict);
        }
        let mut runs = 0;
        db.transact(|txn| {
            runs += 1;
            txn.create::<u8, _>("a", 1).map(drop)
        })
        .unwrap();
        assert_eq!((runs, store.pending()), (OPTIMISTIC_ATTEMPTS + 4, 0));
        assert_eq!(db.snapshot().unwrap().arrays().unwrap().len(), 1);
    }

    #[test]
    fn waits_grow_and_differ() {
        let waits: Vec<_> = (0..100).map(|_| back_off(3)).collect();
        assert!(waits.iter().all(|w| *w <= BACK_OFF * 8));
        assert!(waits.iter().any(|w| *w != waits[0]));
        assert!(waits.iter().any(|w| *w > BACK_OFF));
    }
}
