//! Several processes on one database.

mod outside;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_testing::Edit;
use outside::*;

fn database(dir: &Path) -> PathBuf {
    let path = dir.join("a.bigarray");
    create(&open(&path).unwrap(), "a", 0).unwrap();
    path
}

#[test]
fn each_process_sees_commits_of_the_other_and_its_snapshots_stay() {
    play(|path| {
        let store = open(path).unwrap();
        let before = store.snapshot().unwrap();
        say("open");
        wait();
        assert!(shows(&*before, "a", 0) && shows_now(&store, "a", 1));
        write(&store, "a", 2).unwrap();
        say("written");
        wait();
        assert!(shows(&*before, "a", 0) && shows_now(&store, "a", 2));
        check(&store);
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "open");
    let store = open(&path).unwrap();
    write(&store, "a", 1).unwrap();
    let between = store.snapshot().unwrap();
    other.go();
    assert_eq!(other.hear(), "written");
    assert!(shows_now(&store, "a", 2) && shows(&*between, "a", 1));
    other.go();
    other.finish();
    assert!(shows(&*between, "a", 1));
    check(&store);
}

#[test]
fn a_commit_on_what_another_process_changed_is_a_conflict() {
    play(|path| {
        write(&open(path).unwrap(), "a", 1).unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let base = store.snapshot().unwrap();
    Other::start(&path).finish();
    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 2);
    assert!(Edit::commit(&*store, &*base, &[edit]).unwrap_err().is_conflict());
    assert!(shows_now(&store, "a", 1));
}

#[test]
fn the_commit_lock_keeps_commits_of_other_processes_waiting() {
    play(|path| {
        let store = open(path).unwrap();
        let lock = store.commit_lock().unwrap();
        say("mine");
        wait();
        // Its own commit goes through.
        let base = store.snapshot().unwrap();
        let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 1);
        Edit::commit_in(&*store, &*base, &[edit], Some(&*lock)).unwrap();
        drop(lock);
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "mine");
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            create(&store, "b", 5).unwrap();
            sender.send(()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
        assert_eq!(names(&store), ["a"]);
        other.go();
        receiver.recv().unwrap();
    });
    other.finish();
    assert!(shows_now(&store, "a", 1) && shows_now(&store, "b", 5));
}

#[test]
fn the_commit_lock_of_a_killed_process_is_free() {
    play(|path| {
        let store = open(path).unwrap();
        let _lock = store.commit_lock().unwrap();
        say("mine");
        wait();
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let mut other = Other::start(&path);
    assert_eq!(other.hear(), "mine");
    let store = open(&path).unwrap();
    other.kill();
    write(&store, "a", 1).unwrap();
    assert!(shows_now(&store, "a", 1));
}

#[test]
fn a_second_commit_of_the_thread_that_holds_the_commit_lock_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&database(dir.path())).unwrap();
    let lock = store.commit_lock().unwrap();
    let error = write(&store, "a", 1).unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("this thread holds the commit lock"), "{error:?}");
    assert!(store.commit_lock().err().unwrap().is_in_use());
    drop(lock);
    write(&store, "a", 1).unwrap();
}

#[test]
fn the_commit_lock_of_another_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&database(dir.path())).unwrap();
    let other = open(&dir.path().join("b.bigarray")).unwrap();
    let lock = other.commit_lock().unwrap();
    let base = store.snapshot().unwrap();
    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 1);
    assert!(Edit::commit_in(&*store, &*base, &[edit], Some(&*lock)).unwrap_err().is_invalid());
    write(&store, "a", 1).unwrap();
}

#[test]
fn threads_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&database(dir.path())).unwrap();
    thread::scope(|scope| {
        for n in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..10 {
                    let lock = store.commit_lock().unwrap();
                    // No commit can come between, so there is no conflict.
                    let base = store.snapshot().unwrap();
                    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 100 * n + round);
                    Edit::commit_in(&**store, &*base, &[edit], Some(&*lock)).unwrap();
                }
            });
        }
    });
    check(&store);
}

#[test]
fn a_process_killed_while_it_commits_does_not_hinder_others() {
    play(|path| {
        let store = open(path).unwrap();
        say("open");
        for tag in 0.. {
            // Conflicts with the test's own commits are expected.
            match write(&store, "a", tag) {
                Err(e) if !e.is_conflict() => panic!("{e:?}"),
                _ => {}
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let path = database(dir.path());
    let store = open(&path).unwrap();
    create(&store, "b", 0).unwrap();
    for round in 0..6 {
        let mut others: Vec<Other> = (0..2).map(|_| Other::start(&path)).collect();
        others.iter_mut().for_each(|other| assert_eq!(other.hear(), "open"));
        thread::sleep(Duration::from_millis(3 + 2 * round));
        others.into_iter().for_each(Other::kill);
        write(&store, "b", round).unwrap();
        assert!(shows_now(&store, "b", round));
        check(&store);
    }
}
