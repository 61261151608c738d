//! Helpers of the store's tests.

#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses a part")]

pub(crate) mod crash;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bigarray_core::store::{
    ArrayChange, BlockChange, Change, Committed, PageRun, PageSource, Snapshot, SpillArea, SpilledPages, Store,
};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Descriptor, PAGE, Result, Version};
use bigarray_store_lmdb::{CheckReport, LmdbStore, Options};
use bigarray_testing::{Edit, array_of, page_of};

/// A database that is checked when its test ends.
pub(crate) struct Db {
    pub(crate) path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Db {
    pub(crate) fn new() -> Db {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Db { path: dir.path().join("test.bigarray"), _dir: dir }
    }

    pub(crate) fn open(&self) -> Arc<LmdbStore> {
        open(&self.path)
    }

    /// Length of the data file in bytes.
    pub(crate) fn data_length(&self) -> u64 {
        fs::metadata(self.path.join("data")).expect("the data file").len()
    }

    /// The allocation unit of the file system: the bytes on disk of a file of one byte.
    pub(crate) fn unit_bytes(&self) -> u64 {
        let file = tempfile::NamedTempFile::new_in(self.path.parent().expect("a directory")).expect("a file");
        fs::write(file.path(), [1]).and_then(|()| file.as_file().sync_all()).expect("writing a byte");
        file.as_file().metadata().expect("a file").blocks() * 512
    }

    /// Bytes that the data file takes on disk.
    pub(crate) fn data_bytes(&self) -> u64 {
        fs::metadata(self.path.join("data")).expect("the data file").blocks() * 512
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.path.exists() {
            check(&self.open());
        }
    }
}

pub(crate) fn open(path: &Path) -> Arc<LmdbStore> {
    LmdbStore::open(&Options::new(path)).expect("opening")
}

/// Checks everything, payload too.
#[track_caller]
pub(crate) fn check(store: &LmdbStore) -> CheckReport {
    store.check(true).expect("the check")
}

/// An array of `blocks` blocks of 2 MiB, one byte an element.
pub(crate) fn large_array_of(blocks: usize) -> Descriptor {
    let size = BlockSize::MAX;
    Descriptor { shape: vec![blocks * size.bytes()], block_size: size, ..array_of(blocks) }
}

#[track_caller]
pub(crate) fn now(store: &LmdbStore) -> Arc<dyn Snapshot> {
    store.snapshot().expect("a snapshot")
}

/// Commits `edit` of the newest state.
#[track_caller]
pub(crate) fn commit(store: &LmdbStore, edit: impl FnOnce(&dyn Snapshot) -> Edit) -> Committed {
    let base = now(store);
    Edit::commit(store, &*base, &[edit(&*base)]).expect("a commit")
}

pub(crate) fn id_of(snapshot: &dyn Snapshot, name: &str) -> ArrayId {
    snapshot.array(name).expect("look-up").expect("the array").id
}

/// Whether a page is `page_of(tag)`, or zero.
#[track_caller]
pub(crate) fn assert_page(snapshot: &dyn Snapshot, name: &str, block: u64, page: u32, tag: Option<u64>) {
    let mut bytes = vec![0xa5; PAGE];
    snapshot.read(id_of(snapshot, name), BlockNo(block), page, &mut bytes).expect("reading");
    let expected = tag.map_or_else(|| vec![0; PAGE], page_of);
    assert!(bytes == expected, "page {page} of block {block} of {name:?} is not {tag:?}");
}

/// Spilled pages of a block.
pub(crate) type Written = (u64, Vec<SpilledPages>);

/// Spills pages: `page_of(tag)` and those after it.
#[track_caller]
pub(crate) fn spill(area: &dyn SpillArea, array: &Descriptor, first: u32, pages: u32, tag: u64) -> Vec<SpilledPages> {
    let bytes: Vec<u8> = (tag..tag + u64::from(pages)).flat_map(page_of).collect();
    area.write(array, first, &bytes).expect("spilling")
}

/// Commits blocks of array `a` that were spilled.
pub(crate) fn commit_spilled(
    store: &LmdbStore,
    base: &dyn Snapshot,
    area: &dyn SpillArea,
    written: &[Written],
) -> Result<Committed> {
    commit_with_spilled(store, base, Edit::of(base, "a"), "a", area, written)
}

/// As [`commit_spilled`] for any array, with an `edit` of its other blocks.
pub(crate) fn commit_with_spilled(
    store: &LmdbStore,
    base: &dyn Snapshot,
    edit: Edit,
    name: &str,
    area: &dyn SpillArea,
    written: &[Written],
) -> Result<Committed> {
    Edit::with_change(base, &[edit], |change| {
        let array = &change.arrays[0];
        let mut blocks = array.blocks.clone();
        for (block, runs) in written {
            let block = BlockNo(*block);
            let record = base.block(id_of(base, name), block).expect("look-up");
            let run = |p: &SpilledPages| PageRun { pages: p.pages.clone(), source: PageSource::Spilled(p.clone()) };
            let seen = record.map_or(Version(0), |record| record.version);
            blocks.push(BlockChange { block, seen, pages: runs.iter().map(run).collect() });
        }
        blocks.sort_by_key(|block| block.block);
        let (before, after) = (array.before.clone(), array.after.clone());
        let array = ArrayChange {
            before,
            after,
            dropped: Vec::new(),
            blocks,
            attrs: Vec::new(),
            depends: Vec::new(),
            ..*array
        };
        store
            .commit(&Change { base: change.base, arrays: vec![array], attrs: Vec::new(), spill_area: Some(area) }, None)
    })
}
