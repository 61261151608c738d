//! Core's suite for stores.

use std::path::PathBuf;
use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::testing::store_suite::StoreFixture;
use bigarray_store_lmdb::{LmdbStore, Options};

fn open(path: &PathBuf) -> Arc<dyn Store> {
    LmdbStore::open(&Options::new(path)).expect("opening")
}

fn make() -> StoreFixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("test.bigarray");
    let store = open(&path);
    StoreFixture::new(store).reopening(move || open(&path)).keeping(dir)
}

bigarray_core::store_suite!(make);
