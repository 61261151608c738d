//! A process is killed at every step of a commit: it leaves the old state until LMDB has committed, and the new one from
//! then on; the check passes, and its space is reclaimed.

mod support;

use std::ops::ControlFlow;
use std::sync::Arc;

use bigarray_core::store::Snapshot;
use bigarray_core::{BlockNo, Descriptor, FillValue};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of};
use serde_json::json;

use support::crash::{in_child, kill_at, killed};
use support::{Db, assert_page, check, commit, id_of, large_array_of, now};

/// The database before the commit, with everything that the commit changes.
fn prepare(store: &LmdbStore) {
    commit(store, |base| Edit::create("a", large_array_of(2)).block(base, 0, 1000));
    commit(store, |base| Edit::create("shrinks", array_of(3)).block(base, 0, 2000).block(base, 2, 3000));
    commit(store, |base| Edit::create("goes", array_of(1)).page(base, 0, 0, 4000));
    commit(store, |base| {
        Edit::create("filled", Descriptor { fill: FillValue::new(&[7]), ..array_of(3) }).block(base, 0, 8000)
    });
}

fn assert_old(base: &dyn Snapshot) {
    for page in 0..512 {
        assert_page(base, "a", 0, page, Some(1000 + u64::from(page)));
    }
    assert_page(base, "a", 1, 0, None);
    assert_page(base, "shrinks", 2, 0, Some(3000));
    assert_page(base, "goes", 0, 0, Some(4000));
    assert_page(base, "filled", 0, 1, Some(8001));
    assert_eq!(stored_of_filled(base), [0]);
    assert_eq!(base.arrays().unwrap().len(), 4);
    assert_eq!(base.attr(id_of(base, "a"), "new").unwrap(), None);
}

/// Blocks of "filled" that are stored; all others consist of its fill value.
fn stored_of_filled(base: &dyn Snapshot) -> Vec<u64> {
    let (_, array) = base.arrays().unwrap().into_iter().find(|(name, _)| name == "filled").unwrap();
    assert_eq!(array.fill, FillValue::new(&[7]));
    let mut stored = Vec::new();
    base.blocks(array.id, 0..u64::MAX, &mut |BlockNo(block), _| {
        stored.push(block);
        ControlFlow::Continue(())
    })
    .unwrap();
    stored
}

/// Writes some pages or many, drops and removes, creates and renames.
fn change(base: &dyn Snapshot, is_large: bool) -> Vec<Edit> {
    let a = Edit::of(base, "a").page(base, 0, 7, 1).attr("new", Some(json!(1)));
    vec![
        if is_large { a.block(base, 1, 5000) } else { a.page(base, 1, 0, 5000) },
        Edit::of(base, "shrinks").drop_from(base, 1).page(base, 1, 3, 6000).rename("shrunk"),
        Edit::of(base, "goes").remove(),
        Edit::create("goes", array_of(2)).page(base, 1, 15, 7000),
        // A page of what was stored, and a block that was absent, of which a page is zero.
        Edit::of(base, "filled").page(base, 0, 1, 1).block(base, 2, 9000).zero(base, 2, 3),
    ]
}

fn assert_new(base: &dyn Snapshot, is_large: bool) {
    for page in 0..512 {
        assert_page(base, "a", 0, page, Some(if page == 7 { 1 } else { 1000 + u64::from(page) }));
        let written = is_large || page == 0;
        assert_page(base, "a", 1, page, written.then_some(5000 + u64::from(page)));
    }
    assert_page(base, "shrunk", 0, 0, Some(2000));
    assert_page(base, "shrunk", 1, 3, Some(6000));
    assert_page(base, "shrunk", 2, 0, None);
    assert_page(base, "goes", 0, 0, None);
    assert_page(base, "goes", 1, 15, Some(7000));
    for page in 0..16 {
        assert_page(base, "filled", 0, page, Some(if page == 1 { 1 } else { 8000 + u64::from(page) }));
        assert_page(base, "filled", 2, page, (page != 3).then_some(9000 + u64::from(page)));
    }
    assert_eq!(stored_of_filled(base), [0, 2]);
    assert_eq!(base.arrays().unwrap().len(), 4);
    assert_eq!(base.attr(id_of(base, "a"), "new").unwrap(), Some(json!(1)));
}

/// Runs as another process, which is killed.
#[test]
fn child_commits() {
    let Some((path, payload)) = in_child() else { return };
    let store = support::open(&path);
    let base = now(&store);
    let is_large = payload == "large";
    Edit::commit(&*store, &*base, &change(&*base, is_large)).expect("nothing but the kill ends the commit");
}

fn after_a_kill_at(point: &str, payload: &str, committed: bool) {
    let db = Db::new();
    prepare(&db.open());
    kill_at(point, "child_commits", &db, payload);

    let store: Arc<LmdbStore> = db.open();
    check(&store);
    let is_large = payload == "large";
    if committed {
        assert_new(&*now(&store), is_large)
    } else {
        assert_old(&*now(&store))
    }

    // The next process releases the claims of the dead one, and commits the same.
    if !committed {
        let base = now(&store);
        Edit::commit(&*store, &*base, &change(&*base, is_large)).unwrap();
        assert_new(&*now(&store), is_large);
    }
    commit(&store, |base| Edit::of(base, "a").page(base, 0, 7, 1));
    assert_eq!(check(&store).claimed_pages, 0, "{point}");
}

killed! {
    killed_before_the_write_transaction_records_anything: "checked", "small", committed: false;
    killed_after_a_small_payload: "small payload written", "small", committed: false;
    killed_after_the_records_of_a_small_payload: "records written", "small", committed: false;
    killed_between_the_sync_of_a_small_payload_and_its_commit: "data synced", "small", committed: false;
    killed_after_the_commit_of_a_small_payload: "committed", "small", committed: true;
    killed_before_a_claim_is_committed: "claiming", "large", committed: false;
    killed_after_a_claim: "claimed", "large", committed: false;
    killed_after_a_large_payload: "payload written", "large", committed: false;
    killed_inside_the_write_transaction_of_a_large_payload: "checked", "large", committed: false;
    killed_after_the_records_of_a_large_payload: "records written", "large", committed: false;
    killed_right_before_the_commit_of_a_large_payload: "data synced", "large", committed: false;
    killed_after_the_commit_of_a_large_payload: "committed", "large", committed: true;
}
