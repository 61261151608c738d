//! Handles that know nothing of each other commit to one database.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use bigarray_core::BlockSize;
use bigarray_core::store::{Snapshot, Store};
use bigarray_store_icechunk::IcechunkStore;
use bigarray_testing::{Edit, array_of};

use crate::faults::{Answer, options};
use crate::{assert_page, now, open, url};

const BLOCK: usize = BlockSize::MIN.bytes();

/// A database with an array `a` of so many blocks, the first two of them stored, and another handle on it.
fn begun(blocks: usize) -> [Arc<IcechunkStore>; 2] {
    let url = url();
    let stores = [open(&url), open(&url)];
    let base = now(&*stores[0]);
    Edit::commit(&*stores[0], &*base, &[Edit::create("a", array_of(blocks))]).unwrap();
    let base = now(&*stores[0]);
    let edit = Edit::of(&*base, "a").block(&*base, 0, 100).block(&*base, 1, 200);
    Edit::commit(&*stores[0], &*base, &[edit]).unwrap();
    stores
}

fn a(base: &dyn Snapshot) -> Edit {
    Edit::of(base, "a")
}

/// A mebibyte is one chunk: the second commit lays its block over the chunk that the first one stored.
#[test]
fn blocks_of_one_chunk_both_land() {
    let [one, other] = begun(16);
    let base = now(&*one);
    let theirs = now(&*other);
    Edit::commit(&*one, &*base, &[a(&*base).page(&*base, 0, 3, 1)]).unwrap();
    Edit::commit(&*other, &*theirs, &[a(&*theirs).page(&*theirs, 1, 4, 2)]).unwrap();
    for store in [&one, &other] {
        let now = now(&**store);
        assert_page(&*now, 0, 3, Some(1));
        assert_page(&*now, 0, 4, Some(104));
        assert_page(&*now, 1, 4, Some(2));
        assert_page(&*now, 1, 3, Some(203));
    }
    let error = Edit::commit(&*other, &*theirs, &[a(&*theirs).page(&*theirs, 0, 9, 3)]).unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

/// What a shrink drops was filled, or what is filled was dropped: the later one conflicts, whichever it is.
#[test]
fn a_shrink_and_a_fill_of_what_it_drops_conflict_in_both_orders() {
    type Attempt = fn(&dyn Snapshot) -> Edit;
    let shrink: Attempt = |base| a(base).reshape(&[20 * BLOCK]).drop_from(base, 20);
    let fill: Attempt = |base| a(base).page(base, 30, 0, 7);
    for (first, second) in [(shrink, fill), (fill, shrink)] {
        let [one, other] = begun(40);
        let (base, theirs) = (now(&*one), now(&*other));
        Edit::commit(&*one, &*base, &[first(&*base)]).unwrap();
        let error = Edit::commit(&*other, &*theirs, &[second(&*theirs)]).unwrap_err();
        assert!(error.is_conflict(), "{error}");
    }
}

/// An attribute and a chunk pass by each other, whichever comes first, and both are there.
#[test]
fn an_attribute_and_a_chunk_pass_in_both_orders() {
    type Attempt = fn(&dyn Snapshot) -> Edit;
    let attribute: Attempt = |base| a(base).attr("unit", Some("K".into()));
    let fill: Attempt = |base| a(base).page(base, 1, 0, 7);
    for (first, second) in [(attribute, fill), (fill, attribute)] {
        let [one, other] = begun(4);
        let (base, theirs) = (now(&*one), now(&*other));
        Edit::commit(&*one, &*base, &[first(&*base)]).unwrap();
        Edit::commit(&*other, &*theirs, &[second(&*theirs)]).unwrap();
        let now = now(&*one);
        assert_page(&*now, 1, 0, Some(7));
        assert_eq!(now.attr(crate::id_of(&*now, "a"), "unit").unwrap(), Some("K".into()));
    }
}

/// The answer is of a state that is not older than the question, also where nothing has to be stored.
#[test]
fn a_commit_that_stores_what_was_there_sees_what_others_committed_since() {
    let [one, other] = begun(40);
    let base = now(&*one);
    let theirs = now(&*other);
    Edit::commit(&*other, &*theirs, &[a(&*theirs).page(&*theirs, 30, 0, 7)]).unwrap();
    let unchanged = a(&*base).touch(&*base, 0).depend(30..31);
    let error = Edit::commit(&*one, &*base, &[unchanged]).unwrap_err();
    assert!(error.is_conflict(), "{error}");
}

/// Writers of blocks of their own, some in one chunk, some in one process: every commit lands, and none fails.
#[test]
fn commits_of_several_handles_all_land() {
    all_land(&url());
    let dir = tempfile::tempdir().unwrap();
    all_land(&format!("file://{}", dir.path().join("a").display()));
}

fn all_land(url: &str) {
    let first = open(url);
    Edit::commit(&*first, &*now(&*first), &[Edit::create("a", array_of(24))]).unwrap();
    let together = Barrier::new(4);
    let stores = [first, open(url), open(url)];
    thread::scope(|scope| {
        for (writer, store) in [0, 0, 1, 2].into_iter().map(|n| &stores[n]).enumerate() {
            let together = &together;
            scope.spawn(move || {
                together.wait();
                for round in 0..6 {
                    let base = now(&**store);
                    let edit = a(&*base).page(&*base, writer as u64 * 6 + round, 0, 100 * writer as u64 + round);
                    Edit::commit(&**store, &*base, &[edit]).expect("a block of its own");
                }
            });
        }
    });
    let now = now(&*open(url));
    for writer in 0..4 {
        for round in 0..6 {
            assert_page(&*now, writer * 6 + round, 0, Some(100 * writer + round));
        }
    }
    let log = open(url).history().unwrap().log(100).unwrap();
    // The first state and the creation come before.
    assert_eq!(log.len(), 24 + 2, "{log:?}");
}

/// Payload is put once, however often the commit is tried again.
#[test]
fn a_commit_that_meets_others_puts_its_payload_once() {
    let url = url();
    let plain = open(&url);
    Edit::commit(&*plain, &*now(&*plain), &[Edit::create("a", array_of(64))]).unwrap();
    let (chunks, swaps) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (of_chunks, of_swaps, other) = (Arc::clone(&chunks), Arc::clone(&swaps), Arc::clone(&plain));
    let options = options(move |method, path| {
        if method == "PUT" && path.contains("chunks/") {
            of_chunks.fetch_add(1, Ordering::Relaxed);
        }
        // Others commit before the first three swaps.
        if method == "PUT" && path.ends_with("repo") && of_swaps.fetch_add(1, Ordering::Relaxed) < 3 {
            let base = now(&*other);
            let other = Arc::clone(&other);
            std::thread::spawn(move || {
                Edit::commit(&*other, &*base, &[a(&*base).page(&*base, 0, 3, 1)]).unwrap();
            })
            .join()
            .unwrap();
        }
        Answer::Comes
    });
    let store = IcechunkStore::open(&url, &options).unwrap();
    let base = now(&*store);
    // Another chunk than that of the others.
    Edit::commit(&*store, &*base, &[a(&*base).block(&*base, 40, 500)]).unwrap();
    assert!(swaps.load(Ordering::Relaxed) > 3, "no attempt met another commit");
    assert_eq!(chunks.load(Ordering::Relaxed), 1);
    assert_page(&*now(&*plain), 40, 15, Some(515));
    assert_page(&*now(&*plain), 0, 3, Some(1));
}

/// Whichever comes first creates it, and all of them have the same.
#[test]
fn several_handles_create_one_database() {
    let dir = tempfile::tempdir().unwrap();
    for url in [url(), format!("file://{}", dir.path().join("a").display())] {
        let together = Barrier::new(6);
        thread::scope(|scope| {
            for n in 0..6_u64 {
                let (together, url) = (&together, &url);
                scope.spawn(move || {
                    together.wait();
                    let store = open(url);
                    let edit = Edit::create(&format!("of_{n}"), array_of(1));
                    Edit::commit(&*store, &*now(&*store), &[edit]).expect("a name of its own");
                });
            }
        });
        assert_eq!(now(&*open(&url)).arrays().unwrap().len(), 6);
    }
}
