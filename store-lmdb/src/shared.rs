//! What all handles of one open database share: one value a directory and process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bigarray_core::store::Snapshot as _;
use bigarray_core::{Error, ErrorKind, Result};

use crate::alloc::Owner;
use crate::checked::Checked;
use crate::codec::{Packers, Unpackers};
use crate::data::Data;
use crate::index::{Index, WriteTxn};
use crate::opening::{Guards, Opened};
use crate::snapshot::LmdbSnapshot;

/// An open database. Lives as long as a store or a snapshot of it does.
pub(crate) struct Shared {
    /// The index.
    pub(crate) index: Arc<Index>,
    /// The data file.
    pub(crate) data: Arc<Data>,
    /// Where it is, for messages.
    pub(crate) dir: PathBuf,
    /// Owners of this client whose transactions failed, and whose claims could not be given back yet.
    pub(crate) abandoned: Mutex<Vec<Owner>>,
    /// The chunk that small commits of this process fill.
    pub(crate) open_chunk: Mutex<Option<u64>>,
    /// For compressing blocks, in spills and in commits.
    pub(crate) packers: Packers,
    /// For reading blocks that are compressed.
    pub(crate) unpackers: Unpackers,
    /// Arrays of which no record is missing.
    pub(crate) checked: Checked,
    /// The newest committed state, as long as someone looks at it.
    newest: Mutex<Weak<LmdbSnapshot>>,
    /// What opening keeps until all of the above is closed. Last: fields drop in this order.
    pub(crate) guards: Guards,
}

impl Shared {
    /// Takes over what was opened: finds the index's tables (makes them, in a new database) and checks its format.
    pub(crate) fn new(opened: Opened) -> Result<Shared> {
        let Opened { env, data_rw, data_ro, dir, explicit_map_size, guards } = opened;
        let index = Index::new(env, &dir, None, explicit_map_size, guards.table_map())?;
        let data = Data::new(data_ro, data_rw, &dir, guards.durability().syncs_data());
        Ok(Shared {
            index: Arc::new(index),
            data: Arc::new(data),
            dir,
            abandoned: Mutex::default(),
            open_chunk: Mutex::default(),
            packers: Packers::default(),
            unpackers: Unpackers::default(),
            checked: Checked::default(),
            newest: Mutex::default(),
            guards,
        })
    }

    /// The newest committed state: the same value while nothing is committed and someone looks at it.
    pub(crate) fn snapshot(self: &Arc<Shared>) -> Result<Arc<LmdbSnapshot>> {
        self.guards.before_begin()?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let known = newest.upgrade();
        if let Some(known) = &known
            && known.version() == self.index.newest()?
        {
            return Ok(Arc::clone(known));
        }
        self.guards.check_files(&self.index)?;
        let snapshot = LmdbSnapshot::begin(self)?;
        // A commit shows in the index a little before it can be begun on.
        if let Some(known) = known.filter(|known| known.version() == snapshot.version()) {
            return Ok(known);
        }
        let snapshot = Arc::new(snapshot);
        *newest = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }

    /// Begins the write transaction.
    pub(crate) fn begin_write(&self) -> Result<WriteTxn<'_>> {
        self.data.writable()?;
        self.guards.check_files(&self.index)?;
        self.guards.before_write(&self.index)?;
        WriteTxn::begin(&self.index)
    }

    /// Commits to the index.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: it is as before. [`ErrorKind::Io`]: nothing is written any more, and the message says
    /// whether the outcome is known.
    pub(crate) fn commit_txn(&self, txn: WriteTxn<'_>) -> Result<()> {
        let Err(e) = txn.commit() else { return Ok(()) };
        let error = self.index.write_error("committing", e);
        // The meta page is written last, and fails by nothing but an errno.
        if matches!(e, lmdb::Error::Other(_)) && self.index.is_broken() {
            let why = format!("whether the commit took place is unknown until the database is opened again: {error}");
            self.data.fail(&why);
            return Err(Error::new(ErrorKind::Io, why).with_source(e));
        }
        if !error.is_store_full() {
            self.data.fail(&error.to_string());
        }
        Err(error)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.guards.close(&self.index, self.data.has_failed() || self.index.is_lost());
    }
}
