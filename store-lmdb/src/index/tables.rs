//! Reading the tables of a transaction, as bytes.

use std::collections::BTreeMap;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::{Cursor, Database, Transaction};

use super::{Dbs, Index, lmdb_error};
use crate::record::{DatabaseId, Meta, StoredAttr, Tally, bad, unseal};

/// The tables of one transaction.
pub(crate) struct Tables<'t, T> {
    txn: &'t T,
    index: &'t Index,
}

impl<T> Clone for Tables<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Tables<'_, T> {}

impl<'t, T: Transaction> Tables<'t, T> {
    pub(super) fn new(txn: &'t T, index: &'t Index) -> Self {
        Tables { txn, index }
    }

    /// The handles, to name a table by.
    pub(crate) fn dbs(&self) -> &'t Dbs {
        &self.index.dbs
    }

    /// The value at `key`.
    pub(crate) fn get(&self, db: Database, key: &[u8]) -> Result<Option<&'t [u8]>> {
        match self.txn.get(db, &key) {
            Ok(value) => Ok(Some(value)),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(e) => Err(self.error("reading", e)),
        }
    }

    /// The value at `key` of the table `name`. If there is none, the records beside its place are checked.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`]: a key is damaged, which may be why the search found nothing.
    pub(crate) fn find(&self, name: &str, db: Database, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let found = self.get(db, key)?;
        if found.is_none() {
            self.check_beside(name, db, key)?;
        }
        Ok(found)
    }

    /// Checks that the records of table `name` right before `key`, and right from it on, are sound and lie on their sides of
    /// it. A search for a record ends beside it even if its key is damaged, or another key that the search passes: all other
    /// comparisons come out right. Then the key found there does not fit its record, or lies on the wrong side.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], naming the record that is not sound.
    pub(crate) fn check_beside(&self, name: &str, db: Database, key: &[u8]) -> Result<()> {
        let cursor = self.txn.open_ro_cursor(db).map_err(|e| self.error("opening a cursor", e))?;
        let get = |key: Option<&[u8]>, op| match cursor.get(key, None, op) {
            Ok((Some(found), value)) => Ok(Some((found, value))),
            Ok((None, _)) | Err(lmdb::Error::NotFound) => Ok(None),
            Err(e) => Err(self.error("searching", e)),
        };
        let behind = get(Some(key), lmdb_sys::MDB_SET_RANGE)?;
        let before = get(None, if behind.is_some() { lmdb_sys::MDB_PREV } else { lmdb_sys::MDB_LAST })?;
        for (found, value) in behind.into_iter().chain(before) {
            unseal(name, found, value)?;
        }
        match (behind, before) {
            (Some((found, _)), _) if found < key => Err(bad(name, found, "it lies behind one with a higher key")),
            (_, Some((found, _))) if found >= key => Err(bad(name, found, "it lies before one with a lower key")),
            _ => Ok(()),
        }
    }

    /// Visits keys and values from `from` on, ascending, until `visit` says `false`.
    pub(crate) fn scan(
        &self,
        db: Database,
        from: &[u8],
        mut visit: impl FnMut(&'t [u8], &'t [u8]) -> Result<bool>,
    ) -> Result<()> {
        let cursor = self.txn.open_ro_cursor(db).map_err(|e| self.error("opening a cursor", e))?;
        // LMDB takes no empty key.
        let mut op = if from.is_empty() { lmdb_sys::MDB_FIRST } else { lmdb_sys::MDB_SET_RANGE };
        let mut key = (!from.is_empty()).then_some(from);
        loop {
            match cursor.get(key, None, op) {
                Ok((found, value)) => {
                    // The wrapper gives no key only where LMDB left the given key in place, which these two operations
                    // never do.
                    let Some(found) = found else { return Err(self.error("reading a key", lmdb::Error::Corrupted)) };
                    if !visit(found, value)? {
                        return Ok(());
                    }
                }
                Err(lmdb::Error::NotFound) => return Ok(()),
                Err(e) => return Err(self.error("scanning", e)),
            }
            (key, op) = (None, lmdb_sys::MDB_NEXT);
        }
    }

    /// The number under `name` in `meta`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if there is none.
    pub(crate) fn meta(&self, name: &str) -> Result<u64> {
        Meta::decode(name, self.meta_value(name)?)
    }

    /// The id of the database.
    pub(crate) fn id(&self) -> Result<DatabaseId> {
        Meta::decode_id(self.meta_value(Meta::ID)?)
    }

    /// The tally of all arrays.
    pub(crate) fn arrays_tally(&self) -> Result<Tally> {
        Meta::decode_arrays(self.meta_value(Meta::ARRAYS)?)
    }

    /// The attributes that the database has or had, ordered by name.
    pub(crate) fn database_attrs(&self) -> Result<BTreeMap<String, StoredAttr>> {
        let value = self.find("meta", self.dbs().meta, Meta::ATTRS.as_bytes())?;
        value.map_or_else(|| Ok(BTreeMap::new()), Meta::decode_attrs)
    }

    fn meta_value(&self, name: &str) -> Result<&'t [u8]> {
        self.get(self.dbs().meta, name.as_bytes())?.ok_or_else(|| {
            let dir = self.index.dir.display();
            Error::new(ErrorKind::Corrupt, format!("the index of {dir} has no record {name:?} in table meta"))
        })
    }

    fn error(&self, what: &str, e: lmdb::Error) -> Error {
        lmdb_error(&self.index.dir, what, e)
    }
}
