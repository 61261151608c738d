//! The right to commit next.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::super::{Edit, page_of};
use super::MakeStore;
use crate::geometry::{BlockNo, PAGE};
use crate::store::Store;

/// With its turn a transaction commits, more than once; then the turn is free again.
pub fn the_holder_of_the_turn_commits(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let turn = store.turn().expect("the turn");
    Edit::commit_in(&*store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)], Some(&*turn)).expect("commit");
    let base = store.now();
    Edit::commit_in(&*store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 1, 2)], Some(&*turn)).expect("commit");
    drop(turn);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 2, 3)]);
    drop(store.turn().expect("the turn again"));
}

/// A commit and a turn of other threads wait until it ends.
pub fn the_turn_makes_others_wait(make: MakeStore<'_>) {
    let store = make();
    store.with_array(2);
    let shared: &dyn Store = &*store;
    let turn = shared.turn().expect("the turn");
    thread::scope(|scope| {
        let (done, waited) = mpsc::channel();
        let other = done.clone();
        scope.spawn(move || {
            let base = shared.snapshot().expect("snapshot");
            Edit::commit(shared, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)]).expect("commit");
            done.send("commit").expect("waited for");
        });
        scope.spawn(move || {
            drop(shared.turn().expect("the turn"));
            other.send("turn").expect("waited for");
        });
        let early = waited.recv_timeout(Duration::from_millis(50));
        // Whether or not it is right, the threads must come to an end.
        let base = shared.snapshot().expect("snapshot");
        let edit = Edit::of(&*base, "a").page(&*base, 1, 0, 2);
        let committed = Edit::commit_in(shared, &*base, &[edit], Some(&*turn));
        drop(turn);
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout), "done while another held the turn");
        committed.expect("the holder's commit");
        let mut ended: Vec<&str> = waited.iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, ["commit", "turn"]);
    });
}

/// It would wait for itself.
pub fn another_transaction_of_the_holders_thread_is_refused(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let turn = store.turn().expect("the turn");
    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 1);
    let error = Edit::commit(&*store, &*base, std::slice::from_ref(&edit)).expect_err("another transaction");
    assert!(error.is_in_use(), "{error}");
    assert!(store.turn().err().expect("a second turn").is_in_use());
    Edit::commit_in(&*store, &*base, &[edit], Some(&*turn)).expect("the holder's own");
}

/// None is lost, whatever they overlap.
pub fn commits_of_many_threads_all_land(make: MakeStore<'_>) {
    let store = make();
    store.with_array(8);
    let shared: &dyn Store = &*store;
    thread::scope(|scope| {
        for block in 0..8 {
            scope.spawn(move || {
                for page in 0..5 {
                    let base = shared.snapshot().expect("snapshot");
                    let edit = Edit::of(&*base, "a").page(&*base, block, page, block * 100 + u64::from(page));
                    Edit::commit(shared, &*base, &[edit]).expect("its own block");
                }
            });
        }
    });
    let now = store.now();
    let id = now.array("a").expect("array").expect("there").id;
    let mut read = vec![0; PAGE];
    for block in 0..8 {
        for page in 0..5 {
            now.read(id, BlockNo(block), page, &mut read).expect("read");
            assert!(read == page_of(block * 100 + u64::from(page)), "page {page} of block {block}");
        }
    }
}
