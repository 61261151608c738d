//! What the files are used for, against what a check of everything counts.

mod support;

use bigarray_core::PAGE;
use bigarray_core::store::{Space, Store as _};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of};

use support::{Db, check, commit, commit_with_spilled, large_array_of, now, spill};

/// What the store says, once it is compared with a check.
fn usage(store: &LmdbStore) -> Space {
    let (space, report) = (store.space().unwrap(), check(store));
    let of = PAGE as u64;
    assert_eq!(space.live_bytes, report.stored_pages * of);
    assert_eq!(space.pinned_bytes, report.freed_pages * of);
    assert_eq!(space.spilled_bytes, report.claimed_pages * of);
    let Space { live_bytes, free_bytes, pinned_bytes, spilled_bytes, data_bytes, .. } = space;
    assert_eq!(live_bytes + free_bytes + pinned_bytes + spilled_bytes + of, data_bytes, "{space:?}");
    assert!(space.index_bytes > 0);
    space
}

#[test]
fn every_byte_of_the_data_file_has_one_use() {
    let db = Db::new();
    let store = db.open();
    assert_eq!(usage(&store).live_bytes, 0);
    commit(&store, |base| Edit::create("a", array_of(9)).page(base, 0, 0, 1).page(base, 3, 1, 2));
    assert_eq!(usage(&store).live_bytes, 2 * PAGE as u64);
    commit(&store, |base| Edit::of(base, "a").page(base, 0, 0, 3));
    assert_eq!((usage(&store).live_bytes, usage(&store).pinned_bytes), (2 * PAGE as u64, PAGE as u64));
    commit(&store, |_| Edit::create("large", large_array_of(9)));
    let (base, area) = (now(&store), store.spill_area().unwrap());
    let array = base.array("large").unwrap().unwrap();
    let written = vec![(0, spill(&*area, &array, 0, 300, 7))];
    assert_eq!(usage(&store).spilled_bytes, 300 * PAGE as u64);
    let before = usage(&store).live_bytes;
    commit_with_spilled(&store, &*base, Edit::of(&*base, "large"), "large", &*area, &written).unwrap();
    drop((area, written));
    assert_eq!((usage(&store).live_bytes, usage(&store).spilled_bytes), (before + 300 * PAGE as u64, 0));
}

#[test]
fn the_oldest_snapshot_is_named_with_its_process_and_how_far_it_is_behind() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |_| Edit::create("a", array_of(9)));
    let held = now(&store);
    assert_eq!(usage(&store).oldest_snapshot, None, "it sees the newest state");
    for n in 0..3 {
        commit(&store, |base| Edit::of(base, "a").page(base, n, 0, n));
    }
    let oldest = usage(&store).oldest_snapshot.unwrap();
    assert_eq!(oldest.commits_behind, 3);
    assert!(oldest.process.starts_with(&format!("process {} (", std::process::id())), "{oldest:?}");
    drop(held);
    assert_eq!(usage(&store).oldest_snapshot, None);
}
