//! A process that is killed while it writes far more than its budget. Nothing of it is visible, and the space of what it
//! spilled is used again.

use std::fs::{self, File};
use std::path::Path;

use bigarray::Database;
use bigarray::ndarray::{Array1, Axis, Ix1};

use crate::support::child::{Child, alone, command, hear, role, say, this_test};
use crate::support::disk::small_disk;
use crate::support::{check, is_root};

const BUDGET: usize = 8 << 20;
const LEN: usize = (64 << 20) / 8;

fn open(path: &Path) -> Database {
    Database::options().memory_budget(BUDGET).open(path).unwrap()
}

/// Fills a new array of 64 MiB, flushed at the end.
fn ingest(db: &Database, name: &str, commits: bool) {
    let txn = db.begin().unwrap();
    let mut a = txn.create::<u64, _>(name, LEN).unwrap();
    a.view_mut().iter_mut().zip(1..).for_each(|(x, n)| *x = n);
    a.flush().unwrap();
    drop(a);
    if commits {
        txn.commit().unwrap();
    } else {
        say("written");
        hear();
    }
}

fn data_bytes(path: &Path) -> u64 {
    fs::metadata(path.join("data")).unwrap().len()
}

#[test]
fn a_killed_ingest_leaves_nothing_but_room_for_the_next() {
    if let Some(path) = role() {
        return ingest(&open(Path::new(&path)), "killed", false);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    open(&path).transact(|txn| txn.create::<u8, _>("small", 10).map(|mut a| a.view_mut().fill(7))).unwrap();
    let mut longest = 0;
    for round in 0..4 {
        let mut child = Child::start(command(this_test!(), path.to_str().unwrap()));
        assert_eq!(child.hear(), "written");
        if round == 0 {
            // While it lives its space is its own: another writer takes other space.
            ingest(&open(&path), "beside", true);
        }
        child.kill();
        let db = open(&path);
        assert_eq!(db.snapshot().unwrap().arrays().unwrap().len(), 2);
        assert_eq!(db.array::<u8, Ix1>("small").unwrap().view().sum(), 70);
        assert!(db.array::<u64, Ix1>("beside").unwrap().view().iter().zip(1..).all(|(&x, n)| x == n));
        drop(db);
        check(&path);
        if round == 0 {
            longest = data_bytes(&path);
        }
    }
    let slack = 8 << 20;
    assert!(longest >= 2 * 8 * LEN as u64, "it had been spilled");
    assert!(data_bytes(&path) <= longest + slack, "{} MiB after {}", data_bytes(&path) >> 20, longest >> 20);
    // And it serves for what is there to stay.
    ingest(&open(&path), "after", true);
    assert!(data_bytes(&path) <= longest + slack, "{} MiB after {}", data_bytes(&path) >> 20, longest >> 20);
    assert!(open(&path).array::<u64, Ix1>("after").unwrap().view().iter().zip(1..).all(|(&x, n)| x == n));
    check(&path);
}

/// Killed at any moment, not only between two steps.
#[test]
fn an_ingest_killed_at_any_moment_leaves_nothing() {
    if let Some(path) = role() {
        say("begun");
        loop {
            let db = open(Path::new(&path));
            let txn = db.begin().unwrap();
            txn.create::<u64, _>("killed", LEN).unwrap().view_mut().fill(9);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    open(&path).transact(|txn| txn.create::<u8, _>("small", 10).map(|mut a| a.view_mut().fill(7))).unwrap();
    for round in 0..12 {
        let mut child = Child::start(command(this_test!(), path.to_str().unwrap()));
        child.hear();
        std::thread::sleep(std::time::Duration::from_millis(11 * round));
        child.kill();
        let db = open(&path);
        assert_eq!(db.snapshot().unwrap().arrays().unwrap().len(), 1);
        assert_eq!(db.array::<u8, Ix1>("small").unwrap().view().sum(), 70);
        drop(db);
        check(&path);
    }
    assert!(data_bytes(&path) <= 3 * 8 * LEN as u64, "{} MiB", data_bytes(&path) >> 20);
}

/// What it had spilled comes back although the index finds no room to note that.
#[test]
fn an_ingest_killed_when_it_had_filled_the_disk_leaves_a_database_that_can_be_written() {
    if let Some(path) = role().filter(|role| role != "alone") {
        let db = open(Path::new(&path));
        let txn = db.begin().unwrap();
        let mut a = txn.create::<u64, _>("killed", 0).unwrap();
        let rows = Array1::from_elem(1 << 17, 9);
        let error = loop {
            if let Err(error) = a.append(Axis(0), rows.view()).and_then(|()| a.flush()) {
                break error;
            }
        };
        say(error.is_store_full());
        hear();
    }
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 40);
    let path = dir.path().join("a.bigarray");
    open(&path).transact(|txn| txn.create::<u8, _>("small", 10).map(|mut a| a.view_mut().fill(7))).unwrap();
    let mut child = Child::start(command(this_test!(), path.to_str().unwrap()));
    assert_eq!(child.hear(), "true");
    // Not a page is left, wherever the child left some.
    let mut ballast = File::create(dir.path().join("ballast")).unwrap();
    let _ = std::io::copy(&mut std::io::repeat(1), &mut ballast);
    child.kill();
    let db = open(&path);
    db.transact(|txn| txn.create::<u64, _>("after", 1 << 20).map(|mut a| a.view_mut().fill(1))).unwrap();
    assert_eq!(db.array::<u64, Ix1>("after").unwrap().view().sum(), 1 << 20);
    assert_eq!(db.array::<u8, Ix1>("small").unwrap().view().sum(), 70);
    drop(db);
    check(&path);
}
