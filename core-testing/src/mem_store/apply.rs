//! How a change becomes the next state.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::store::{ArrayChange, AttrChange, BlockChange, Bytes, Change, PageSource};
use bigarray_core::{ArrayId, BlockNo, Descriptor, PAGE, Result, Version};

use super::Inner;
use super::rehash::{kept_with, rehash};
use super::spill::pages_at;
use super::state::{Block, Committed, PageAt};
use super::versions::Versions;

/// A block of more segments is written whole.
const MOST_SEGMENTS: usize = 32;

/// The next state while it is made.
pub(super) struct Draft<'a> {
    store: &'a Inner,
    now: &'a Committed,
    pub(super) next: Committed,
    pub(super) next_id: u64,
    pub(super) ids: Vec<ArrayId>,
    pub(super) replaced: Vec<Version>,
    pub(super) changed: Vec<Version>,
    /// Pages written for the next state.
    pub(super) taken: Vec<u64>,
    /// Spilled pages that it takes over.
    pub(super) used: BTreeSet<u64>,
    /// Pages that the next state does not refer to any more.
    pub(super) freed: Vec<u64>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(store: &'a Inner, now: &'a Committed, next_id: u64) -> Draft<'a> {
        let mut next = now.clone();
        next.version.0 += 1;
        let (ids, replaced, changed, taken, used, freed) = Default::default();
        Draft { store, now, next, next_id, ids, replaced, changed, taken, used, freed }
    }

    pub(super) fn apply(&mut self, change: &Change<'_>) -> Result<()> {
        // All names are given up before any is taken, so that they may be exchanged.
        for array in &change.arrays {
            if let Some((name, _)) = &array.before {
                self.next.arrays.remove(name);
            }
        }
        for array in &change.arrays {
            self.apply_array(array)?;
        }
        if !change.attrs.is_empty() {
            self.set_attrs(ArrayId::DATABASE, &change.attrs);
        }
        Ok(())
    }

    fn set_attrs(&mut self, id: ArrayId, set: &[AttrChange]) {
        let (versions, number) = (self.next.versions, self.next.version);
        let attrs = Arc::make_mut(self.next.attrs.entry(id).or_default());
        for attr in set {
            let version = versions.of(number, &attr.after.as_ref().map(ToString::to_string));
            attrs.insert(attr.name.clone(), (version, attr.after.clone()));
        }
        if versions == Versions::Hashes {
            attrs.retain(|_, (_, value)| value.is_some());
        }
    }

    fn apply_array(&mut self, change: &ArrayChange<'_>) -> Result<()> {
        let current = change.before.as_ref().map(|(name, _)| self.now.arrays[name].clone());
        self.replaced.push(current.as_ref().map_or(Version(0), |array| array.changed));
        let id = current.as_ref().map_or(ArrayId(self.next_id), |array| array.id);
        self.next_id = self.next_id.max(id.0 + 1);
        self.ids.push(id);
        let Some((name, after)) = &change.after else {
            self.changed.push(Version(0));
            self.drop_blocks(id, 0..u64::MAX);
            self.next.attrs.remove(&id);
            self.next.blocks.remove(&id);
            return Ok(());
        };
        let (versions, number) = (self.next.versions, self.next.version);
        let array = change.descriptor_at(versions.of_commit(number), id, current.as_ref());
        let mut array = array.unwrap_or_else(|| after.clone());
        if let Some(from) = change.dropped_from {
            self.drop_blocks(id, from..u64::MAX);
        }
        self.drop_blocks(id, change.dropped_front());
        for block in &change.blocks {
            self.lay_over(&array, block, change.bytes)?;
        }
        if versions == Versions::Hashes {
            self.rehash(change, &mut array)?;
            array.named = versions.of(number, name);
        }
        self.changed.push(array.changed);
        self.set_attrs(id, &change.attrs);
        self.assert_nothing_outside(name, &array)?;
        let taken = self.next.arrays.insert(name.clone(), array);
        assert!(taken.is_none(), "one change gives two arrays the name {name:?}");
        Ok(())
    }

    /// Versions of what `change` left: of bytes alone.
    fn rehash(&mut self, change: &ArrayChange<'_>, array: &mut Descriptor) -> Result<()> {
        let blocks = Arc::make_mut(self.next.blocks.entry(array.id).or_default());
        // A block without bytes would be absent, which is another thing where there is a fill value.
        blocks.retain(|_, block| array.fill.is_some() || block.pages.iter().any(|page| !matches!(page, PageAt::Hole)));
        let suspects = kept_with(change, blocks);
        rehash(self.store, array, blocks, &suspects)
    }

    fn drop_blocks(&mut self, id: ArrayId, range: Range<u64>) {
        let blocks = Arc::make_mut(self.next.blocks.entry(id).or_default());
        let mut dropped = blocks.split_off(&range.start);
        blocks.append(&mut dropped.split_off(&range.end.max(range.start)));
        self.freed.extend(dropped.values().flat_map(|block| block.file_pages()));
    }

    fn lay_over(&mut self, array: &Descriptor, change: &BlockChange, bytes: &dyn Bytes) -> Result<()> {
        let (id, size) = (array.id, array.block_size);
        let stored = self.next.block_at(id, change.block);
        if stored.is_none() && array.fill.is_some() {
            let pages: u32 = change.pages.iter().map(|run| run.pages.end - run.pages.start).sum();
            assert_eq!(pages, size.pages(), "block {} was absent, and is not written whole", change.block.0);
        }
        let mut pages = stored.map_or_else(|| vec![PageAt::Hole; size.pages() as usize], |block| block.pages.clone());
        for run in &change.pages {
            let (first, last) = (run.pages.start as usize, run.pages.end as usize);
            let new = match &run.source {
                PageSource::Zero => vec![PageAt::Hole; last - first],
                PageSource::Memory => {
                    let start = size.start_of(change.block);
                    self.store(array, change.block, &gather(bytes, start + first * PAGE..start + last * PAGE)?)?
                }
                PageSource::Spilled(pages) => self.take_over(pages_at(pages)),
            };
            self.replace(&mut pages[first..last], new);
        }
        let mut block = Block { version: self.next.version, digest: 0, pages };
        if block.record().segments.len() > MOST_SEGMENTS {
            self.write_whole(array, change.block, &mut block)?;
        }
        Arc::make_mut(self.next.blocks.entry(id).or_default()).insert(change.block.0, Arc::new(block));
        Ok(())
    }

    fn take_over(&mut self, pages: &[PageAt]) -> Vec<PageAt> {
        for page in pages.iter().filter_map(PageAt::file_page) {
            assert!(self.used.insert(page), "spilled page {page} is committed in two places");
        }
        pages.to_vec()
    }

    fn write_whole(&mut self, array: &Descriptor, number: BlockNo, block: &mut Block) -> Result<()> {
        let mut bytes = vec![0; block.pages.len() * PAGE];
        for (page, buf) in block.pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
            page.read(&*self.store.file, buf)?;
        }
        let new = self.store(array, number, &bytes)?;
        self.replace(&mut block.pages, new);
        Ok(())
    }

    fn replace(&mut self, old: &mut [PageAt], new: Vec<PageAt>) {
        for (old, new) in old.iter_mut().zip(new) {
            if let PageAt::File(page) = std::mem::replace(old, new) {
                self.freed.push(page);
            }
        }
    }

    fn store(&mut self, array: &Descriptor, block: BlockNo, bytes: &[u8]) -> Result<Vec<PageAt>> {
        if self.store.is_produced(block) || self.store.is_packed(array, bytes) {
            return Ok(bytes.chunks_exact(PAGE).map(|page| PageAt::Produced(page.into())).collect());
        }
        let start = self.store.store_pages(bytes)?;
        let pages = start..start + (bytes.len() / PAGE) as u64;
        self.taken.extend(pages.clone());
        Ok(pages.map(PageAt::File).collect())
    }

    /// Regrowing shows the fill value, or zeros, so no commit may leave anything else behind the last element. Nor may one leave blocks before that
    /// of the first, which no commit would drop any more.
    fn assert_nothing_outside(&self, name: &str, array: &Descriptor) -> Result<()> {
        let (end, size) = (array.end(), array.block_size);
        assert!(array.skip == 0 || array.nbytes() > 0, "array {name:?}: {} bytes before none", array.skip);
        let Some(blocks) = self.next.blocks.get(&array.id) else { return Ok(()) };
        if let Some((block, _)) = blocks.range(..array.first_block().0).next() {
            panic!(
                "array {name:?}: block {block} stays stored, but its {} bytes before the first are dropped",
                array.skip
            );
        }
        let count = size.blocks_for(end);
        if let Some((block, _)) = blocks.range(count..).next() {
            panic!("array {name:?}: block {block} stays stored, but its {end} bytes end in block {count} or before");
        }
        let Some(last) = blocks.get(&size.block_at(end).0) else { return Ok(()) };
        let inside = end % size.bytes();
        let mut buf = [0; PAGE];
        for (n, page) in last.pages.iter().enumerate().skip(inside / PAGE) {
            page.read(&*self.store.file, &mut buf)?;
            let mut cleared = [0; PAGE];
            if let Some(fill) = &array.fill {
                fill.write(size.start_of(size.block_at(end)) + n * PAGE, &mut cleared);
            }
            let from = inside.saturating_sub(n * PAGE).min(PAGE);
            assert!(buf[from..] == cleared[from..], "array {name:?}: bytes behind its end at {end} are not cleared");
        }
        Ok(())
    }
}

