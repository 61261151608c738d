//! An open database, shared by all its handles: one value a directory and process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bigarray_core::metrics::{Counter, Metrics};
use bigarray_core::store::Snapshot;
use bigarray_core::sync::{FaultMutex, Mutex};
use bigarray_core::{Error, ErrorKind, Result};

use crate::alloc::Owner;
use crate::checked::Checked;
use crate::closing;
use crate::codec::{Packers, Unpackers};
use crate::data::Data;
use crate::dead_readers;
use crate::index::{Env, Index, WriteTxn};
use crate::locks::OpenLocks;
use crate::options::{Durability, Options};
use crate::queue::Queue;

/// An open database. It lives as long as a store or a snapshot of it does.
pub(crate) struct Shared {
    /// The index.
    pub(crate) index: Arc<Index>,
    /// The data file.
    pub(crate) data: Arc<Data>,
    /// Its path, for messages.
    pub(crate) dir: PathBuf,
    /// Owners of this client whose transactions failed, and whose claims could not be released yet.
    pub(crate) abandoned: Mutex<Vec<Owner>>,
    /// Commits that wait for their turn.
    pub(crate) queue: Queue,
    /// The chunk that small commits of this process fill.
    pub(crate) open_chunk: FaultMutex<Option<u64>>,
    /// For compressing blocks, in spills and in commits.
    pub(crate) packers: Packers,
    /// For reading compressed blocks.
    pub(crate) unpackers: Unpackers,
    /// Arrays whose records were found complete.
    pub(crate) checked: Checked,
    /// The newest committed state that was asked for. All handles share its snapshot while that lives.
    pub(crate) newest: Mutex<Option<Weak<dyn Snapshot>>>,
    /// The level of durability.
    pub(crate) durability: Durability,
    /// Nanoseconds in commits of the index.
    index_commit_nanos: Counter,
    /// Opening succeeded: `durability` was negotiated, so closing has to keep it.
    is_open: AtomicBool,
    /// Kept until all of the above is closed. Last: fields drop in this order.
    pub(crate) locks: OpenLocks,
}

impl Shared {
    /// Takes over the opened index and `data`: opens the tables of the index, and checks its format.
    pub(crate) fn new(env: Env, data: Data, locks: OpenLocks, options: &Options) -> Result<Shared> {
        let (dir, durability) = (options.path.clone(), options.durability);
        let index = Index::new(env, &dir, None, options.map_size.is_some(), locks.files.table_map())?;
        Ok(Shared {
            index: Arc::new(index),
            data: Arc::new(data),
            dir,
            abandoned: Mutex::default(),
            queue: Queue::default(),
            open_chunk: FaultMutex::default(),
            packers: Packers::default(),
            unpackers: Unpackers::default(),
            checked: Checked::default(),
            newest: Mutex::default(),
            durability,
            index_commit_nanos: Counter::default(),
            is_open: AtomicBool::new(false),
            locks,
        })
    }

    /// Ends opening: from here on other processes may open or close the database.
    pub(crate) fn opened(&self) -> Result<()> {
        self.is_open.store(true, Ordering::Relaxed);
        self.locks.end_opening()
    }

    /// Begins the write transaction.
    pub(crate) fn begin_write(&self) -> Result<WriteTxn<'_>> {
        self.data.writable()?;
        self.locks.files.check_files(|| self.index.file())?;
        dead_readers::clear_before_write(&self.locks, &self.index)?;
        WriteTxn::begin(&self.index)
    }

    /// Adds what was counted so far.
    pub(crate) fn add_metrics(&self, metrics: &mut Metrics) {
        self.data.add_metrics(metrics);
        metrics.index_commit_nanos += self.index_commit_nanos.get();
    }

    /// Commits to the index.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: the index is as before. [`ErrorKind::Io`]: nothing is written any more, and the message says
    /// whether the outcome is known.
    pub(crate) fn commit_txn(&self, txn: WriteTxn<'_>) -> Result<()> {
        let began = Instant::now();
        let outcome = txn.commit();
        self.index_commit_nanos.add_nanos(began.elapsed());
        let Err(e) = outcome else { return Ok(()) };
        let error = self.index.write_error("committing", e);
        // LMDB writes the meta page last, and reports a failure of that by an errno.
        if matches!(e, lmdb::Error::Other(_)) && self.index.is_broken() {
            let why = format!("whether the commit took place is unknown until the database is opened again: {error}");
            let why = Error::new(ErrorKind::Io, why).with_source(e);
            self.data.fail(&why);
            return Err(why);
        }
        if !error.is_store_full() {
            self.data.fail(&error);
        }
        Err(error)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let failed = self.data.has_failed() || self.index.is_lost();
        closing::close(&self.index, &self.locks, self.durability, self.is_open.load(Ordering::Relaxed), failed);
    }
}
