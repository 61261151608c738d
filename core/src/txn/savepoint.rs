//! Savepoints: a savepoint spills what is dirty and remembers the transaction's table; a rollback returns to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::open_array::OpenArray;
use super::transaction::Transaction;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Ranges;
use crate::pager::SpilledBlock;

/// No two savepoints of a process have the same number.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A state of a transaction that it can go back to. See [`Transaction::savepoint`].
pub struct Savepoint {
    number: u64,
    names: BTreeMap<String, Option<usize>>,
    slots: Vec<Saved>,
}

/// What an array was.
struct Saved {
    after: Option<(String, Descriptor)>,
    dropped_from: u64,
    ends: Vec<usize>,
    attrs: Map<String, Value>,
    attrs_set: BTreeSet<String>,
    depends: Ranges,
    spill_map: BTreeMap<u64, SpilledBlock>,
}

impl Saved {
    fn of(slot: &OpenArray) -> Saved {
        Saved {
            after: slot.after.clone(),
            dropped_from: slot.dropped_from,
            ends: slot.ends.clone(),
            attrs: slot.attrs.clone(),
            attrs_set: slot.attrs_set.clone(),
            depends: slot.depends.clone(),
            spill_map: slot.spill_map.saved(),
        }
    }

    fn restore(self, slot: &mut OpenArray) {
        slot.after = self.after;
        slot.dropped_from = self.dropped_from;
        slot.ends = self.ends;
        slot.attrs = self.attrs;
        slot.attrs_set = self.attrs_set;
        slot.depends = self.depends;
        slot.spill_map.restore(self.spill_map);
    }
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
        let mut slots = Vec::with_capacity(arrays.slots.len());
        for slot in arrays.all()? {
            slot.spill()?;
            slots.push(Saved::of(slot));
        }
        let names = arrays.names.clone();
        drop(arrays);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.savepoints.push(number);
        Ok(Savepoint { number, names, slots })
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
        arrays.slots.truncate(savepoint.slots.len());
        arrays.idle().zip(savepoint.slots).for_each(|(slot, saved)| saved.restore(slot));
        arrays.names = savepoint.names;
        drop(arrays);
        self.savepoints.truncate(at);
        Ok(())
    }
}

impl fmt::Debug for Savepoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint").field("number", &self.number).field("arrays", &self.slots.len()).finish()
    }
}
