//! Commits of several threads that wait for the commit lock at the same time are stored together: with one version, and with
//! the outcomes of commits one after the other.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bigarray_core::store::{Committed, Snapshot, Store};
use bigarray_core::{ErrorKind, Metrics, Result};
use bigarray_store_lmdb::{LmdbStore, Options};
use bigarray_testing::{Edit, EventLog, array_of};
use support::{Db, assert_page, check, commit, large_array_of, now};

type MakeEdits = Box<dyn Fn(&dyn Snapshot) -> Vec<Edit> + Send + Sync>;

/// Has a thread commit each of these on the newest state, once all of them wait for the commit lock, the first of them first.
fn commit_together(store: &Arc<LmdbStore>, all: Vec<MakeEdits>) -> Vec<Result<Committed>> {
    thread::scope(|scope| {
        let lock = store.commit_lock().unwrap();
        let base = now(store);
        let mut threads = Vec::new();
        for make in all {
            let events = EventLog::default();
            let (base, told) = (Arc::clone(&base), events.clone());
            let committing = scope.spawn(move || {
                let run = || Edit::commit(&**store, &*base, &make(&*base));
                tracing::subscriber::with_default(told, run)
            });
            while !events.has(&["waiting for the commit lock"]) {
                assert!(!committing.is_finished(), "{:?}", committing.join());
                thread::sleep(Duration::from_millis(20));
            }
            threads.push(committing);
        }
        drop(lock);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn edit(make: impl Fn(&dyn Snapshot) -> Edit + Send + Sync + 'static) -> MakeEdits {
    Box::new(move |base| vec![make(base)])
}

/// A commit that fails after it began to store.
fn failing() -> MakeEdits {
    Box::new(|base| {
        let twice = |tag| Edit::create("twice", array_of(1)).page(base, 0, 0, tag);
        vec![twice(2), twice(3)]
    })
}

fn versions<'r>(outcomes: impl IntoIterator<Item = &'r Result<Committed>>) -> BTreeSet<u64> {
    outcomes.into_iter().map(|outcome| outcome.as_ref().expect("a commit").version.0).collect()
}

fn syncs(store: &LmdbStore) -> u64 {
    let mut metrics = Metrics::default();
    store.add_metrics(&mut metrics);
    metrics.syncs
}

#[test]
fn commits_that_wait_at_the_same_time_have_one_version_and_one_sync() {
    let db = Db::new();
    let store = db.open();
    for n in 0..6 {
        commit(&store, |base| Edit::create(&format!("a{n}"), array_of(2)).page(base, 0, 0, n));
    }
    let before = syncs(&store);
    let make =
        |n: u64| edit(move |base| Edit::of(base, &format!("a{n}")).page(base, 0, 0, 100 + n).page(base, 1, 3, n));
    let mut all: Vec<MakeEdits> = (0..6).map(make).collect();
    // A large payload is written before the lock.
    all.push(edit(|base| Edit::create("large", large_array_of(3)).block(base, 0, 1000).block(base, 2, 5000)));
    let outcomes = commit_together(&store, all);
    assert_eq!(versions(&outcomes).len(), 1, "{outcomes:?}");
    // One for the large payload, and one for all.
    assert!(syncs(&store) - before <= 3, "{} syncs", syncs(&store) - before);
    check(&store);
    let seen = now(&store);
    for n in 0..6 {
        assert_page(&*seen, &format!("a{n}"), 0, 0, Some(100 + n));
        assert_page(&*seen, &format!("a{n}"), 1, 3, Some(n));
    }
    assert_page(&*seen, "large", 2, 511, Some(5511));
    // What the commits freed is freed once.
    for n in 0..6 {
        commit(&store, |base| Edit::of(base, &format!("a{n}")).page(base, 0, 0, 200 + n));
    }
    check(&store);
}

#[test]
fn of_two_that_change_one_block_the_first_is_stored_and_the_other_conflicts() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(2)).page(base, 0, 0, 1));
    commit(&store, |base| Edit::create("b", array_of(2)).page(base, 0, 0, 2));
    let outcomes = commit_together(
        &store,
        vec![
            edit(|base| Edit::of(base, "a").page(base, 0, 0, 10)),
            edit(|base| Edit::of(base, "a").page(base, 0, 0, 20)),
            edit(|base| Edit::of(base, "b").page(base, 0, 0, 30)),
        ],
    );
    assert!(outcomes[1].as_ref().is_err_and(|e| e.is_conflict()), "{outcomes:?}");
    assert_eq!(versions([&outcomes[0], &outcomes[2]]).len(), 1, "{outcomes:?}");
    assert_page(&*now(&store), "a", 0, 0, Some(10));
    assert_page(&*now(&store), "b", 0, 0, Some(30));
}

