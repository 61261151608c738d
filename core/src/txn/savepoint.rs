//! Savepoints: a savepoint spills what is dirty and remembers the transaction's table; a rollback returns to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::open_array::{Metadata, OpenArray};
use super::transaction::Transaction;
use crate::error::{Error, ErrorKind, Result};
use crate::pager::SpilledBlock;

/// No two savepoints of a process have the same number.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A state of a transaction that it can go back to: made by `Transaction::savepoint`.
#[must_use = "a savepoint that is dropped is released"]
pub struct Savepoint {
    number: u64,
    names: BTreeMap<String, Option<usize>>,
    attrs_set: BTreeMap<String, Option<Value>>,
    arrays: Vec<Saved>,
}

/// What an array was.
struct Saved {
    metadata: Metadata,
    spill_map: BTreeMap<u64, SpilledBlock>,
}

impl Transaction {
    /// A state to [go back to](Transaction::rollback). What was written so far is spilled, which
    /// gives its memory back; no other transaction sees it.
    ///
    /// # Errors
    /// [`StoreFull`](ErrorKind::StoreFull), [`Io`](ErrorKind::Io), and the first failure to load any page of an array;
    /// [`Invalid`](ErrorKind::Invalid) after an array handle was leaked. The transaction is as it was.
    pub fn savepoint(&mut self) -> Result<Savepoint> {
        let mut arrays = self.arrays.lock();
        let mut saved = Vec::with_capacity(arrays.places.len());
        for array in arrays.all()? {
            array.spill()?;
            saved.push(Saved { metadata: array.metadata.clone(), spill_map: array.spill_map.saved() });
        }
        let (names, attrs_set) = (arrays.names.clone(), arrays.attrs_set.clone());
        drop(arrays);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.savepoints.push(number);
        Ok(Savepoint { number, names, attrs_set, arrays: saved })
    }

    /// Goes back to `savepoint`: bytes, shapes, attributes, and what was created, removed and renamed since. Later
    /// savepoints and this one are released.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a savepoint of another transaction, or one that was released, and after an
    /// array handle was leaked; the transaction is as it was.
    pub fn rollback(&mut self, savepoint: Savepoint) -> Result<()> {
        let Ok(at) = self.savepoints.binary_search(&savepoint.number) else {
            let why = "the savepoint is of another transaction, or was released by going back to an earlier one";
            return Err(Error::new(ErrorKind::Invalid, why));
        };
        let mut arrays = self.arrays.lock();
        arrays.all()?.into_iter().for_each(OpenArray::abandon);
        // Arrays that it used since are as the snapshot has them.
        arrays.places.truncate(savepoint.arrays.len());
        for (array, saved) in arrays.idle().zip(savepoint.arrays) {
            array.metadata = saved.metadata;
            array.spill_map.restore(saved.spill_map);
        }
        (arrays.names, arrays.attrs_set) = (savepoint.names, savepoint.attrs_set);
        drop(arrays);
        self.savepoints.truncate(at);
        Ok(())
    }
}

impl fmt::Debug for Savepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint").field("number", &self.number).field("arrays", &self.arrays.len()).finish()
    }
}
