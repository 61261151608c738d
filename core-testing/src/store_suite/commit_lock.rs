//! The right to commit next.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_core::{BlockNo, PAGE};

use super::super::{Edit, page_of};
use super::MakeStore;

/// The holder of the commit lock commits, more than once; then the lock is free again.
pub fn the_holder_of_the_commit_lock_commits(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let lock = store.commit_lock().expect("the commit lock");
    Edit::commit_in(&*store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)], Some(&*lock)).expect("commit");
    let base = store.now();
    Edit::commit_in(&*store, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 1, 2)], Some(&*lock)).expect("commit");
    drop(lock);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 2, 3)]);
    drop(store.commit_lock().expect("the commit lock again"));
}

/// Other threads that commit or ask for the lock wait until it is dropped.
pub fn the_commit_lock_makes_others_wait(make: MakeStore<'_>) {
    let store = make();
    store.with_array(2);
    let shared: &dyn Store = &*store;
    let lock = shared.commit_lock().expect("the commit lock");
    thread::scope(|scope| {
        let (done, waited) = mpsc::channel();
        let other = done.clone();
        scope.spawn(move || {
            let base = shared.snapshot().expect("snapshot");
            Edit::commit(shared, &*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)]).expect("commit");
            done.send("commit").expect("waited for");
        });
        scope.spawn(move || {
            drop(shared.commit_lock().expect("the commit lock"));
            other.send("commit lock").expect("waited for");
        });
        let early = waited.recv_timeout(Duration::from_millis(50));
        // Whether or not it is right, the threads must come to an end.
        let base = shared.snapshot().expect("snapshot");
        let edit = Edit::of(&*base, "a").page(&*base, 1, 0, 2);
        let committed = Edit::commit_in(shared, &*base, &[edit], Some(&*lock));
        drop(lock);
        assert_eq!(early, Err(mpsc::RecvTimeoutError::Timeout), "done while another held the commit lock");
        committed.expect("the holder's commit");
        let mut ended: Vec<&str> = waited.iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, ["commit", "commit lock"]);
    });
}

/// It would wait for itself.
pub fn another_transaction_of_the_holders_thread_is_refused(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let lock = store.commit_lock().expect("the commit lock");
    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 1);
    let error = Edit::commit(&*store, &*base, std::slice::from_ref(&edit)).expect_err("another transaction");
    assert!(error.is_in_use(), "{error}");
    assert!(store.commit_lock().err().expect("a second commit lock").is_in_use());
    Edit::commit_in(&*store, &*base, &[edit], Some(&*lock)).expect("the holder's own");
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
