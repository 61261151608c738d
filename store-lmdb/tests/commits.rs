//! How commits are stored on disk, beyond core's suite.

mod support;

use bigarray_core::store::{Origin, Snapshot, Store as _};
use bigarray_core::{ArrayId, BlockNo, ErrorKind, PAGE};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, array_of};
use serde_json::json;

use support::{Db, assert_page, check, commit, id_of, large_array_of, now};

#[test]
fn one_changed_page_of_a_large_block_stores_that_page() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", large_array_of(1)).block(base, 0, 1000));
    let before = (check(&store), db.data_bytes());

    commit(&store, |base| Edit::of(base, "a").page(base, 0, 77, 1));

    let (after, grown) = (check(&store), db.data_bytes() - before.1);
    assert_eq!(after.stored_pages, before.0.stored_pages);
    assert_eq!(after.freed_pages - before.0.freed_pages, 1);
    assert_eq!(after.segments, 3);
    assert!(grown <= (4 * PAGE as u64).max(2 * db.unit_bytes()), "{grown} bytes");
    let base = now(&store);
    assert_page(&*base, "a", 0, 76, Some(1076));
    assert_page(&*base, "a", 0, 77, Some(1));
    assert_page(&*base, "a", 0, 78, Some(1078));
}

#[test]
fn a_page_of_a_sparse_array_takes_kilobytes() {
    let db = Db::new();
    let store = db.open();
    let before = db.data_bytes();
    commit(&store, |base| Edit::create("a", large_array_of(4 << 20)).page(base, (4 << 20) - 1, 511, 1));
    let grown = db.data_bytes() - before;
    assert!(grown <= (16 << 10).max(2 * db.unit_bytes()), "{grown} bytes");
    assert_page(&*now(&store), "a", (4 << 20) - 1, 511, Some(1));
}

#[test]
fn a_block_of_too_many_segments_is_copied() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", large_array_of(1)).block(base, 0, 1000));
    for (i, page) in (0..512).step_by(3).enumerate() {
        commit(&store, |base| Edit::of(base, "a").page(base, 0, page, i as u64));
        let base = now(&store);
        let record = base.block(id_of(&*base, "a"), BlockNo(0)).unwrap().unwrap();
        assert!(record.segments.len() <= 32, "{} segments", record.segments.len());
    }
    let base = now(&store);
    for page in 0..512 {
        let tag = if page % 3 == 0 { page / 3 } else { 1000 + page };
        assert_page(&*base, "a", 0, page, Some(tag.into()));
    }
    check(&store);
}

#[test]
fn a_block_of_too_many_holes_is_copied_with_zeros() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| {
        (0..256).fold(Edit::create("a", large_array_of(1)), |edit, page| edit.page(base, 0, 2 * page, page.into()))
    });
    let base = now(&store);
    let record = base.block(id_of(&*base, "a"), BlockNo(0)).unwrap().unwrap();
    assert!(record.segments.len() <= 32, "{} segments", record.segments.len());
    for page in 0..256 {
        assert_page(&*base, "a", 0, 2 * page, Some(page.into()));
        assert_page(&*base, "a", 0, 2 * page + 1, None);
    }
    assert_eq!(check(&store).stored_pages, 511);
}

#[test]
fn pages_of_one_commit_lie_together() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| {
        (0..6).fold(Edit::create("a", large_array_of(6)), |edit, block| edit.block(base, block, 1000 * block))
    });
    let base = now(&store);
    let mut next = None;
    for block in 0..6 {
        let record = base.block(id_of(&*base, "a"), BlockNo(block)).unwrap().unwrap();
        let [segment] = &record.segments[..] else { panic!("{:?}", record.segments) };
        let Origin::Extent(offset) = segment.origin else { panic!("{segment:?}") };
        assert!(next.is_none_or(|next| next == offset), "block {block}");
        next = Some(offset + (2 << 20));
    }
}

#[test]
fn a_snapshot_outlives_200_commits_to_its_block_and_then_the_size_levels_off() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(1)).block(base, 0, 0));
    let old = now(&store);
    for round in 1..=200 {
        commit(&store, |base| Edit::of(base, "a").block(base, 0, 100 * round));
    }
    for page in 0..16 {
        assert_page(&*old, "a", 0, page, Some(page.into()));
    }
    let pinned = check(&store);
    assert!(pinned.freed_pages >= 200 * 16, "{pinned:?}");
    drop(old);

    for round in 1..=200 {
        commit(&store, |base| Edit::of(base, "a").block(base, 0, 100 * round));
    }
    let after = check(&store);
    assert!(after.freed_pages <= 16 * 8, "{after:?}");
    assert_eq!(after.free_pages + after.freed_pages, pinned.free_pages + pinned.freed_pages, "the file did not grow");
}

