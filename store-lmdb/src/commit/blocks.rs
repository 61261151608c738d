//! Step 6 of a commit for one array: blocks are dropped, new pages laid over the stored ones, and checksums updated.

use std::cell::RefCell;
use std::ops::Range;

use bigarray_core::store::{ArrayChange, BlockChange, PageSource};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Error, ErrorKind, PAGE, Result, Version};
use lmdb::Database;

use super::checksums::ChecksumWriter;
use super::overlay::lay_over;
use super::payload::{Payload, PlacedRun};
use crate::alloc::{Run, Space};
use crate::codec::{Packer, Unpacker};
use crate::data::Data;
use crate::index::WriteTxn;
use crate::record::{
    PAGES_PER_RECORD, StoredBlock, StoredSegment, Tallies, Tally, Unit, attr_key, block_key, decode_block,
    encode_block, numbered_key, runs_of,
};
use crate::space::Claim;
use crate::spill::LmdbSpillSlot;

/// Most records that are deleted, and most freed runs that are kept in memory, at a time: an array may have any number.
const AT_ONCE: usize = 1024;

/// No array has a block of this number: its first byte would be number 2⁶⁴ or more.
const MOST_BLOCKS: u64 = 1 << 48;

/// The array whose blocks are changed.
pub(super) struct Target<'c> {
    pub(super) id: ArrayId,
    pub(super) name: &'c str,
    pub(super) size: BlockSize,
    pub(super) codec: Codec,
    pub(super) item_bytes: usize,
    /// Its end, counted as blocks are, before and after the commit.
    pub(super) grown: Range<usize>,
}

/// A block that a commit changes, and its new record.
pub(super) struct ChangedBlock<'c> {
    pub(super) array: &'c Target<'c>,
    pub(super) change: &'c BlockChange,
    pub(super) stored: StoredBlock,
    /// The new checksum of each page; `None` if the page keeps the old one.
    pub(super) checksums: Vec<Option<u32>>,
}

/// The blocks of a commit, or of several one after the other, while their records are changed.
pub(super) struct Blocks<'c, 't, 'i> {
    pub(super) txn: &'t RefCell<WriteTxn<'i>>,
    pub(super) space: Space<'c>,
    pub(super) data: &'t Data,
    /// Runs to which only records before this commit refer.
    pub(super) freed: Vec<Run>,
    /// How many such runs there were in all.
    pub(super) freed_runs: usize,
    /// Where new pages may have been spilled.
    claim: Option<&'t Claim>,
    /// Runs of the claim to which records refer.
    pub(super) used: Vec<Run>,
    /// The payload lies in the claim.
    is_payload_claimed: bool,
    /// Checksum of a page of zeros.
    pub(super) checksum_of_zeros: u32,
    /// For blocks that are defragmented.
    pub(super) packer: Packer,
    pub(super) unpacker: Unpacker,
    /// Pages were written besides the payload.
    pub(super) wrote: bool,
    /// The tallies of the records of the current array.
    pub(super) records: Tallies,
}

impl<'c, 't, 'i> Blocks<'c, 't, 'i> {
    pub(super) fn new(txn: &'t RefCell<WriteTxn<'i>>, space: Space<'c>, data: &'t Data) -> Self {
        let checksum_of_zeros = crc32c::crc32c(&[0; PAGE]);
        let (freed, used) = (Vec::new(), Vec::new());
        Blocks {
            txn,
            space,
            data,
            freed,
            freed_runs: 0,
            claim: None,
            used,
            is_payload_claimed: false,
            checksum_of_zeros,
            packer: Packer::default(),
            unpacker: Unpacker::default(),
            wrote: false,
            records: Tallies::default(),
        }
    }

    /// Begins the next commit. Its pages may have been spilled to `claim`, where its payload lies too if `is_payload_claimed`.
    pub(super) fn begin(&mut self, claim: Option<&'t Claim>, is_payload_claimed: bool) {
        (self.claim, self.is_payload_claimed) = (claim, is_payload_claimed);
        self.used.clear();
    }