fn gather(bytes: &dyn Bytes, range: Range<usize>) -> Result<Vec<u8>> {
    let mut gathered = Vec::with_capacity(range.len());
    bytes.with(range.clone(), &mut |bytes| {
        gathered.extend_from_slice(bytes);
        Ok(())
    })?;
    assert_eq!(gathered.len(), range.len(), "the bytes {range:?} of a change are not all there");
    Ok(gathered)
}

/// Panics where `change` is not what [`Change`] says it is.
pub(super) fn assert_contract(change: &Change<'_>, now: Version) {
    let base = change.base.version();
    assert!(base <= now, "a change of state {base:?}, but the newest is {now:?}");
    assert!(
        change.attrs.is_sorted_by(|a, b| a.name < b.name),
        "attributes of the database not ascending, or one twice"
    );
    for array in &change.arrays {
        let name = array.after.as_ref().or(array.before.as_ref()).map(|(name, _)| name);
        let Some(name) = name else { panic!("a change of an array that was neither there before nor is after") };
        assert!(array.dropped.is_sorted_by_key(|(block, _)| *block), "array {name:?}: dropped blocks not ascending");
        let Some((_, after)) = &array.after else {
            assert_eq!(array.dropped_from, Some(0), "array {name:?}: removed, so all its blocks drop");
            assert!(array.blocks.is_empty() && array.attrs.is_empty(), "array {name:?}: written to, though removed");
            continue;
        };
        assert!(
            array.depends.is_sorted_by(|a, b| a.end < b.start) && array.depends.iter().all(|range| !range.is_empty()),
            "array {name:?}: what it depends on is not ascending and apart"
        );
        assert!(
            array.blocks.is_sorted_by(|a, b| a.block < b.block),
            "array {name:?}: blocks written not ascending, or one twice"
        );
        for block in &array.blocks {
            let (number, pages) = (block.block.0, after.block_size.pages());
            let mut from = 0;
            for run in &block.pages {
                let apart = run.pages.start >= from && !run.pages.is_empty() && run.pages.end <= pages;
                assert!(apart, "array {name:?}: block {number} of {pages} pages: runs {:?}", block.pages);
                from = run.pages.end;
            }
        }
    }
}
