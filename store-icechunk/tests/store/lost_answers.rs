//! Answers to the last request of a commit are lost: a commit that landed is told as one that landed, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bigarray_core::store::Store;
use bigarray_store_icechunk::IcechunkStore;
use bigarray_testing::{Edit, array_of};

use crate::faults::{Answer, options};
use crate::{assert_page, now, open, url};

/// Whether the object is the log of the repository, which the compare-and-swap replaces.
fn is_log(path: &str) -> bool {
    path.ends_with("/repo") || path == "repo"
}

fn commit(store: &IcechunkStore, block: u64, tag: u64) -> bigarray_core::Result<()> {
    let base = now(store);
    Edit::commit(store, &*base, &[Edit::of(&*base, "a").page(&*base, block, 0, tag)]).map(|_| ())
}

/// The states of the log: those of `commits`, the creation of the array, and the first one.
#[track_caller]
fn assert_commits(store: &dyn Store, commits: usize) {
    let log = store.history().unwrap().log(100).unwrap();
    assert_eq!(log.len(), commits + 2, "{log:?}");
}

/// After the PUT whose answer is lost, so many requests for the log fail, the look for the commit among them.
#[test]
fn a_commit_whose_answer_was_lost_is_found() {
    for unanswered in 0..4 {
        let url = url();
        let plain = open(&url);
        Edit::commit(&*plain, &*now(&*plain), &[Edit::create("a", array_of(4))]).unwrap();
        let lost = Arc::new(AtomicU32::new(0));
        let of_client = Arc::clone(&lost);
        let options = options(move |method, path| {
            if !is_log(path) || method == "DONE" {
                return Answer::Comes;
            }
            match of_client.load(Ordering::Relaxed) {
                0 | 1 => Answer::Comes,
                2 if method == "PUT" => {
                    of_client.store(if unanswered == 0 { 0 } else { 2 + unanswered }, Ordering::Relaxed);
                    Answer::IsLost
                }
                2 => Answer::Comes,
                3 => {
                    of_client.store(0, Ordering::Relaxed);
                    Answer::Fails
                }
                more => {
                    of_client.store(more - 1, Ordering::Relaxed);
                    Answer::Fails
                }
            }
        });
        let store = IcechunkStore::open(&url, &options).unwrap();
        commit(&store, 0, 1).unwrap();
        lost.store(2, Ordering::Relaxed);
        commit(&store, 1, 2).unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 0, "the requests went another way");
        commit(&store, 2, 3).unwrap();
        assert_commits(&*plain, 3);
        for (block, tag) in [(0, 1), (1, 2), (2, 3)] {
            assert_page(&*now(&*plain), block, 0, Some(tag));
        }
    }
}

/// Icechunk finds that the branch moved on from what it wrote itself, and says *conflict*.
#[test]
fn a_commit_that_another_one_followed_before_its_answer_was_lost_is_found() {
    let url = url();
    let plain = open(&url);
    Edit::commit(&*plain, &*now(&*plain), &[Edit::create("a", array_of(4))]).unwrap();
    let armed = Arc::new(AtomicU32::new(0));
    let (of_client, other) = (Arc::clone(&armed), Arc::clone(&plain));
    let options = options(move |method, path| match method {
        "PUT" if is_log(path) && of_client.swap(0, Ordering::Relaxed) == 1 => Answer::IsLost,
        "DONE" => {
            let other = Arc::clone(&other);
            std::thread::spawn(move || commit(&other, 1, 2).unwrap()).join().unwrap();
            Answer::Comes
        }
        _ => Answer::Comes,
    });
    let store = IcechunkStore::open(&url, &options).unwrap();
    commit(&store, 3, 9).unwrap();
    armed.store(1, Ordering::Relaxed);
    commit(&store, 0, 1).unwrap();
    assert_eq!(armed.load(Ordering::Relaxed), 0);
    assert_commits(&*plain, 3);
    assert_page(&*now(&*plain), 0, 0, Some(1));
    assert_page(&*now(&*plain), 1, 0, Some(2));
}

/// Chunks that cannot be put, or read, fail what asked for them; nothing is stored, and the store goes on.
#[test]
fn chunks_that_cannot_be_put_or_read_are_unavailable() {
    let url = url();
    let plain = open(&url);
    Edit::commit(&*plain, &*now(&*plain), &[Edit::create("a", array_of(4))]).unwrap();
    let failing = Arc::new(AtomicU32::new(0));
    let of_client = Arc::clone(&failing);
    let options = options(move |_, path| {
        let fails = path.contains("chunks/") && of_client.load(Ordering::Relaxed) == 1;
        if fails { Answer::Fails } else { Answer::Comes }
    });
    let store = IcechunkStore::open(&url, &options).unwrap();
    failing.store(1, Ordering::Relaxed);
    let error = commit(&store, 0, 1).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains(&url), "{error}");
    assert_commits(&*plain, 0);
    failing.store(0, Ordering::Relaxed);
    commit(&store, 0, 1).unwrap();
    assert_commits(&*plain, 1);

    failing.store(1, Ordering::Relaxed);
    let snapshot = now(&*IcechunkStore::open(&url, &options).unwrap());
    let mut page = vec![0; bigarray_core::PAGE];
    let id = crate::id_of(&*snapshot, "a");
    let error = snapshot.read(id, bigarray_core::BlockNo(0), 0, &mut page).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("chunks/"), "{error}");
    failing.store(0, Ordering::Relaxed);
    assert_page(&*snapshot, 0, 0, Some(1));
}
