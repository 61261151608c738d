//! A database for one test, checked when the test ends.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::Deref;
use std::path::PathBuf;

use bigarray::{BigArrayMut, Database, Element, Transaction};
use bigarray_store_lmdb::{LmdbStore, Options};
use ndarray::{ArrayBase, Data, Dimension};

pub(crate) const BLOCK: usize = 2 << 20;
pub(crate) const SMALL_BLOCK: usize = 64 << 10;

/// A database in a directory of its own. When it is dropped the store's consistency check runs.
pub(crate) struct TestDb {
    pub(crate) db: Database,
    dir: tempfile::TempDir,
}

pub(crate) fn db() -> TestDb {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.bigarray")).unwrap();
    TestDb { db, dir }
}

impl TestDb {
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("a.bigarray")
    }

    /// Closes the database, as far as this handle keeps it open, and opens it again.
    pub(crate) fn reopen(self) -> TestDb {
        let path = self.path();
        self.check();
        let TestDb { db, dir } = self;
        drop(db);
        TestDb { db: Database::open(path).unwrap(), dir }
    }

    /// Runs `change` in a transaction and commits it.
    pub(crate) fn commit<R>(&self, change: impl FnOnce(&Transaction) -> R) -> R {
        let txn = self.db.begin().unwrap();
        let value = change(&txn);
        txn.commit().unwrap();
        value
    }

    pub(crate) fn check(&self) {
        let store = LmdbStore::open(&Options::new(self.path())).unwrap();
        store.check(true).unwrap();
    }
}

impl Deref for TestDb {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}

/// Creates the array `name` with the elements, shape and dimension of `from`.
pub(crate) fn store<'t, T: Element, D: Dimension>(
    txn: &'t Transaction,
    name: &str,
    from: &ArrayBase<impl Data<Elem = T>, D>,
) -> BigArrayMut<'t, T, D> {
    let mut a = txn.create::<T, _>(name, from.raw_dim()).unwrap();
    a.view_mut().assign(from);
    a
}

/// Whether `error`'s message has all `parts`.
#[track_caller]
pub(crate) fn says(error: &bigarray::Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}
