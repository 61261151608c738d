//! Spilled pages, as unkind as the rest: what is given back is scribbled over at once and given out first.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use bigarray_core::store::{Change, PageSource, SpillArea, SpillSlot, SpilledPages};
use bigarray_core::{Descriptor, Error, ErrorKind, PAGE, Result};

use super::Inner;
use super::state::PageAt;

/// A plain write of more pages comes back in two runs, as it may.
const MOST_IN_ONE_RUN: u32 = 4;

/// Which of those of a store; never the same again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpillAreaId(pub(super) u64);

pub(super) struct MemSpillArea {
    pub(super) store: Arc<Inner>,
    pub(super) id: SpillAreaId,
}

impl MemSpillArea {
    /// Writes pages that follow each other in the file.
    fn write_run(&self, first_page: u32, bytes: &[u8]) -> Result<SpilledPages> {
        let capacity = self.store.options.capacity_pages;
        let mut ledger = self.store.ledger();
        let start =
            ledger.pages.store(&self.store.file, bytes, capacity).ok_or_else(|| self.store.full(bytes.len()))?;
        let pages = start..start + (bytes.len() / PAGE) as u64;
        ledger.pages.hold(self.id, pages.clone());
        Ok(self.slot(first_page, pages.map(PageAt::File).collect(), bytes))
    }

    fn assert_open(&self) {
        assert!(!self.store.ledger().over.contains(&self.id.0), "a spill for a commit that is over");
    }

    fn slot(&self, first_page: u32, at: Vec<PageAt>, bytes: &[u8]) -> SpilledPages {
        let pages = first_page..first_page + at.len() as u32;
        let slot = MemSpillSlot { store: self.store.clone(), id: self.id, first_page, at, written: bytes.into() };
        SpilledPages { pages, slot: Arc::new(slot) }
    }
}

impl SpillArea for MemSpillArea {
    fn write(&self, array: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>> {
        let pages = (bytes.len() / PAGE) as u32;
        assert!(!bytes.is_empty() && bytes.len().is_multiple_of(PAGE), "{} bytes are not whole pages", bytes.len());
        let of_block = array.block_size.pages();
        assert!(first_page + pages <= of_block, "{pages} pages from {first_page} on, in a block of {of_block}");
        self.assert_open();
        if pages <= MOST_IN_ONE_RUN {
            return Ok(vec![self.write_run(first_page, bytes)?]);
        }
        let (front, back) = bytes.split_at((pages / 2) as usize * PAGE);
        Ok(vec![self.write_run(first_page, front)?, self.write_run(first_page + pages / 2, back)?])
    }

    fn write_packed(&self, array: &Descriptor, block: &[u8], plain_pages: u32) -> Result<Option<SpilledPages>> {
        assert_eq!(block.len(), array.block_size.bytes(), "bytes of a block that is to be compressed");
        let with_bytes = block.chunks_exact(PAGE).filter(|page| page.iter().any(|byte| *byte != 0)).count();
        assert!(plain_pages as usize >= with_bytes, "{plain_pages} pages of a block of which {with_bytes} have bytes");
        self.assert_open();
        if !self.store.is_packed(array, block) {
            return Ok(None);
        }
        let at = block.chunks_exact(PAGE).map(|page| PageAt::Produced(page.into())).collect();
        Ok(Some(self.slot(0, at, block)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for MemSpillArea {
    fn drop(&mut self) {
        let mut ledger = self.store.ledger();
        let ledger = &mut *ledger;
        ledger.over.insert(self.id.0);
        ledger.pages.let_go(&self.store.file, self.id, &BTreeSet::new());
    }
}

pub(super) struct MemSpillSlot {
    store: Arc<Inner>,
    id: SpillAreaId,
    first_page: u32,
    at: Vec<PageAt>,
    /// The bytes that were written. Where others are found, the slot was given to another.
    written: Box<[u8]>,
}

impl SpillSlot for MemSpillSlot {
    fn read(&self, first_page: u32, buf: &mut [u8]) -> Result<()> {
        let first = (first_page - self.first_page) as usize;
        let written = &self.written[first * PAGE..][..buf.len()];
        for (page, buf) in self.at[first..].iter().zip(buf.chunks_exact_mut(PAGE)) {
            page.read(&*self.store.file, buf)?;
        }
        if *buf != *written {
            let text = format!("what was spilled from page {first_page} of a block on is not there any more");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(())
    }

    fn extent(&self, page: u32) -> Option<u64> {
        match self.at[(page - self.first_page) as usize] {
            PageAt::File(page) => Some(page * PAGE as u64),
            PageAt::Hole | PageAt::Produced(_) => None,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for MemSpillSlot {
    fn drop(&mut self) {
        let pages = self.at.iter().filter_map(PageAt::file_page);
        self.store.ledger().pages.let_go_some(&self.store.file, self.id, pages);
    }
}

/// The pages of `pages`, as a commit refers to them.
///
/// # Panics
/// If they were not written by this store.
pub(super) fn pages_at(pages: &SpilledPages) -> &[PageAt] {
    let slot = slot_of(pages);
    let first = (pages.pages.start - slot.first_page) as usize;
    &slot.at[first..][..pages.pages.len()]
}

fn slot_of(pages: &SpilledPages) -> &MemSpillSlot {
    pages.slot.as_any().downcast_ref().expect("a slot of another kind of store")
}

/// The spill area that `change` refers to.
///
/// # Panics
/// If it refers to slots of another area, to slots without naming an area, or to released ones.
pub(super) fn spill_area_of(store: &Arc<Inner>, change: &Change<'_>) -> Option<SpillAreaId> {
    let area = change.spill_area.map(|area| {
        let area: &MemSpillArea = area.as_any().downcast_ref().expect("spilled in another kind of store");
        assert!(Arc::ptr_eq(&area.store, store), "spilled in another store");
        area.id
    });
    let runs = change.arrays.iter().flat_map(|array| &array.blocks).flat_map(|block| &block.pages);
    for run in runs {
        if let PageSource::Spilled(pages) = &run.source {
            assert_eq!(run.pages, pages.pages, "changed pages and those that were spilled for them");
            let slot = slot_of(pages);
            assert!(Arc::ptr_eq(&slot.store, store), "a slot in another store");
            assert_eq!(Some(slot.id), area, "pages {:?} were spilled by another transaction", run.pages);
        }
    }
    area
}
