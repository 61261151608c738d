//! Step 6 of a commit for one array: blocks dropped, pages laid over, checksums.

use std::cell::RefCell;
use std::ops::Range;

use bigarray_core::store::{ArrayChange, BlockChange, PageSource};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Error, ErrorKind, PAGE, Result, Version};
use lmdb::Database;

use super::overlay::lay_over;
use super::payload::{Payload, Piece};
use super::sums::SumsWriter;
use crate::alloc::{Run, Space};
use crate::codec::{Packer, Unpacker};
use crate::data::Data;
use crate::index::WriteTxn;
use crate::record::{
    SUMS, StoredBlock, StoredSegment, Tallies, Tally, Unit, attr_key, block_key, decode_block, encode_block,
    numbered_key, runs_of,
};
use crate::spill::{Claim, LmdbSpillSlot};

/// Records deleted, and freed runs kept in memory, at a time: an array may have any number.
const AT_ONCE: usize = 1024;

/// The array whose blocks are laid over.
pub(super) struct Target<'c> {
    pub(super) id: ArrayId,
    pub(super) name: &'c str,
    pub(super) size: BlockSize,
    pub(super) codec: Codec,
    pub(super) item_bytes: usize,
    /// Its end in bytes, before and after the commit.
    pub(super) grown: Range<usize>,
}

/// A block that a commit changes, and what becomes of it.
pub(super) struct ChangedBlock<'c> {
    pub(super) array: &'c Target<'c>,
    pub(super) change: &'c BlockChange,
    pub(super) stored: StoredBlock,
    /// The checksums that its pages have from this commit on, as far as it changes them.
    pub(super) sums: Vec<Option<u32>>,
}

/// The blocks of a commit: what all of it works on.
pub(super) struct Blocks<'c, 't, 'i> {
    pub(super) txn: &'t RefCell<WriteTxn<'i>>,
    pub(super) space: Space<'c>,
    pub(super) data: &'t Data,
    /// Runs of the records before that nothing refers to any more.
    pub(super) freed: Vec<Run>,
    /// How many there were in all.
    pub(super) freed_runs: usize,
    /// Where new pages may have been spilled.
    claim: Option<&'t Claim>,
    /// Runs of the claim that records refer to.
    pub(super) used: Vec<Run>,
    /// The payload lies in the claim, too.
    is_payload_claimed: bool,
    /// Checksum of a page of zeros.
    pub(super) sum_of_zeros: u32,
    /// For blocks that are gathered.
    pub(super) packer: Packer,
    pub(super) unpacker: Unpacker,
    /// Pages were written besides the payload.
    pub(super) wrote: bool,
    /// What is known of all records of the array at hand.
    pub(super) records: Tallies,
}

impl<'c, 't, 'i> Blocks<'c, 't, 'i> {
    pub(super) fn new(
        txn: &'t RefCell<WriteTxn<'i>>,
        space: Space<'c>,
        data: &'t Data,
        claim: Option<&'t Claim>,
        is_payload_claimed: bool,
    ) -> Self {
        let sum_of_zeros = crc32c::crc32c(&[0; PAGE]);
        let (freed, used) = (Vec::new(), Vec::new());
        Blocks {
            txn,
            space,
            data,
            freed,
            freed_runs: 0,
            claim,
            used,
            is_payload_claimed,
            sum_of_zeros,
            packer: Packer::default(),
            unpacker: Unpacker::default(),
            wrote: false,
            records: Tallies::default(),
        }
    }

    /// Deletes the blocks of an array from `from` on, with their checksums.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if these were all, and not those that there should be.
    pub(super) fn drop_from(&mut self, array: ArrayId, size: BlockSize, from: u64) -> Result<()> {
        loop {
            let mut keys = Vec::new();
            let db = self.txn.borrow().dbs().blocks;
            let start = block_key(array, BlockNo(from));
            self.txn.borrow().tables().scan(db, &start, |key, value| {
                let ours = key.starts_with(&array.0.to_be_bytes());
                if ours {
                    keys.push(key.to_vec());
                    self.freed.extend(runs_of(&decode_block(key, value)?.segments));
                    self.records.blocks.remove(key, value);
                }
                Ok(ours && keys.len() < AT_ONCE)
            })?;
            for key in &keys {
                self.txn.borrow_mut().delete(db, key)?;
            }
            self.free_many()?;
            if keys.len() < AT_ONCE {
                break;
            }
        }
        let first_page = from.saturating_mul(u64::from(size.pages()));
        let (mib, rest) = (first_page / SUMS as u64, first_page % SUMS as u64);
        if rest > 0 {
            let mut txn = self.txn.borrow_mut();
            let mut sums = SumsWriter::new(array, self.records.sums);
            for page in first_page..(mib + 1) * SUMS as u64 {
                sums.set(&mut txn, page, 0)?;
            }
            self.records.sums = sums.finish(&mut txn)?;
        }
        let db = self.txn.borrow().dbs().sums;
        let start = numbered_key(array, mib + u64::from(rest > 0));
        delete_from(&mut self.txn.borrow_mut(), db, array, &start, &mut self.records.sums)?;
        if from == 0 {
            self.refuse_remains("blocks", array, self.records.blocks)?;
            self.refuse_remains("checksums", array, self.records.sums)?;
        }
        Ok(())
    }

