//! The store itself: the conformance suite, conflicts of several handles, answers that are lost.

mod chunks;
mod conflicts;
mod conformance;
mod faults;
mod foreign;
mod lost_answers;
mod past;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bigarray_core::store::{Snapshot, Store};
use bigarray_core::{ArrayId, BlockNo, PAGE};
use bigarray_store_icechunk::{IcechunkStore, Options};
use bigarray_testing::page_of;

/// The address of a database that no other test has.
fn url() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("memory://store-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A handle that shares nothing with others but the objects, as one of another process.
fn open(url: &str) -> Arc<IcechunkStore> {
    IcechunkStore::open(url, &Options::default()).expect("a database")
}

fn now(store: &dyn Store) -> Arc<dyn Snapshot> {
    store.snapshot().expect("the newest state")
}

fn id_of(snapshot: &dyn Snapshot, name: &str) -> ArrayId {
    snapshot.array(name).expect("look-up").unwrap_or_else(|| panic!("no array {name:?}")).id
}

/// Asserts that a page of array `a` is that of `tag`, or zero.
#[track_caller]
fn assert_page(snapshot: &dyn Snapshot, block: u64, page: u32, tag: Option<u64>) {
    let mut read = vec![0xee; PAGE];
    snapshot.read(id_of(snapshot, "a"), BlockNo(block), page, &mut read).expect("reading");
    assert!(read == tag.map_or(vec![0; PAGE], page_of), "page {page} of block {block} is not that of {tag:?}");
}
