//! Attributes of the database in a transaction.

use serde_json::{Map, Value};

use super::transaction::Transaction;
use crate::descriptor::ArrayId;
use crate::error::{Error, Result};
use crate::signals;

impl Transaction {
    /// The attributes of the database, as this transaction sees them.
    pub fn attrs(&self) -> Result<Map<String, Value>> {
        let arrays = self.arrays.lock();
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        let mut attrs: Map<String, Value> = self.snapshot.attrs(ArrayId::DATABASE)?.into_iter().collect();
        for (name, value) in &arrays.attrs_set {
            match value {
                Some(value) => attrs.insert(name.clone(), value.clone()),
                None => attrs.remove(name),
            };
        }
        Ok(attrs)
    }

    /// Sets an attribute of the database.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name that no attribute can have.
    pub fn set_attr(&self, name: &str, value: Value) -> Result<()> {
        let named = |error: Error| error.context("the database");
        self.engine.store.check_attr_name(name).map_err(named)?;
        let mut arrays = self.arrays.lock();
        let _held = signals::hold_between_waits();
        arrays.attrs_set.insert(name.to_owned(), Some(value));
        Ok(())
    }

    /// Removes an attribute of the database, and returns what it was.
    pub fn remove_attr(&self, name: &str) -> Result<Option<Value>> {
        let mut arrays = self.arrays.lock();
        let _held = signals::hold_between_waits();
        let removed = match arrays.attrs_set.get(name) {
            Some(set) => set.clone(),
            None => {
                self.snapshot.attrs(ArrayId::DATABASE)?.into_iter().find_map(|(n, value)| (n == name).then_some(value))
            }
        };
        if removed.is_some() {
            arrays.attrs_set.insert(name.to_owned(), None);
        }
        Ok(removed)
    }
}