#[test]
fn the_space_of_a_removed_array_is_used_again() {
    let db = Db::new();
    let store = db.open();
    let mut sizes = Vec::new();
    for round in 0..12 {
        commit(&store, |base| {
            let new = Edit::create("a", large_array_of(3));
            (0..3).fold(new, |edit, block| edit.block(base, block, round * 10_000 + block * 1000))
        });
        commit(&store, |base| Edit::of(base, "a").attr("round", Some(json!(round))));
        commit(&store, |base| Edit::of(base, "a").remove());
        sizes.push(check(&store).free_pages + check(&store).freed_pages);
    }
    assert!(sizes[11] == sizes[5], "{sizes:?}");
    let report = check(&store);
    assert_eq!((report.arrays, report.blocks, report.stored_pages, report.claimed_pages), (0, 0, 0, 0));
}

#[test]
fn four_hundred_states_are_seen_at_once() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 0));
    let mut states = vec![now(&store)];
    for round in 1..400 {
        commit(&store, |base| Edit::of(base, "a").page(base, 0, 0, round));
        states.push(now(&store));
    }
    for (round, state) in (0..).zip(&states) {
        assert_page(&**state, "a", 0, 0, Some(round));
    }
}

#[test]
fn invalid_names_are_refused_with_the_rule() {
    let db = Db::new();
    let store = db.open();
    let long = "x".repeat(256);
    for (name, rule) in
        [("", "empty"), (&long[..], "255"), ("a\0b", "\\0"), ("two\nlines", "\\n"), ("\u{7f}", "control")]
    {
        let base = now(&store);
        let error = Edit::commit(&*store, &*base, &[Edit::create(name, array_of(1))]).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains(rule), "{error}");
        assert!(base.array(name).unwrap_err().is_invalid());
        let attr = Edit::create("a", array_of(1)).attr("", Some(json!(1)));
        assert!(Edit::commit(&*store, &*base, &[attr]).unwrap_err().is_invalid());
    }
    for name in ["x".repeat(255).as_str(), "späße/π 1", "."] {
        commit(&store, |_| Edit::create(name, array_of(1)));
        assert!(now(&store).array(name).unwrap().is_some());
    }
}

#[test]
fn attributes_are_read_back_exactly() {
    let db = Db::new();
    let store = db.open();
    let value = json!({"x": [0.1, 2.220446049250313e-16, 1e300, -0.0, u64::MAX, i64::MIN], "ä": "\n\0", "n": null});
    commit(&store, |_| Edit::create("a", array_of(1)).attr("v", Some(value.clone())));
    let base = now(&store);
    assert_eq!(base.attr(id_of(&*base, "a"), "v").unwrap(), Some(value));

    let deep = (0..200).fold(json!(0), |inner, _| json!([inner]));
    let edit = Edit::of(&*base, "a").attr("deep", Some(deep));
    assert!(Edit::commit(&*store, &*base, &[edit]).unwrap_err().is_invalid());
}

#[test]
fn a_read_only_store_reads_and_refuses_commits() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    for closed_before in [false, true] {
        let _kept = (!closed_before).then(|| db.open());
        let read_only = LmdbStore::open(&Options { read_only: true, ..Options::new(&db.path) }).unwrap();
        let base = now(&read_only);
        assert_page(&*base, "a", 0, 0, Some(1));
        let error = Edit::commit(&*read_only, &*base, &[Edit::create("b", array_of(1))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(read_only.commit_lock().is_err());
    }
}

/// Else each name that an attribute of the database ever had would be read and written with all others for ever.
#[test]
fn removed_attributes_of_the_database_are_forgotten_once_no_older_state_is_read() {
    let db = Db::new();
    let store = db.open();
    let set = |name: &str, value: Option<u32>| Edit::of_database().attr(name, value.map(Into::into));
    let names = |base: &dyn Snapshot| {
        base.attr_versions(ArrayId::DATABASE).unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    commit(&store, |_| set("x", Some(1)));
    let with_x = now(&store);
    commit(&store, |_| set("x", None));
    let without_x = now(&store);
    commit(&store, |_| set("y", Some(1)));
    assert_eq!(names(&*now(&store)), ["x", "y"], "a transaction that saw it may commit");
    assert!(Edit::commit(&*store, &*with_x, &[set("x", Some(2))]).unwrap_err().is_conflict());
    drop(with_x);
    commit(&store, |_| set("y", Some(2)));
    assert_eq!(names(&*now(&store)), ["y"]);
    // It saw that there was none, and there is none.
    Edit::commit(&*store, &*without_x, &[set("x", Some(3))]).unwrap();
    assert!(Edit::commit(&*store, &*without_x, &[set("x", Some(4))]).unwrap_err().is_conflict());
    // Set and removed is a change, however it is now.
    commit(&store, |_| set("x", None));
    commit(&store, |_| set("y", Some(3)));
    assert!(Edit::commit(&*store, &*without_x, &[set("x", Some(4))]).unwrap_err().is_conflict());
    check(&store);
}
