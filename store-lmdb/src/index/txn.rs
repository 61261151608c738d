//! Transactions of the index.
//!
//! A read transaction owns its environment, so that it can be kept in a snapshot:
//!
//! - the environment is neither moved nor closed while an `Arc<Index>` lives, and each transaction holds one;
//! - `NOTLS` ties a reader's place to the transaction instead of the thread, so it may end on another thread;
//! - one thread uses it at a time: `ReadTxn` is `Send` and not `Sync`;
//! - a forked child never ends a transaction of its parent: the place is shared memory.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use bigarray_core::{Error, Result, Version};
use bigarray_process::Origin;
use lmdb::{Database, DatabaseFlags, RoTransaction, RwTransaction, Transaction, WriteFlags};

use super::environment::{LockTableAccess, Writing};
use super::live::CountedWrite;
use super::{Dbs, Index, Tables, lmdb_error};
use crate::alloc::{Bitmap, HEADER, OldestReader};
use crate::record::{DatabaseId, Meta, StoredAttr, Tally, chunk_key, class_key, encode_bitmap, encode_class};

/// A read transaction: a committed state. Reading its tables needs no lock, but one thread at a time.
pub(crate) struct ReadTxn {
    txn: ManuallyDrop<RoTransaction<'static>>,
    index: Arc<Index>,
    version: Version,
    origin: Origin,
}

// SAFETY: invariant A rests on snapshots that any thread may drop. LMDB ties the transaction to no thread, since
// `open_environment`'s callers set NOTLS (`Index::new` refuses an environment without it).
unsafe impl Send for ReadTxn {}

impl ReadTxn {
    /// Begins on the newest committed state.
    pub(crate) fn begin(index: &Arc<Index>) -> Result<ReadTxn> {
        let of = |e| lmdb_error(&index.dir, "beginning to read", e);
        loop {
            let table = index.env.lock_table()?;
            let mut counts = index.usable()?;
            index.end_all(&mut counts);
            index.check_room()?;
            index.grow_early(&mut counts)?;
            match table.begin_read() {
                Ok(txn) => {
                    // SAFETY: `txn` is live.
                    let id = unsafe { lmdb_sys::mdb_txn_id(txn.txn()) };
                    // A commit overwrites the meta page of the state before last. The copied meta page is whole if its
                    // state was still the last one after the copy.
                    if id != index.env.lmdb().info().map_err(of)?.last_txnid() && !is_last(index, &table, id)? {
                        continue;
                    }
                    // SAFETY: A: the environment outlives the transaction: `index` is kept beside it, and `drop` ends
                    // the transaction before `index` is dropped.
                    let txn = unsafe { std::mem::transmute::<RoTransaction<'_>, RoTransaction<'static>>(txn) };
                    counts.readers += 1;
                    return Ok(ReadTxn {
                        txn: ManuallyDrop::new(txn),
                        index: Arc::clone(index),
                        version: Version(id as u64),
                        origin: Origin::here(),
                    });
                }
                Err(lmdb::Error::MapResized) => {
                    drop(table);
                    index.adopt_growth(counts)?;
                }
                Err(e) => return Err(of(e)),
            }
        }
    }

    /// Number of the state.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Its tables.
    pub(crate) fn tables(&self) -> Tables<'_, RoTransaction<'static>> {
        Tables::new(&*self.txn, &self.index)
    }
}

/// Whether `id` is the last one that a commit published. The meta pages may hold a newer one: a commit writes its meta
/// page, which takes as long as the disk does, and publishes its id only then. A commit that is killed in between never
/// does; the next commit, of any process, publishes both. So waiting for the newer id could last for ever.
fn is_last(index: &Index, table: &LockTableAccess<'_>, id: usize) -> Result<bool> {
    match table.begin_read() {
        // SAFETY: `probe` is live.
        Ok(probe) => Ok(unsafe { lmdb_sys::mdb_txn_id(probe.txn()) } == id),
        Err(lmdb::Error::MapResized) => Ok(false),
        Err(e) => Err(lmdb_error(&index.dir, "beginning to read", e)),
    }
}

impl Drop for ReadTxn {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        let mut counts = self.index.live.lock();
        // SAFETY: taken only here, and not used afterwards. It ends before the count falls, so the map is not moved between.
        let txn = unsafe { ManuallyDrop::take(&mut self.txn) };
        self.index.end(&mut counts, txn);
    }
}

/// The write transaction: one at a time in all processes. Aborts unless committed.
pub(crate) struct WriteTxn<'i> {
    txn: RwTransaction<'i>,
    index: &'i Index,
    id: u64,
    // Dropped after `txn`: the count falls when the transaction has ended.
    _counted: CountedWrite<'i>,
    // Last: afterwards another process may write.
    _writing: Writing,
}