/// A span that shows the one version would else be taken for right, without the blocks of the other commit.
#[test]
fn two_that_change_other_blocks_of_one_array_have_versions_of_their_own() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(2)).page(base, 0, 0, 1).page(base, 1, 0, 2));
    let outcomes = commit_together(
        &store,
        vec![
            edit(|base| Edit::of(base, "a").page(base, 0, 0, 10)),
            edit(|base| Edit::of(base, "a").page(base, 1, 0, 20)),
        ],
    );
    assert_eq!(versions(&outcomes).len(), 2, "{outcomes:?}");
    let [first, second] = [&outcomes[0], &outcomes[1]].map(|outcome| outcome.as_ref().unwrap());
    assert_eq!(second.replaced, first.changed);
    assert_page(&*now(&store), "a", 0, 0, Some(10));
    assert_page(&*now(&store), "a", 1, 0, Some(20));
}

#[test]
fn what_one_commit_takes_the_next_one_cannot_have() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", array_of(1)).page(base, 0, 0, 1));
    let outcomes = commit_together(
        &store,
        vec![
            edit(|base| Edit::of(base, "a").rename("b")),
            edit(|base| Edit::create("b", array_of(1)).page(base, 0, 0, 2)),
            edit(|_| Edit::of_database().attr("of", Some("all".into()))),
            edit(|_| Edit::of_database().attr("of", Some("none".into()))),
            edit(|_| Edit::of_database().attr("another", Some(1.into()))),
        ],
    );
    assert!(outcomes[1].as_ref().is_err_and(|e| e.is_conflict()), "{outcomes:?}");
    assert!(outcomes[3].as_ref().is_err_and(|e| e.is_conflict()), "{outcomes:?}");
    assert_eq!(versions([&outcomes[0], &outcomes[2], &outcomes[4]]).len(), 1, "{outcomes:?}");
    assert_page(&*now(&store), "b", 0, 0, Some(1));
}

#[test]
fn one_that_fails_after_it_began_to_store_fails_alone() {
    let db = Db::new();
    let store = db.open();
    let outcomes = commit_together(
        &store,
        vec![
            edit(|base| Edit::create("a", array_of(1)).page(base, 0, 0, 1)),
            failing(),
            edit(|base| Edit::create("b", array_of(1)).page(base, 0, 0, 4)),
        ],
    );
    assert!(outcomes[1].as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists), "{outcomes:?}");
    versions([&outcomes[0], &outcomes[2]]);
    let seen = now(&store);
    assert_eq!(seen.arrays().unwrap().len(), 2);
    assert_page(&*seen, "a", 0, 0, Some(1));
    assert_page(&*seen, "b", 0, 0, Some(4));
}

/// The first one's payload lies in a claim, and its blocks are in so many pieces that they are copied out of there.
#[test]
fn what_one_of_them_leaves_of_its_claim_is_not_given_to_the_next_one() {
    let db = Db::new();
    let store = db.open();
    let every_second = |base: &dyn Snapshot, edit: Edit| {
        let pages = (0..4).flat_map(|block| (0..512).step_by(2).map(move |page| (block, page)));
        pages.fold(edit, |edit, (block, page)| edit.page(base, block, page, 10_000 * block + u64::from(page)))
    };
    let part = |base: &dyn Snapshot, name: &str, tag: u64| {
        let new = Edit::create(name, large_array_of(1));
        (0..400).fold(new, |edit, page| edit.page(base, 0, page, tag + u64::from(page)))
    };
    commit(&store, |base| (0..4).fold(Edit::create("a", large_array_of(4)), |edit, n| edit.block(base, n, 90_000)));
    // No chunk in part use has room for as much.
    commit(&store, |base| part(base, "filler", 70_000));
    let outcomes = commit_together(
        &store,
        vec![
            edit(move |base| every_second(base, Edit::of(base, "a"))),
            edit(move |base| part(base, "b", 50_000)),
            failing(),
        ],
    );
    assert!(outcomes[2].as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists), "{outcomes:?}");
    versions(&outcomes[..2]);
    check(&store);
    let seen = now(&store);
    for block in 0..4 {
        for page in (0..512).step_by(2) {
            assert_page(&*seen, "a", block, page, Some(10_000 * block + u64::from(page)));
        }
    }
}

#[test]
fn at_the_limit_of_the_wait_each_leaves_the_queue_and_nothing_is_stored() {
    let db = Db::new();
    let options = Options { wait_timeout: Some(Duration::from_millis(300)), ..Options::new(&db.path) };
    let store = LmdbStore::open(&options).unwrap();
    let base = now(&store);
    let lock = store.commit_lock().unwrap();
    let holder = format!("{:?}", thread::current().id());
    thread::scope(|scope| {
        let create = |n: usize| {
            let (store, base) = (&store, &base);
            move || {
                Edit::commit(&**store, &**base, &[Edit::create(&format!("a{n}"), array_of(1)).page(&**base, 0, 0, 1)])
            }
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(create(n))).collect();
        for thread in threads {
            let error = thread.join().unwrap().expect_err("the lock is held");
            let text = error.to_string();
            assert!(error.is_in_use() && text.contains("wait_timeout") && text.contains(&holder), "{text}");
        }
    });
    drop(lock);
    assert_eq!(now(&store).arrays().unwrap(), []);
    commit(&store, |base| Edit::create("a0", array_of(1)).page(base, 0, 0, 1));
}
