//! Spilled pages of a block.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::store::{SpillSlot, SpilledPages};
use bigarray_core::{Error, ErrorKind, PAGE, Result};

use crate::alloc::Pages;
use crate::reading::read_pages;
use crate::record::StoredSegment;
use crate::space::Claim;

/// Spilled pages of a block. They may be overwritten once the last reference is dropped: a reader holds one.
pub(crate) struct LmdbSpillSlot {
    pub(super) claim: Arc<Claim>,
    /// Its pages of the claim.
    pub(super) taken: Pages,
    /// The segment that a commit stores.
    pub(crate) segment: StoredSegment,
    /// Checksum of each page; empty if they are compressed.
    pub(super) checksums: Box<[u32]>,
}

impl LmdbSpillSlot {
    /// The slot of `pages`, if it belongs to `claim` and has all of them.
    pub(crate) fn of<'p>(pages: &'p SpilledPages, claim: &Claim) -> Option<&'p LmdbSpillSlot> {
        let slot: &LmdbSpillSlot = pages.slot.as_any().downcast_ref()?;
        let has = slot.segment.first <= pages.pages.start && pages.pages.end <= slot.segment.end();
        (has && std::ptr::eq(&*slot.claim, claim)).then_some(slot)
    }

    /// The checksums of some of its pages; empty if they are compressed.
    pub(crate) fn checksums(&self, pages: &Range<u32>) -> &[u32] {
        match self.segment.run() {
            Some(_) => &self.checksums[(pages.start - self.segment.first) as usize..][..pages.len()],
            None => &[],
        }
    }

    /// Compares pages that were read with their checksums.
    fn verify(&self, pages: &Range<u32>, read: &[u8]) -> Result<()> {
        let mut each = read.chunks_exact(PAGE).zip(self.checksums(pages)).zip(pages.clone());
        match each.find(|((page, sum), _)| crc32c::crc32c(page) != **sum) {
            None => Ok(()),
            Some((_, page)) => {
                let text = format!("spilled page {page} of a block does not fit its checksum");
                Err(Error::new(ErrorKind::Corrupt, text))
            }
        }
    }
}

impl SpillSlot for LmdbSpillSlot {
    fn read(&self, first_page: u32, buf: &mut [u8]) -> Result<()> {
        let shared = &self.claim.shared;
        shared.locks.check_process()?;
        let pages = first_page..first_page + (buf.len() / PAGE) as u32;
        let (first, end) = (self.segment.first, self.segment.end());
        if !buf.len().is_multiple_of(PAGE) || pages.start < first || pages.end > end {
            let text = format!("reading pages {pages:?} of a block, of which {first}..{end} were spilled there");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let segment = std::slice::from_ref(&self.segment);
        // A compressed segment is the whole block. For others the length of the block does not matter.
        shared
            .unpackers
            .with(|unpacker| read_pages(&shared.data, unpacker, segment, end, first_page, buf))
            .and_then(|()| self.verify(&pages, buf))
            .map_err(|e| {
                let place = self.taken.start * PAGE as u64;
                e.context(format_args!("{}: at byte {place} of the data file", shared.dir.display()))
            })
    }

    fn extent(&self, page: u32) -> Option<u64> {
        Some(self.segment.part(page..page + 1).run()?.offset())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for LmdbSpillSlot {
    fn drop(&mut self) {
        self.claim.give_back(self.taken.clone());
    }
}
