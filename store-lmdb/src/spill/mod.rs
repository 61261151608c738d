//! The spill area of a transaction: pages that leave memory before the commit are written to pages that only this
//! transaction can use, outside the write transaction.

mod slot;

use std::any::Any;
use std::sync::Arc;

use bigarray_core::store::{SpillArea, SpilledPages};
use bigarray_core::{Descriptor, Error, ErrorKind, PAGE, Result};

use crate::alloc::{Pages, Run, runs_of};
use crate::codec::Packed;
use crate::crash;
use crate::record::{StoredSegment, Unit};
use crate::shared::Shared;
use crate::space::{Claim, ClaimWriter, with_room};
pub(crate) use slot::LmdbSpillSlot;

/// The spill area of one transaction. Dropping it without a commit releases its pages.
pub(crate) struct LmdbSpillArea {
    pub(crate) claim: Arc<Claim>,
}

impl LmdbSpillArea {
    pub(crate) fn new(shared: &Arc<Shared>) -> LmdbSpillArea {
        LmdbSpillArea { claim: Arc::new(Claim::new(shared)) }
    }

    fn write_unit(&self, writing: &ClaimWriter<'_>, pages: u32, packed: Packed, bytes: &[u8]) -> Result<SpilledPages> {
        let taken = writing.take(u64::from(packed.pages()))?;
        let unit = Unit::at_page(taken.start, packed);
        let slot = self.slot(taken, StoredSegment::unit(pages, unit), Box::default());
        self.put(unit.offset(), bytes)?;
        Ok(slot)
    }

    /// Writes pages uncompressed.
    fn write_plain(&self, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>> {
        let writing = self.claim.writing()?;
        let taken = writing.take((bytes.len() / PAGE) as u64)?;
        let offset = taken.start * PAGE as u64;
        let (mut first, mut at, mut rest) = (first_page, taken.start, bytes);
        let slot = |run: Run| {
            let (now, later) = rest.split_at(usize::from(run.pages) * PAGE);
            let segment = StoredSegment::plain(first, run);
            let taken = at..at + u64::from(run.pages);
            (first, at, rest) = (segment.end(), taken.end, later);
            self.slot(taken, segment, now.chunks_exact(PAGE).map(crc32c::crc32c).collect())
        };
        let slots = runs_of(taken).map(slot).collect();
        self.put(offset, bytes)?;
        Ok(slots)
    }

    /// The slot of `taken`. Dropping it gives the pages back.
    fn slot(&self, taken: Pages, segment: StoredSegment, checksums: Box<[u32]>) -> SpilledPages {
        let slot = LmdbSpillSlot { claim: Arc::clone(&self.claim), taken, segment, checksums };
        SpilledPages { pages: segment.first..segment.end(), slot: Arc::new(slot) }
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let shared = &self.claim.shared;
        with_room(shared, || shared.data.write_at(offset, bytes))?;
        crash::point("spilled");
        Ok(())
    }
}

impl SpillArea for LmdbSpillArea {
    fn write(&self, array: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>> {
        self.claim.shared.locks.check_process()?;
        let of_block = array.block_size.bytes();
        let end = (first_page as usize * PAGE).checked_add(bytes.len());
        if bytes.is_empty() || !bytes.len().is_multiple_of(PAGE) || end.is_none_or(|end| end > of_block) {
            let text = format!("{} bytes from page {first_page} on are no pages of a block of {of_block}", bytes.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        self.write_plain(first_page, bytes)
    }

    fn write_packed(&self, array: &Descriptor, block: &[u8], plain_pages: u32) -> Result<Option<SpilledPages>> {
        self.claim.shared.locks.check_process()?;
        let (pages, of_block) = (array.block_size.pages(), array.block_size.bytes());
        if block.len() != of_block || plain_pages > pages {
            let text = format!("{} bytes, of {plain_pages} pages, are no block of {of_block}", block.len());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        // Before the packer: a commit that waits for a packer holds the claim, so no thread can begin to write to it.
        let writing = self.claim.writing()?;
        self.claim.shared.packers.with(array.codec, of_block, |packer| {
            match packer.pack(array.codec, array.item_size, block, plain_pages)? {
                Some((packed, bytes)) => self.write_unit(&writing, pages, packed, bytes).map(Some),
                None => Ok(None),
            }
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for LmdbSpillArea {
    fn drop(&mut self) {
        self.claim.end();
        if self.claim.shared.locks.check_process().is_ok() {
            self.claim.shared.packers.forget_idle();
        }
    }
}
