//! Checksums of the pages that a commit changes, a record at a time.

use bigarray_core::{ArrayId, Result};

use crate::index::WriteTxn;
use crate::record::{SUMS, Sums, Tally, encode_sums, numbered_key};

/// The record at hand of one array. Pages come in ascending order, so each record is read and written once.
pub(super) struct SumsWriter {
    array: ArrayId,
    at_hand: Option<(u64, Sums)>,
    /// Of all checksums of the array.
    tally: Tally,
}

impl SumsWriter {
    pub(super) fn new(array: ArrayId, tally: Tally) -> SumsWriter {
        SumsWriter { array, at_hand: None, tally }
    }

    /// Sets the checksum of a page of the array, counted from its start: 0 for a hole.
    pub(super) fn set(&mut self, txn: &mut WriteTxn<'_>, page: u64, sum: u32) -> Result<()> {
        self.take(txn, page)?;
        if let Some((_, sums)) = &mut self.at_hand {
            sums[(page % SUMS as u64) as usize] = sum;
        }
        Ok(())
    }

    /// The checksum of a page of the array.
    pub(super) fn get(&mut self, txn: &mut WriteTxn<'_>, page: u64) -> Result<u32> {
        self.take(txn, page)?;
        Ok(self.at_hand.as_ref().map_or(0, |(_, sums)| sums[(page % SUMS as u64) as usize]))
    }

    /// Takes the record of a page at hand.
    fn take(&mut self, txn: &mut WriteTxn<'_>, page: u64) -> Result<()> {
        let mib = page / SUMS as u64;
        if self.at_hand.as_ref().is_none_or(|(at, _)| *at != mib) {
            self.flush(txn)?;
            self.at_hand = Some((mib, txn.tables().sums(self.array, mib)?));
        }
        Ok(())
    }

    /// Stores what is left to store; returns the tally of all checksums of the array.
    pub(super) fn finish(mut self, txn: &mut WriteTxn<'_>) -> Result<Tally> {
        self.flush(txn)?;
        Ok(self.tally)
    }

    /// Stores the record at hand; one of zeros is as good as none.
    fn flush(&mut self, txn: &mut WriteTxn<'_>) -> Result<()> {
        let Some((mib, sums)) = self.at_hand.take() else { return Ok(()) };
        let (key, db) = (numbered_key(self.array, mib), txn.dbs().sums);
        let value = (sums != [0; SUMS]).then(|| encode_sums(&key, &sums));
        txn.replace(db, &key, value.as_deref(), &mut self.tally)
    }
}