impl<'i> WriteTxn<'i> {
    /// Waits for the write lock and begins on the newest committed state.
    pub(crate) fn begin(index: &'i Index) -> Result<WriteTxn<'i>> {
        let writing = index.env.writing()?;
        loop {
            let table = index.env.lock_table()?;
            let counted = index.count_write()?;
            index.check_room()?;
            index.reserve();
            match table.begin_write(&writing) {
                Ok(txn) => {
                    // SAFETY: `txn` is live.
                    let id = unsafe { lmdb_sys::mdb_txn_id(txn.txn()) } as u64;
                    return Ok(WriteTxn { txn, index, id, _counted: counted, _writing: writing });
                }
                Err(lmdb::Error::MapResized) => {
                    drop(counted);
                    drop(table);
                    index.adopt_growth(index.usable()?)?;
                }
                Err(e) => return Err(lmdb_error(&index.dir, "beginning to write", e)),
            }
        }
    }

    /// Number of the state that its commit makes.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The tables as they stand in this transaction.
    pub(crate) fn tables(&self) -> Tables<'_, RwTransaction<'i>> {
        Tables::new(&self.txn, self.index)
    }

    /// The handles, to name a table by.
    pub(crate) fn dbs(&self) -> &'i Dbs {
        &self.index.dbs
    }

    /// Stores `value` at `key`.
    pub(crate) fn put(&mut self, db: Database, key: &[u8], value: &[u8]) -> Result<()> {
        self.txn.put(db, &key, &value, WriteFlags::empty()).map_err(|e| self.error("storing a record", e))
    }

    /// Deletes the record at `key`. Returns whether there was one.
    pub(crate) fn delete(&mut self, db: Database, key: &[u8]) -> Result<bool> {
        match self.txn.del(db, &key, None) {
            Ok(()) => Ok(true),
            Err(lmdb::Error::NotFound) => Ok(false),
            Err(e) => Err(self.error("deleting a record", e)),
        }
    }

    /// Stores `value` at `key`, or deletes the record there, and updates `tally`.
    pub(crate) fn replace(&mut self, db: Database, key: &[u8], value: Option<&[u8]>, tally: &mut Tally) -> Result<()> {
        let old = self.tables().get(db, key)?;
        if let Some(old) = old {
            tally.remove(key, old);
        }
        match value {
            Some(value) => {
                tally.add(key, value);
                self.put(db, key, value)
            }
            None if old.is_some() => self.delete(db, key).map(drop),
            None => Ok(()),
        }
    }

    /// Stores the tally of all arrays.
    pub(crate) fn put_arrays_tally(&mut self, tally: Tally) -> Result<()> {
        self.put(self.dbs().meta, Meta::ARRAYS.as_bytes(), &Meta::encode_arrays(tally))
    }

    /// Stores the attributes of the database.
    pub(crate) fn put_database_attrs(&mut self, attrs: &BTreeMap<String, StoredAttr>) -> Result<()> {
        self.put(self.dbs().meta, Meta::ATTRS.as_bytes(), &Meta::encode_attrs(attrs)?)
    }

    /// Stores a number under `name` in `meta`.
    pub(crate) fn put_meta(&mut self, name: &str, number: u64) -> Result<()> {
        self.put(self.dbs().meta, name.as_bytes(), &Meta::encode(name, number))
    }

    /// The oldest state that a reader of any process sees. A reader that begins now sees the state that this transaction
    /// replaces, or a later one.
    pub(crate) fn oldest_reader(&self) -> Result<OldestReader> {
        Ok(self.index.env.readers()?.oldest())
    }

    /// Makes it the newest committed state.
    pub(crate) fn commit(self) -> lmdb::Result<()> {
        self.txn.commit()
    }

    fn error(&self, what: &str, e: lmdb::Error) -> Error {
        self.index.write_error(what, e)
    }
}

impl Index {
    /// Opens the tables. Where there are none yet, makes those of the database `new`, in one transaction.
    pub(super) fn tables_of(table: &LockTableAccess<'_>, new: Option<(DatabaseId, Writing)>) -> lmdb::Result<Dbs> {
        let txn = table.begin_read()?;
        // SAFETY: handles are opened only here, once an environment, before any other thread can have it: no transaction
        // runs beside this one.
        match Dbs::open_with(|name| unsafe { txn.open_db(Some(name)) }) {
            // Handles stay open only if their transaction is committed.
            Ok(dbs) => txn.commit().map(|()| dbs),
            Err(e @ lmdb::Error::NotFound) => {
                let Some((id, writing)) = &new else { return Err(e) };
                drop(txn);
                let mut txn = table.begin_write(writing)?;
                // SAFETY: as above.
                let dbs = Dbs::open_with(|name| unsafe { txn.create_db(Some(name), DatabaseFlags::empty()) })?;
                for (name, number) in
                    [(Meta::FORMAT, Meta::FORMAT_VERSION), (Meta::NEXT_ARRAY, 1), (Meta::CHUNKS_END, 1)]
                {
                    txn.put(dbs.meta, &name, &Meta::encode(name, number), WriteFlags::NO_OVERWRITE)?;
                }
                let none = Meta::encode_arrays(Tally::default());
                txn.put(dbs.meta, &Meta::ARRAYS, &none, WriteFlags::NO_OVERWRITE)?;
                txn.put(dbs.meta, &Meta::ID, &Meta::encode_id(*id), WriteFlags::NO_OVERWRITE)?;
                // All pages of the first chunk are free but the header.
                let mut free = Bitmap::FULL;
                free.remove(&HEADER);
                let (key, fit) = (chunk_key(0), class_key(free.class().unwrap_or(0), 0));
                txn.put(dbs.chunks, &key, &encode_bitmap(&key, &free), WriteFlags::NO_OVERWRITE)?;
                txn.put(dbs.fits, &fit, &encode_class(&fit), WriteFlags::NO_OVERWRITE)?;
                txn.commit().map(|()| dbs)
            }
            Err(e) => Err(e),
        }
    }
}
