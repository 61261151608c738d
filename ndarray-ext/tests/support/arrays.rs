//! Stores an array in one line.

use bigarray::ndarray::{ArrayBase, Data, Dimension};
use bigarray::{BigArrayMut, Element, Transaction};

use super::TestDb;

/// Bytes of a block unless told otherwise.
pub(crate) const LARGE_BLOCK: usize = 2 << 20;

impl TestDb {
    /// Runs `change` in a transaction and commits it.
    pub(crate) fn commit<R>(&self, change: impl FnOnce(&Transaction) -> R) -> R {
        let txn = self.begin().unwrap();
        let value = change(&txn);
        txn.commit().unwrap();
        value
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

/// Fails unless `error`'s message has all `parts`.
#[track_caller]
pub(crate) fn says(error: &bigarray::Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}
