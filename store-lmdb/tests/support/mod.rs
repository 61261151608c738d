//! What the tests of the store share.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bigarray_core::store::{Committed, Snapshot, Store};
use bigarray_core::testing::{Edit, array_of, page_of};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Descriptor, PAGE};
use bigarray_store_lmdb::{CheckReport, LmdbStore, Options};

/// A database that is checked when its test is over.
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

/// Checks everything, checksums of the payload too.
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

/// Commits what `edit` makes of the newest state.
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
