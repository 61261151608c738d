//! A committed state, as core sees it.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bigarray_core::store::{BlockRecord, DataFile, Snapshot, State};
use bigarray_core::sync::{FaultMutex, FaultMutexGuard};
use bigarray_core::{ArrayId, BlockNo, Descriptor, Error, ErrorKind, PAGE, Result, Version};
use lmdb::Database;
use serde_json::Value;

use crate::alloc::CHUNK;
use crate::index::{Dbs, ReadTxn};
use crate::reading::{MISFIT, read_pages, wrong_page};
use crate::record::{Meta, PAGES_PER_RECORD, StoredBlock, Tallies, Tally};
use crate::shared::Shared;

/// Blocks that are looked up at a time while visiting: the mutex is not held while the visitor runs.
const VISITED_AT_ONCE: usize = 256;

/// One read transaction, shared by all readers of the state.
pub(crate) struct LmdbSnapshot {
    /// Held for one look-up at a time. Before `shared`, so that it ends before the environment can close.
    txn: FaultMutex<ReadTxn>,
    version: Version,
    file: Arc<dyn DataFile>,
    shared: Arc<Shared>,
}

impl LmdbSnapshot {
    /// Begins on the newest committed state.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the data file is shorter than the chunks that the state has allocated.
    pub(crate) fn begin(shared: &Arc<Shared>) -> Result<LmdbSnapshot> {
        let txn = ReadTxn::begin(&shared.index)?;
        let end_bytes = txn.tables().meta(Meta::CHUNKS_END)?.saturating_mul(CHUNK);
        shared.data.check_length(end_bytes)?;
        let file = Arc::clone(&shared.data) as Arc<dyn DataFile>;
        Ok(LmdbSnapshot { version: txn.version(), txn: FaultMutex::new(txn), file, shared: Arc::clone(shared) })
    }

    fn txn(&self) -> Result<FaultMutexGuard<'_, ReadTxn>> {
        self.shared.locks.check_process()?;
        // A poisoned mutex does no harm: reading changes nothing.
        Ok(self.txn.lock())
    }

    /// The tally of all records of an array in one table. The mutex is released now and then for other look-ups.
    fn tally(&self, table: &str, db: fn(&Dbs) -> Database, array: ArrayId) -> Result<Tally> {
        let (mut tally, mut next) = (Tally::default(), Some(array.0.to_be_bytes().to_vec()));
        while let Some(from) = next {
            let txn = self.txn()?;
            let tables = txn.tables();
            next = tables.add_to_tally(table, db(tables.dbs()), array, &from, &mut tally)?;
        }
        Ok(tally)
    }

    /// Compares pages that were read with their checksums.
    fn verify(&self, array: ArrayId, block: BlockNo, stored: &StoredBlock, first_page: u32, buf: &[u8]) -> Result<()> {
        let (mut mib, mut checksums) = (u64::MAX, [0; PAGES_PER_RECORD]);
        let wrong = wrong_page(&stored.segments, first_page, buf, |page| {
            let at = block.0 * u64::from(stored.pages) + u64::from(page);
            if mib != at / PAGES_PER_RECORD as u64 {
                mib = at / PAGES_PER_RECORD as u64;
                checksums = self.txn()?.tables().checksums(array, mib)?;
            }
            Ok(checksums[(at % PAGES_PER_RECORD as u64) as usize])
        })?;
        let Some(page) = wrong else { return Ok(()) };
        let text = format!(
            "{}: page {page} of block {} of the array with id {} is corrupt: {MISFIT}",
            self.shared.dir.display(),
            block.0,
            array.0
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Refuses a record of another size than the blocks of its array: then reading a page that it lacks is no mistake of the
    /// caller. This searches all arrays for the id, so it is called only after something went wrong.
    fn check_size(&self, array: ArrayId, block: BlockNo, stored: &StoredBlock) -> Result<()> {
        let arrays = self.arrays()?;
        let Some((name, found)) = arrays.iter().find(|(_, found)| found.id == array) else { return Ok(()) };
        let checked = stored.check_size(name, array, block, found.block_size);
        checked.map_err(|e| e.context(self.shared.dir.display()))
    }
}

impl State for LmdbSnapshot {
    fn array(&self, name: &str) -> Result<Option<Descriptor>> {
        self.txn()?.tables().array(name)
    }

    fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        self.txn()?.tables().arrays()
    }

    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>> {
        self.txn()?.tables().attr(array, name)
    }

    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>> {
        self.txn()?.tables().attrs(array)
    }

    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>> {
        self.txn()?.tables().attr_versions(array)
    }

    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>> {
        self.txn()?.tables().block(array, block)
    }

    fn blocks(
        &self,
        array: ArrayId,
        mut range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        // Most visitors stop after a few blocks.
        let mut at_once = 16;
        loop {
            let mut found = Vec::with_capacity(at_once);
            self.txn()?.tables().blocks(array, range.clone(), &mut |block, record| {
                found.push((block, record));
                if found.len() < at_once { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let all = found.len() < at_once;
            for (block, record) in found {
                range.start = block.0 + 1;
                if visit(block, record).is_break() {
                    return Ok(());
                }
            }
            if all {
                return Ok(());
            }
            at_once = VISITED_AT_ONCE;
        }
    }
}

impl Snapshot for LmdbSnapshot {
    fn version(&self) -> Version {
        self.version
    }

    fn file(&self) -> &Arc<dyn DataFile> {
        &self.file
    }

    fn check_records(&self, name: &str) -> Result<()> {
        let stored = self.txn()?.tables().stored_array(name)?;
        let Some((array, records)) = stored else { return Ok(()) };
        if self.shared.checked.is(array.id, &records) {
            return Ok(());
        }
        let found = Tallies {
            blocks: self.tally("blocks", |dbs| dbs.blocks, array.id)?,
            sums: self.tally("sums", |dbs| dbs.sums, array.id)?,
            attrs: self.tally("attrs", |dbs| dbs.attrs, array.id)?,
        };
        let lacks = [
            found.blocks.lacks(records.blocks, "blocks"),
            found.sums.lacks(records.sums, "checksums"),
            found.attrs.lacks(records.attrs, "attributes"),
        ];
        let lacks: Vec<String> = lacks.into_iter().flatten().collect();
        if lacks.is_empty() {
            self.shared.checked.add(array.id, records);
            return Ok(());
        }
        let dir = self.shared.dir.display();
        let text = format!("{dir}: array {name:?} (id {}) is corrupt: {}", array.id.0, lacks.join("; "));
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()> {
        let stored = self.txn()?.tables().stored_block(array, block)?;
        let Some(stored) = stored else {
            buf.fill(0);
            return Ok(());
        };
        let end = buf.len() / PAGE + first_page as usize;
        if !buf.len().is_multiple_of(PAGE) || end > stored.pages as usize {
            self.check_size(array, block, &stored)?;
            let text = format!(
                "reading {} bytes from page {first_page} on of block {} of the array with id {}, which has {} pages",
                buf.len(),
                block.0,
                array.0,
                stored.pages
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let read = self
            .shared
            .unpackers
            .with(|unpacker| read_pages(&self.shared.data, unpacker, &stored.segments, stored.pages, first_page, buf));
        read.map_err(|e| {
            let dir = self.shared.dir.display();
            e.context(format_args!("{dir}: block {} of the array with id {}", block.0, array.0))
        })?;
        self.verify(array, block, &stored, first_page, buf)
    }
}