    /// Deletes those blocks of an array, with their checksums. `range` may end behind all of them.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if all were deleted, and they were not those of the tally.
    pub(super) fn drop_blocks(&mut self, array: ArrayId, size: BlockSize, range: Range<u64>) -> Result<()> {
        let blocks = range.start..range.end.min(MOST_BLOCKS);
        if blocks.is_empty() {
            return Ok(());
        }
        let db = self.txn.borrow().dbs().blocks;
        let keys = block_key(array, BlockNo(blocks.start))..block_key(array, BlockNo(blocks.end));
        let runs = |key: &[u8], value: &[u8]| Ok(runs_of(&decode_block(key, value)?.segments));
        self.delete(db, array, &keys, |records| &mut records.blocks, runs)?;
        let pages = blocks.start * u64::from(size.pages())..blocks.end * u64::from(size.pages());
        let per_record = PAGES_PER_RECORD as u64;
        let records = pages.start.div_ceil(per_record)..pages.end / per_record;
        // Records of which some pages stay: the first and the last, or one that is both.
        let parts = match records.start <= records.end {
            true => [pages.start..records.start * per_record, records.end * per_record..pages.end],
            false => [pages, 0..0],
        };
        {
            let mut txn = self.txn.borrow_mut();
            let mut checksums = ChecksumWriter::new(array, self.records.sums);
            for page in parts.into_iter().flatten() {
                checksums.set(&mut txn, page, 0)?;
            }
            self.records.sums = checksums.finish(&mut txn)?;
        }
        let db = self.txn.borrow().dbs().sums;
        let keys = numbered_key(array, records.start)..numbered_key(array, records.end);
        self.delete(db, array, &keys, |records| &mut records.sums, |_, _| Ok(Vec::new()))?;
        if blocks == (0..MOST_BLOCKS) {
            self.refuse_remains("blocks", array, self.records.blocks)?;
            self.refuse_remains("checksums", array, self.records.sums)?;
        }
        Ok(())
    }

    /// Deletes the attributes of an array.
    pub(super) fn drop_attrs(&mut self, array: ArrayId) -> Result<()> {
        let db = self.txn.borrow().dbs().attrs;
        let keys = attr_key(array, "")..attr_key(ArrayId(array.0.saturating_add(1)), "");
        self.delete(db, array, &keys, |records| &mut records.attrs, |_, _| Ok(Vec::new()))?;
        self.refuse_remains("attributes", array, self.records.attrs)
    }

