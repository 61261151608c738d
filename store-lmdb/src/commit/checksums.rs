//! Checksums of the pages that a commit changes, a record at a time.

use bigarray_core::{ArrayId, Result};

use crate::index::WriteTxn;
use crate::record::{Checksums, PAGES_PER_RECORD, Tally, encode_checksums, numbered_key};

/// Writes the checksums of one array. Pages come in ascending order, so each record is read and written once.
pub(super) struct ChecksumWriter {
    array: ArrayId,
    /// The current record, and its number.
    current: Option<(u64, Checksums)>,
    /// The tally of all checksums of the array.
    tally: Tally,
}

impl ChecksumWriter {
    pub(super) fn new(array: ArrayId, tally: Tally) -> ChecksumWriter {
        ChecksumWriter { array, current: None, tally }
    }

    /// Sets the checksum of a page, counted from the start of the array: 0 for a hole.
    pub(super) fn set(&mut self, txn: &mut WriteTxn<'_>, page: u64, sum: u32) -> Result<()> {
        self.load(txn, page)?;
        if let Some((_, checksums)) = &mut self.current {
            checksums[(page % PAGES_PER_RECORD as u64) as usize] = sum;
        }
        Ok(())
    }

    /// The checksum of a page, counted from the start of the array.
    pub(super) fn get(&mut self, txn: &mut WriteTxn<'_>, page: u64) -> Result<u32> {
        self.load(txn, page)?;
        Ok(self.current.as_ref().map_or(0, |(_, checksums)| checksums[(page % PAGES_PER_RECORD as u64) as usize]))
    }

    /// Makes the record of a page the current one.
    fn load(&mut self, txn: &mut WriteTxn<'_>, page: u64) -> Result<()> {
        let mib = page / PAGES_PER_RECORD as u64;
        if self.current.as_ref().is_none_or(|(at, _)| *at != mib) {
            self.flush(txn)?;
            self.current = Some((mib, txn.tables().checksums(self.array, mib)?));
        }
        Ok(())
    }

    /// Stores the current record; returns the tally of all checksums of the array.
    pub(super) fn finish(mut self, txn: &mut WriteTxn<'_>) -> Result<Tally> {
        self.flush(txn)?;
        Ok(self.tally)
    }

    /// Stores the current record. A record of zeros is deleted.
    fn flush(&mut self, txn: &mut WriteTxn<'_>) -> Result<()> {
        let Some((mib, checksums)) = self.current.take() else { return Ok(()) };
        let (key, db) = (numbered_key(self.array, mib), txn.dbs().sums);
        let value = (checksums != [0; PAGES_PER_RECORD]).then(|| encode_checksums(&key, &checksums));
        txn.replace(db, &key, value.as_deref(), &mut self.tally)
    }
}
