//! An index whose size the caller chose: full, and growing in this process or another.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bigarray_core::store::{Snapshot, Store as _};
use bigarray_core::testing::{Edit, array_of};
use bigarray_core::{Error, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use serde_json::json;

use support::{Db, assert_page, check, commit, id_of, now};

const DATABASE: &str = "BIGARRAY_TEST_DATABASE";
const MAP_BYTES: usize = 1 << 20;

fn open(path: &Path) -> Arc<LmdbStore> {
    LmdbStore::open(&Options { map_size: Some(MAP_BYTES), ..Options::new(path) }).unwrap()
}

/// Commits an attribute that takes 64 KiB of the index.
fn grow(store: &LmdbStore, n: usize) -> Result<()> {
    let base = now(store);
    let value = json!("x".repeat(64 << 10));
    Edit::commit(store, &*base, &[Edit::of(&*base, "a").attr(&*base, &n.to_string(), Some(value))]).map(drop)
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

    // Now it doubles, and doubles again.
    for n in fitted..100 {
        grow(&store, n).unwrap();
    }
    assert_eq!(attrs(&*now(&store)), 100);
    check(&store);
}

/// Runs as a process of its own.
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
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_grows_the_index"])
        .env(DATABASE, &db.path)
        .status()
        .unwrap();
    assert!(child.success());

    let error = store.snapshot().err().expect("a state beyond the map");
    assert!(error.is_in_use() && error.to_string().contains("another process"), "{error}");
    assert_page(&*held, "a", 0, 0, Some(1));
    drop(held);
    assert_eq!(attrs(&*now(&store)), 100);
    grow(&store, 100).unwrap();
    assert_eq!(attrs(&*now(&store)), 101);
}