    /// Deletes the attributes of an array.
    pub(super) fn drop_attrs(&mut self, array: ArrayId) -> Result<()> {
        let db = self.txn.borrow().dbs().attrs;
        delete_from(&mut self.txn.borrow_mut(), db, array, &attr_key(array, ""), &mut self.records.attrs)?;
        self.refuse_remains("attributes", array, self.records.attrs)
    }

    /// Refuses what is left to be known of records of an array when all that were found are deleted.
    fn refuse_remains(&self, what: &str, array: ArrayId, records: Tally) -> Result<()> {
        if records == Tally::default() {
            return Ok(());
        }
        let dir = self.data.dir().display();
        let text =
            format!("{dir}: {what} of the array with id {} are missing in the index, or are not its own", array.0);
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Lays the new pages of an array over its blocks, as they are stored now.
    pub(super) fn lay_over(
        &mut self,
        at: usize,
        change: &ArrayChange<'_>,
        id: ArrayId,
        payload: &Payload,
    ) -> Result<()> {
        let Some((name, descriptor)) = &change.after else { return Ok(()) };
        let mut sums = SumsWriter::new(id, self.records.sums);
        let before_bytes = change.before.as_ref().map_or(0, |(_, before)| before.nbytes());
        let array = Target {
            id,
            name,
            size: descriptor.block_size,
            codec: descriptor.codec,
            item_bytes: descriptor.item_size,
            grown: before_bytes..descriptor.nbytes(),
        };
        for block in &change.blocks {
            match payload.unit_of_block(at, block.block) {
                Some(unit) => self.replace_block(block, &array, unit, &mut sums)?,
                None => {
                    self.lay_over_block(block, &array, payload, payload.of_block(at, block.block), &mut sums)?;
                }
            }
            self.free_many()?;
        }
        self.records.sums = sums.finish(&mut self.txn.borrow_mut())?;
        Ok(())
    }

    /// All of a block is new, and compressed.
    fn replace_block(
        &mut self,
        change: &BlockChange,
        array: &Target<'_>,
        unit: Unit,
        sums: &mut SumsWriter,
    ) -> Result<()> {
        let old = self.segments_of(array, change.block)?;
        let pages = array.size.pages();
        let all = 0..pages;
        let over = lay_over(&old, std::slice::from_ref(&all), &[StoredSegment::unit(pages, unit)]);
        self.freed.extend(over.freed);
        if self.is_payload_claimed {
            self.used.extend(unit.runs());
        }
        let stored = StoredBlock { version: Version(self.txn.borrow().id()), pages, segments: over.segments };
        self.store_block(&ChangedBlock { array, change, stored, sums: vec![Some(0); pages as usize] }, sums)
    }

    fn lay_over_block(
        &mut self,
        change: &BlockChange,
        array: &Target<'_>,
        payload: &Payload,
        pieces: &[Piece],
        sums: &mut SumsWriter,
    ) -> Result<()> {
        let old = self.segments_of(array, change.block)?;
        let changed: Vec<Range<u32>> = change.pages.iter().map(|run| run.pages.clone()).collect();
        let spilled = self.spilled(change)?;
        let mut new: Vec<StoredSegment> = pieces.iter().map(Piece::segment).collect();
        // Chunks that are claimed have nothing else.
        let mut claimed = if self.is_payload_claimed { runs_of(&new) } else { Vec::new() };
        new.extend(spilled.iter().map(|(segment, _)| segment));
        claimed.extend(runs_of(&new[pieces.len()..]));
        let is_claimed = |run: &Run| claimed.iter().any(|c| c.chunk == run.chunk);
        new.sort_unstable_by_key(|segment| segment.first);
        let over = lay_over(&old, &changed, &new);
        self.freed.extend(over.freed);

        // Changed pages in order: zeros first get the sum of a hole, pieces then theirs.
        let mut new_sums = vec![None; array.size.pages() as usize];
        for run in change.pages.iter().filter(|run| run.source == PageSource::Zero) {
            new_sums[run.pages.start as usize..run.pages.end as usize].fill(Some(0));
        }
        for piece in pieces {
            for (page, sum) in (piece.first as usize..).zip(payload.sums_of(piece)) {
                new_sums[page] = Some(sum);
            }
        }
        for (segment, sums) in &spilled {
            let sums = sums.iter().copied().chain(std::iter::repeat(0));
            for (page, sum) in (segment.first..segment.end()).zip(sums) {
                new_sums[page as usize] = Some(sum);
            }
        }

        let version = Version(self.txn.borrow().id());
        let stored = StoredBlock { version, pages: array.size.pages(), segments: over.segments };
        let mut block = ChangedBlock { array, change, stored, sums: new_sums };
        self.gather(&mut block, &old, &is_claimed, sums)?;
        self.used.extend(runs_of(&block.stored.segments).into_iter().filter(is_claimed));
        self.store_block(&block, sums)
    }

    /// What is stored of a block before this commit.
    fn segments_of(&self, array: &Target<'_>, block: BlockNo) -> Result<Vec<StoredSegment>> {
        let Some(old) = self.txn.borrow().tables().stored_block(array.id, block)? else { return Ok(Vec::new()) };
        let checked = old.check_size(array.name, array.id, block, array.size);
        checked.map_err(|e| e.context(self.data.dir().display()))?;
        Ok(old.segments)
    }

    /// Stores the record of a block, and the checksums of those of its pages that have new ones.
    fn store_block(&mut self, block: &ChangedBlock<'_>, sums: &mut SumsWriter) -> Result<()> {
        let ChangedBlock { array, change, stored, .. } = block;
        let mut txn = self.txn.borrow_mut();
        let first_page = change.block.0 * u64::from(stored.pages);
        for (page, sum) in (first_page..).zip(&block.sums) {
            if let Some(sum) = sum {
                sums.set(&mut txn, page, *sum)?;
            }
        }
        let (key, db) = (block_key(array.id, change.block), txn.dbs().blocks);
        txn.replace(db, &key, Some(&encode_block(&key, stored)), &mut self.records.blocks)
    }

    /// Those of the changed pages that were spilled: where they are, and their checksums; none if they are
    /// compressed.
    fn spilled<'p>(&self, change: &'p BlockChange) -> Result<Vec<(StoredSegment, &'p [u32])>> {
        let mut written = Vec::new();
        for run in &change.pages {
            let PageSource::Spilled(pages) = &run.source else { continue };
            let Some(slot) = self.claim.and_then(|claim| LmdbSpillSlot::of(pages, claim)) else {
                let text = "pages of a commit were spilled by another transaction, or elsewhere";
                return Err(Error::new(ErrorKind::Invalid, text));
            };
            written.push((slot.segment(&run.pages), slot.sums(&run.pages)));
        }
        Ok(written)
    }

    /// Records what is freed once there is much of it.
    fn free_many(&mut self) -> Result<()> {
        if self.freed.len() < AT_ONCE { Ok(()) } else { self.free_all() }
    }

    /// Records what is freed.
    pub(super) fn free_all(&mut self) -> Result<()> {
        self.freed_runs += self.freed.len();
        self.space.free(std::mem::take(&mut self.freed))
    }
}

/// Deletes the records of an array in `db` from key `from` on, some at a time, and takes them off `tally`.
fn delete_from(txn: &mut WriteTxn<'_>, db: Database, array: ArrayId, from: &[u8], tally: &mut Tally) -> Result<()> {
    loop {
        let mut keys = Vec::new();
        txn.tables().scan(db, from, |key, value| {
            let ours = key.starts_with(&array.0.to_be_bytes());
            if ours {
                tally.remove(key, value);
                keys.push(key.to_vec());
            }
            Ok(ours && keys.len() < AT_ONCE)
        })?;
        for key in &keys {
            txn.delete(db, key)?;
        }
        if keys.len() < AT_ONCE {
            return Ok(());
        }
    }
}
