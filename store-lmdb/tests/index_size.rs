//! An index whose map size the caller chose: it is full, and grows in this process or another.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bigarray_core::store::{Snapshot, Store as _};
use bigarray_core::{Error, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, array_of, page_of};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use support::{Db, assert_page, check, commit, commit_spilled, id_of, large_array_of, now};

const DATABASE: &str = "BIGARRAY_TEST_DATABASE";
const MAP_BYTES: usize = 1 << 20;

fn open(path: &Path) -> Arc<LmdbStore> {
    LmdbStore::open(&Options { map_size: Some(MAP_BYTES), ..Options::new(path) }).unwrap()
}

/// Commits an attribute that takes 64 KiB of the index.
fn grow(store: &LmdbStore, n: usize) -> Result<()> {
    let base = now(store);
    let value = json!("x".repeat(64 << 10));
    Edit::commit(store, &*base, &[Edit::of(&*base, "a").attr(&n.to_string(), Some(value))]).map(drop)
}

fn attrs(snapshot: &dyn Snapshot) -> usize {
    snapshot.attrs(id_of(snapshot, "a")).unwrap().len()
}

#[test]
fn a_full_index_refuses_while_a_snapshot_lives_and_grows_after_it() {
    let db = Db::new();
    let store = open(&db.path);
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    let held = now(&store);
    let (fitted, error): (usize, Error) = (0..100).find_map(|n| Some((n, grow(&store, n).err()?))).unwrap();
    assert!(error.is_store_full() && error.to_string().contains("snapshot"), "{error}");
    assert!(fitted > 4, "{fitted}");
    assert_page(&*held, "a", 0, 0, Some(1));
    assert_eq!((attrs(&*held), attrs(&*now(&store))), (0, fitted));
    drop(held);

    // Now the map doubles, and doubles again.
    for n in fitted..100 {
        grow(&store, n).unwrap();
    }
    assert_eq!(attrs(&*now(&store)), 100);
    check(&store);
}

/// Runs `test` of this file in another process.
fn run_child(test: &str, db: &Db) {
    run_child_on(test, &db.path);
}

fn run_child_on(test: &str, path: &Path) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(DATABASE, path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}

#[test]
fn child_grows_the_index() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let store = open(path.as_ref());
    for n in 0..100 {
        grow(&store, n).unwrap();
    }
}

#[test]
fn growth_by_another_process_is_adopted_when_no_snapshot_lives() {
    let db = Db::new();
    let store = open(&db.path);
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    let held = now(&store);
    run_child("child_grows_the_index", &db);

    let error = store.snapshot().err().expect("a state beyond the map");
    assert!(error.is_in_use() && error.to_string().contains("another process"), "{error}");
    assert_page(&*held, "a", 0, 0, Some(1));
    drop(held);
    assert_eq!(attrs(&*now(&store)), 100);
    grow(&store, 100).unwrap();
    assert_eq!(attrs(&*now(&store)), 101);
}

#[test]
fn child_has_few_addresses() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30).unwrap();
    // By default the map is as large as the limit allows.
    let store = support::open(path.as_ref());
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    assert_page(&*now(&store), "a", 0, 0, Some(1));
    drop(store);
    // A size that the caller chose is kept, or refused.
    let error = LmdbStore::open(&Options { map_size: Some(4 << 30), ..Options::new(&path) }).err().unwrap();
    assert!(error.is_too_large() && error.to_string().contains("ulimit -v"), "{error}");
    // A map that cannot grow stays as it is.
    let store = open(path.as_ref());
    let used: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    let limit = (used << 12) + (1 << 20);
    setrlimit(Resource::RLIMIT_AS, limit, 1 << 30).unwrap();
    let refused = (0..100).find_map(|n| grow(&store, n).err());
    setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30).unwrap();
    let error = refused.expect("an index that cannot grow");
    assert!(error.is_store_full(), "{error}");
    assert_page(&*now(&store), "a", 0, 0, Some(1));
}

#[test]
fn a_limit_on_addresses_makes_the_map_smaller_and_nothing_fail() {
    let db = Db::new();
    run_child("child_has_few_addresses", &db);
}

#[test]
fn child_grows_the_index_from_the_largest_map() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    setrlimit(Resource::RLIMIT_AS, hard, hard).unwrap();
    let store = support::open(path.as_ref());
    for n in 0..100 {
        grow(&store, n).unwrap();
    }
}

#[test]
fn child_adopts_growth_with_few_addresses() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let (_, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let limit = |beyond: u64| {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let used: u64 = statm.split(' ').next().unwrap().parse().unwrap();
        setrlimit(Resource::RLIMIT_AS, (used << 12) + beyond, hard).unwrap();
    };
    let store = open(path.as_ref());
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    run_child_on("child_grows_the_index_from_the_largest_map", path.as_ref());
    // Too few addresses for the index: refused, and nothing is changed.
    limit(2 << 20);
    let error = store.snapshot().err().expect("a state beyond the map");
    assert!(error.is_too_large() && error.to_string().contains("ulimit -v"), "{error}");
    // Enough addresses for the index, and far from the 1 TiB of the other process.
    limit(64 << 20);
    assert_eq!(attrs(&*now(&store)), 100);
    grow(&store, 100).unwrap();
}

#[test]
fn commits_of_a_process_with_a_larger_map_are_read_under_a_limit_on_addresses() {
    let db = Db::new();
    run_child("child_adopts_growth_with_few_addresses", &db);
    assert_eq!(attrs(&*now(&db.open())), 101);
}

/// The record of the file's length finds no room first. That once ended in an error of another kind, and the map stayed small.
#[test]
fn a_full_index_refuses_to_spill_while_a_snapshot_lives_and_grows_after_it() {
    let db = Db::new();
    let store = open(&db.path);
    commit(&store, |base| Edit::create("a", large_array_of(9)).page(base, 0, 0, 1));
    let held = now(&store);
    let array = held.array("a").unwrap().unwrap();
    let error = (0..).find_map(|n| grow(&store, n).err()).unwrap();
    assert!(error.is_store_full(), "{error}");
    let few = |n: usize| {
        let base = now(&store);
        Edit::commit(&*store, &*base, &[Edit::of(&*base, "a").attr("few", Some(json!(n)))]).map(drop)
    };
    assert!((0..).find_map(|n| few(n).err()).unwrap().is_store_full());
    let area = store.spill_area().unwrap();
    // A page more than the first chunk has free, and less than a chunk: other chunks in part use are looked for.
    let block: Vec<u8> = (0..511).flat_map(page_of).collect();
    let error = area.write(&array, 0, &block).unwrap_err();
    assert!(error.is_store_full() && error.to_string().contains("snapshot"), "{error}");
    drop((area, held));

    let area = store.spill_area().unwrap();
    let base = now(&store);
    let written = vec![(3, area.write(&array, 0, &block).unwrap())];
    commit_spilled(&store, &*base, &*area, &written).unwrap();
    assert_page(&*now(&store), "a", 3, 9, Some(9));
    check(&store);
}
