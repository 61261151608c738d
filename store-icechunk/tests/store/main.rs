//! The store itself: the conformance suite, conflicts of several handles, lost answers, damaged chunks.
//!
//! In memory; on a server of S3's protocol where `BIGARRAY_TEST_S3` is its URL. Its keys are in `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`, and it has a bucket `bigarray`.

mod chunks;
mod conflicts;
mod conformance;
mod damaged;
mod disk_cache;
mod disk_faults;
mod disk_mapped;
mod faults;
mod foreign;
mod lost_answers;
mod past;
mod proxied;
mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bigarray_core::store::{Snapshot, Store};
use bigarray_core::{ArrayId, BlockNo, PAGE};
use bigarray_store_icechunk::{IcechunkStore, Options};
use bigarray_testing::page_of;

/// The address of a database that no other test has.
fn url() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    match server() {
        None => format!("memory://store-{number}"),
        Some(_) => {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_nanos();
            format!("s3://bigarray/store-{time}-{number}")
        }
    }
}

/// The URL of a server that the tests run on.
fn server() -> Option<String> {
    std::env::var("BIGARRAY_TEST_S3").ok()
}

/// Options that reach it.
fn options() -> Options {
    Options { endpoint: server(), ..Options::default() }
}

/// A handle that shares nothing with others but the objects, as one of another process.
fn open(url: &str) -> Arc<IcechunkStore> {
    IcechunkStore::open(url, &options()).expect("a database")
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
