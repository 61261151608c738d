//! A commit without a pager: pages are given one by one, so that a test of a store says what it changes in a line.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};

use bigarray_core::store::{
    ArrayChange, AttrChange, BlockChange, Bytes, Change, CommitLock, Committed, PageRun, PageSource, Snapshot, Store,
};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Descriptor, Order, PAGE, Result, Version};
use serde_json::Value;

use super::Rng;

/// An array of `blocks` blocks of 64 KiB, one byte an element.
pub fn array_of(blocks: usize) -> Descriptor {
    let size = BlockSize::MIN;
    Descriptor {
        id: ArrayId(0),
        dtype: "|u1".to_owned(),
        item_size: 1,
        shape: vec![blocks * size.bytes()],
        order: Order::RowMajor,
        block_size: size,
        skip: 0,
        codec: Codec::None,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    }
}

/// Contents of a page, different for each `tag`.
pub fn page_of(tag: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    Rng::new(tag).fill(&mut page);
    page
}

/// Contents of a page, different for each `tag`, that compress well: numbers that change slowly.
pub fn smooth_page_of(tag: u64) -> Vec<u8> {
    (0..PAGE as u64 / 8).flat_map(|i| (tag << 20 | i).to_le_bytes()).collect()
}

/// What one transaction does to one array, page by page, without a pager: the short way to an [`ArrayChange`]. Or what it
/// does to the attributes of the database.
#[derive(Clone, Debug)]
pub struct Edit {
    before: Option<(String, Descriptor)>,
    after: Option<(String, Descriptor)>,
    dropped_from: Option<u64>,
    dropped: Vec<(BlockNo, Version)>,
    /// The version seen of each block written to.
    seen: BTreeMap<u64, Version>,
    pages: Pages,
    attrs: Vec<AttrChange>,
    depends: Vec<Range<u64>>,
}

/// Pages written to, by block and page; `None` is zero.
#[derive(Clone, Debug)]
struct Pages {
    size: BlockSize,
    written: BTreeMap<(u64, u32), Option<Vec<u8>>>,
}

impl Edit {
    /// A new array.
    pub fn create(name: &str, array: Descriptor) -> Edit {
        Edit::from(None, Some((name.to_owned(), array.clone())), array.block_size)
    }

