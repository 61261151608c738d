//! Reading a transaction's tables, as bytes.

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::{Cursor, Database, Transaction};

use super::{Dbs, Index, lmdb_error};
use crate::record::{DatabaseId, Meta};

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
                    // The wrapper gives no key only where LMDB left the given one in place, which these two never do.
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