    /// Deletes the records of an array in `db` that have one of `wanted` keys, some at a time, and subtracts them from their
    /// `tally`. `runs` are those to which a record refers.
    fn delete(
        &mut self,
        db: Database,
        array: ArrayId,
        wanted: &Range<impl AsRef<[u8]>>,
        tally: fn(&mut Tallies) -> &mut Tally,
        runs: impl Fn(&[u8], &[u8]) -> Result<Vec<Run>>,
    ) -> Result<()> {
        loop {
            let mut keys = Vec::new();
            self.txn.borrow().tables().scan(db, wanted.start.as_ref(), |key, value| {
                let ours = key.starts_with(&array.0.to_be_bytes()) && key < wanted.end.as_ref();
                if ours {
                    self.freed.extend(runs(key, value)?);
                    tally(&mut self.records).remove(key, value);
                    keys.push(key.to_vec());
                }
                Ok(ours && keys.len() < AT_ONCE)
            })?;
            for key in &keys {
                self.txn.borrow_mut().delete(db, key)?;
            }
            self.free_many()?;
            if keys.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Refuses a tally that is not empty after all records of an array were deleted.
    fn refuse_remains(&self, what: &str, array: ArrayId, records: Tally) -> Result<()> {
        if records == Tally::default() {
            return Ok(());
        }
        let dir = self.data.dir.display();
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
        let mut checksums = ChecksumWriter::new(id, self.records.sums);
        let before_end = change.before.as_ref().map_or(0, |(_, before)| before.end());
        let array = Target {
            id,
            name,
            size: descriptor.block_size,
            codec: descriptor.codec,
            item_bytes: descriptor.item_size,
            grown: before_end..descriptor.end(),
        };
        for block in &change.blocks {
            match payload.unit_of_block(at, block.block) {
                Some(unit) => self.replace_block(block, &array, unit, &mut checksums)?,
                None => {
                    self.lay_over_block(block, &array, payload, payload.of_block(at, block.block), &mut checksums)?;
                }
            }
            self.free_many()?;
        }
        self.records.sums = checksums.finish(&mut self.txn.borrow_mut())?;
        Ok(())
    }

    /// Stores a block that is wholly new, and compressed.
    fn replace_block(
        &mut self,
        change: &BlockChange,
        array: &Target<'_>,
        unit: Unit,
        checksums: &mut ChecksumWriter,
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
        self.store_block(&ChangedBlock { array, change, stored, checksums: vec![Some(0); pages as usize] }, checksums)
    }

    fn lay_over_block(
        &mut self,
        change: &BlockChange,
        array: &Target<'_>,
        payload: &Payload,
        pieces: &[PlacedRun],
        checksums: &mut ChecksumWriter,
    ) -> Result<()> {
        let old = self.segments_of(array, change.block)?;
        let changed: Vec<Range<u32>> = change.pages.iter().map(|run| run.pages.clone()).collect();
        let spilled = self.spilled(change)?;
        let mut new: Vec<StoredSegment> =
            pieces.iter().map(|piece| StoredSegment::plain(piece.first, piece.run)).collect();
        let mut claimed = if self.is_payload_claimed { runs_of(&new) } else { Vec::new() };
        new.extend(spilled.iter().map(|(segment, _)| segment));
        claimed.extend(runs_of(&new[pieces.len()..]));
        claimed.sort_unstable();
        new.sort_unstable_by_key(|segment| segment.first);
        let over = lay_over(&old, &changed, &new);
        self.freed.extend(over.freed);

        // Changed pages that are zero get the checksum of a hole.
        let mut new_checksums = vec![None; array.size.pages() as usize];
        for run in change.pages.iter().filter(|run| run.source == PageSource::Zero) {
            new_checksums[run.pages.start as usize..run.pages.end as usize].fill(Some(0));
        }
        for piece in pieces {
            for (page, sum) in (piece.first as usize..).zip(payload.checksums_of(piece)) {
                new_checksums[page] = Some(sum);
            }
        }
        for (segment, checksums) in &spilled {
            let checksums = checksums.iter().copied().chain(std::iter::repeat(0));
            for (page, sum) in (segment.first..segment.end()).zip(checksums) {
                new_checksums[page as usize] = Some(sum);
            }
        }

        let version = Version(self.txn.borrow().id());
        let stored = StoredBlock { version, pages: array.size.pages(), segments: over.segments };
        let mut block = ChangedBlock { array, change, stored, checksums: new_checksums };
        if !self.defragment(&mut block, &old, &claimed, checksums)? {
            self.used.extend(claimed);
        }
        self.store_block(&block, checksums)
    }

    /// The segments of a block before this commit.
    fn segments_of(&self, array: &Target<'_>, block: BlockNo) -> Result<Vec<StoredSegment>> {
        let Some(old) = self.txn.borrow().tables().stored_block(array.id, block)? else { return Ok(Vec::new()) };
        let checked = old.check_size(array.name, array.id, block, array.size);
        checked.map_err(|e| e.context(self.data.dir.display()))?;
        Ok(old.segments)
    }

    /// Stores the record of a block, and the new checksums of its pages.
    fn store_block(&mut self, block: &ChangedBlock<'_>, checksums: &mut ChecksumWriter) -> Result<()> {
        let ChangedBlock { array, change, stored, .. } = block;
        let mut txn = self.txn.borrow_mut();
        let first_page = change.block.0 * u64::from(stored.pages);
        for (page, sum) in (first_page..).zip(&block.checksums) {
            if let Some(sum) = sum {
                checksums.set(&mut txn, page, *sum)?;
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
            written.push((slot.segment.part(run.pages.clone()), slot.checksums(&run.pages)));
        }
        Ok(written)
    }

    /// Records freed runs once there are many.
    fn free_many(&mut self) -> Result<()> {
        if self.freed.len() < AT_ONCE { Ok(()) } else { self.free_all() }
    }

    /// Records freed runs.
    pub(super) fn free_all(&mut self) -> Result<()> {
        self.freed_runs += self.freed.len();
        self.space.free(std::mem::take(&mut self.freed))
    }
}