    /// The array of that name, as `base` has it.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(base: &dyn Snapshot, name: &str) -> Edit {
        let array = base.array(name).expect("look-up").unwrap_or_else(|| panic!("no array {name:?}"));
        let named = (name.to_owned(), array.clone());
        Edit::from(Some(named.clone()), Some(named), array.block_size)
    }

    /// The attributes of the database.
    pub fn of_database() -> Edit {
        Edit::from(None, None, BlockSize::MIN)
    }

    fn from(before: Option<(String, Descriptor)>, after: Option<(String, Descriptor)>, size: BlockSize) -> Edit {
        let pages = Pages { size, written: BTreeMap::new() };
        let (dropped_from, dropped, seen, attrs, depends) = Default::default();
        Edit { before, after, dropped_from, dropped, seen, pages, attrs, depends }
    }

    /// Writes a page: [`page_of`] that `tag`.
    #[must_use]
    pub fn page(self, base: &dyn Snapshot, block: u64, page: u32, tag: u64) -> Edit {
        self.put(base, block, page, Some(page_of(tag)))
    }

    /// Writes a page: [`smooth_page_of`] that `tag`.
    #[must_use]
    pub fn smooth_page(self, base: &dyn Snapshot, block: u64, page: u32, tag: u64) -> Edit {
        self.put(base, block, page, Some(smooth_page_of(tag)))
    }

    /// Writes all pages of a block, smooth ones: that `tag` and those after it.
    #[must_use]
    pub fn smooth_block(self, base: &dyn Snapshot, block: u64, tag: u64) -> Edit {
        (0..self.pages.size.pages()).fold(self, |edit, page| edit.smooth_page(base, block, page, tag + u64::from(page)))
    }

    /// Makes a page zero.
    #[must_use]
    pub fn zero(self, base: &dyn Snapshot, block: u64, page: u32) -> Edit {
        self.put(base, block, page, None)
    }

    /// Writes all pages of a block, that `tag` and those after it.
    #[must_use]
    pub fn block(self, base: &dyn Snapshot, block: u64, tag: u64) -> Edit {
        (0..self.pages.size.pages()).fold(self, |edit, page| edit.page(base, block, page, tag + u64::from(page)))
    }

    fn put(self, base: &dyn Snapshot, block: u64, page: u32, bytes: Option<Vec<u8>>) -> Edit {
        let mut edit = self.touch(base, block);
        edit.pages.written.insert((block, page), bytes);
        edit
    }

    /// Stores to a block what is there.
    #[must_use]
    pub fn touch(mut self, base: &dyn Snapshot, block: u64) -> Edit {
        let id = self.before.as_ref().map(|(_, array)| array.id);
        let stored = id.and_then(|id| base.block(id, BlockNo(block)).expect("look-up"));
        self.seen.insert(block, stored.map_or(Version(0), |record| record.version));
        self
    }

    /// Drops the blocks from number `from` on, before what is written is laid over.
    #[must_use]
    pub fn drop_from(mut self, base: &dyn Snapshot, from: u64) -> Edit {
        self.dropped_from = Some(from);
        self.dropped.clear();
        if let Some((_, array)) = &self.before {
            base.blocks(array.id, from..u64::MAX, &mut |block, record| {
                self.dropped.push((block, record.version));
                ControlFlow::Continue(())
            })
            .expect("look-up");
        }
        self
    }

    /// Gives the array that shape.
    #[must_use]
    pub fn reshape(mut self, shape: &[usize]) -> Edit {
        self.after.as_mut().expect("not removed").1.shape = shape.to_vec();
        self
    }

    /// Drops `bytes` at the front of an array of one dimension, which has more.
    #[must_use]
    pub fn drop_front(mut self, bytes: usize) -> Edit {
        let (_, array) = self.after.as_mut().expect("not removed");
        array.skip += bytes;
        array.shape[0] -= bytes / array.item_size;
        self
    }

    /// So many bytes were dropped at the front.
    #[must_use]
    pub fn skip(mut self, bytes: usize) -> Edit {
        self.after.as_mut().expect("not removed").1.skip = bytes;
        self
    }

    /// Gives the array that name.
    #[must_use]
    pub fn rename(mut self, name: &str) -> Edit {
        name.clone_into(&mut self.after.as_mut().expect("not removed").0);
        self
    }

    /// Removes the array.
    #[must_use]
    pub fn remove(mut self) -> Edit {
        self.after = None;
        self.dropped_from = Some(0);
        self
    }

    /// Sets an attribute, or removes it.
    #[must_use]
    pub fn attr(mut self, name: &str, after: Option<Value>) -> Edit {
        self.attrs.push(AttrChange { name: name.to_owned(), after });
        self
    }

    /// Depends on the blocks `blocks`, behind those that it depends on already.
    #[must_use]
    pub fn depend(mut self, blocks: Range<u64>) -> Edit {
        self.depends.push(blocks);
        self
    }

    /// Hands `f` the change that `edits` make to what `base` showed.
    pub fn with_change<R>(base: &dyn Snapshot, edits: &[Edit], f: impl FnOnce(&Change<'_>) -> R) -> R {
        let (of_database, of_arrays): (Vec<_>, Vec<_>) =
            edits.iter().partition(|edit| edit.before.is_none() && edit.after.is_none());
        let arrays = of_arrays.into_iter().map(Edit::to_change).collect();
        let attrs: BTreeMap<_, _> = of_database.iter().flat_map(|e| &e.attrs).map(|a| (&a.name, &a.after)).collect();
        let attrs = attrs.into_iter().map(|(name, after)| AttrChange { name: name.clone(), after: after.clone() });
        f(&Change { base, arrays, attrs: attrs.collect(), spill_area: None })
    }

    /// Commits `edits` of what `base` showed.
    pub fn commit(store: &dyn Store, base: &dyn Snapshot, edits: &[Edit]) -> Result<Committed> {
        Edit::commit_in(store, base, edits, None)
    }

    /// The same, under the caller's commit lock.
    pub fn commit_in(
        store: &dyn Store,
        base: &dyn Snapshot,
        edits: &[Edit],
        lock: Option<&dyn CommitLock>,
    ) -> Result<Committed> {
        Edit::with_change(base, edits, |change| store.commit(change, lock))
    }

    fn to_change(&self) -> ArrayChange<'_> {
        let mut blocks: Vec<BlockChange> = Vec::new();
        for (&block, &seen) in &self.seen {
            let mut runs: Vec<PageRun> = Vec::new();
            for (&(_, page), bytes) in self.pages.written.range((block, 0)..=(block, u32::MAX)) {
                let source = if bytes.is_none() { PageSource::Zero } else { PageSource::Memory };
                match runs.last_mut().filter(|run| run.source == source && run.pages.end == page) {
                    Some(run) => run.pages.end += 1,
                    None => runs.push(PageRun { pages: page..page + 1, source }),
                }
            }
            blocks.push(BlockChange { block: BlockNo(block), seen, pages: runs });
        }
        ArrayChange {
            before: self.before.clone(),
            after: self.after.clone(),
            dropped_from: self.dropped_from,
            dropped: self.dropped.clone(),
            blocks,
            attrs: self.attrs.clone(),
            depends: self.depends.clone(),
            bytes: &self.pages,
        }
    }
}

impl Bytes for Pages {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut bytes = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let inside = at % self.size.bytes();
            let (block, page) = (self.size.block_at(at), (inside / PAGE) as u32);
            let end = range.end.min((at / PAGE + 1) * PAGE);
            match self.written.get(&(block.0, page)) {
                Some(Some(written)) => bytes.extend_from_slice(&written[at % PAGE..at % PAGE + (end - at)]),
                _ => panic!("the store asks for page {page} of block {}, which holds no new bytes", block.0),
            }
            at = end;
        }
        f(&bytes)
    }
}
