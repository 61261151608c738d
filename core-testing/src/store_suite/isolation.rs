//! What a snapshot shows never changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bigarray_core::store::Store;
use bigarray_core::{BlockNo, PAGE};

use super::super::{Edit, Rng, page_of};
use super::MakeStore;

/// Byte by byte, whatever is committed and whichever other snapshots end.
pub fn a_snapshot_keeps_its_bytes_under_later_commits(make: MakeStore<'_>) {
    let store = make();
    store.with_array(6);
    let mut rng = Rng::new(1);
    let mut held = Vec::new();
    for round in 0..60 {
        let base = store.now();
        let mut edit = Edit::of(&*base, "a");
        if rng.one_in(8) {
            edit = edit.drop_from(&*base, rng.below(6) as u64);
        }
        for _ in 0..=rng.below(3) {
            let (block, page) = (rng.below(6) as u64, rng.below(16) as u32);
            edit = match rng.below(4) {
                0 => edit.zero(&*base, block, page),
                1 => edit.block(&*base, block, rng.draw()),
                _ => edit.page(&*base, block, page, rng.draw()),
            };
        }
        store.pass(&*base, &[edit]);
        if rng.one_in(2) {
            let seen = store.photograph();
            held.push((store.now(), seen));
        }
        if held.len() > 6 || (round % 5 == 0 && !held.is_empty()) {
            held.swap_remove(rng.below(held.len()));
        }
        for (snapshot, seen) in &held {
            seen.assert_same(&store.photograph_of(&**snapshot), "commits later");
        }
    }
}

/// While nothing is committed, every call gives the same snapshot.
pub fn one_state_is_one_snapshot(make: MakeStore<'_>) {
    let store = make();
    let first = store.with_array(1);
    assert!(Arc::ptr_eq(&first, &store.now()));
    store.pass(&*first, &[Edit::of(&*first, "a").page(&*first, 0, 0, 1)]);
    let second = store.now();
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(second.version() > first.version());
    assert!(Arc::ptr_eq(&second, &store.now()));
    drop(first);
    assert!(Arc::ptr_eq(&second, &store.now()), "the end of an older one changes nothing");
}

/// Only a later state is newer, and then it is the newest one that is given.
pub fn what_is_newer_is_the_newest(make: MakeStore<'_>) {
    let store = make();
    let first = store.with_array(1);
    assert!(store.newer(first.version()).expect("a look").is_none());
    store.pass(&*first, &[Edit::of(&*first, "a").page(&*first, 0, 0, 1)]);
    let second = store.now();
    store.pass(&*second, &[Edit::of(&*second, "a").page(&*second, 0, 0, 2)]);
    for older in [&first, &second] {
        let newer = store.newer(older.version()).expect("a look").expect("a newer state");
        assert!(Arc::ptr_eq(&newer, &store.now()));
    }
    // Also where no snapshot lives that could be asked.
    let (before, newest) = (second.version(), store.now().version());
    drop((first, second));
    assert!(store.newer(newest).expect("a look").is_none());
    assert_eq!(store.newer(before).expect("a look").expect("a newer state").version(), newest);
    assert!(store.pauses().start() <= store.pauses().end());
}

/// Readers in other threads see all pages of a commit or none.
pub fn readers_see_a_commit_whole_or_not_at_all(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(4);
    let all = |base: &dyn bigarray_core::store::Snapshot, tag| {
        (0..4).fold(Edit::of(base, "a"), |edit, block| edit.page(base, block, 1, tag))
    };
    store.pass(&*base, &[all(&*base, 0)]);
    drop(base);
    let done = AtomicBool::new(false);
    let shared: &dyn Store = &*store;
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut newest = 0;
                    while !done.load(Ordering::Relaxed) {
                        let snapshot = shared.snapshot().expect("snapshot");
                        let id = snapshot.array("a").expect("array").expect("there").id;
                        let mut pages = vec![vec![0; PAGE]; 4];
                        for (block, page) in (0..).zip(&mut pages) {
                            snapshot.read(id, BlockNo(block), 1, page).expect("read");
                        }
                        let tag = (newest..50).find(|tag| pages[0] == page_of(*tag)).expect("a page of some commit");
                        assert!(pages.iter().all(|page| *page == pages[0]), "half a commit, of tag {tag}");
                        newest = tag;
                    }
                })
            })
            .collect();
        for tag in 1..50 {
            let base = shared.snapshot().expect("snapshot");
            Edit::commit(shared, &*base, &[all(&*base, tag)]).expect("commit");
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}
