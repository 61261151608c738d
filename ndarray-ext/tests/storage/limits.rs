//! A full disk, a full index, hundreds of snapshots: errors say what to do, and the database goes on.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};

use bigarray::ndarray::{Array1, Axis, Ix1};
use bigarray::{ArrayOptions, Codec, Database, Error, Result, Transaction};

use crate::support::child::{alone, this_test};
use crate::support::disk::small_disk;
use crate::support::random::{Random, hash};
use crate::support::{BLOCK, TestDb, check, is_root, small_blocks};

fn append(db: &Database, value: u8) -> Result<()> {
    db.transact(|txn| txn.array::<u8, Ix1>("A")?.append(Axis(0), Array1::from_elem(1 << 20, value).view()))
}

#[test]
fn a_full_disk_is_an_error_and_the_database_goes_on() {
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 24);
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    let path = dir.path().join("a.bigarray");
    let db = Database::open(&path).unwrap();
    db.transact(|txn| txn.create_with::<u8, _>("A", 0, &small_blocks()).map(drop)).unwrap();

    let mut landed = 0;
    let error = loop {
        match append(&db, landed + 1) {
            Ok(()) => landed += 1,
            Err(error) => break error,
        }
        assert!(landed < 24, "24 MiB hold more than that");
    };
    assert!(error.is_store_full(), "{error:?}");
    assert!(landed >= 12, "it was full after {landed} MiB");
    let whole = |landed: u8| {
        let a = db.array::<u8, Ix1>("A").unwrap();
        assert_eq!(a.len(), usize::from(landed) << 20);
        assert!(a.view().iter().enumerate().all(|(i, &x)| usize::from(x) == (i >> 20) + 1));
    };
    // Readers go on; so do writers, and none of their data is lost.
    whole(landed);
    for _ in 0..3 {
        assert!(append(&db, 99).unwrap_err().is_store_full());
        let txn = db.begin().unwrap();
        let mut b = txn.create::<u64, _>("B", 1 << 20).unwrap();
        b.view_mut().fill(7);
        drop(b);
        assert!(txn.commit().unwrap_err().is_store_full());
    }
    whole(landed);
    let txn = db.begin().unwrap();
    txn.create::<u64, _>("B", 1 << 20).unwrap().view_mut().fill(7);
    txn.abort();
    // Space that comes back is used at once.
    fs::remove_file(&ballast).unwrap();
    append(&db, landed + 1).unwrap();
    append(&db, landed + 2).unwrap();
    whole(landed + 2);
    db.transact(|txn| txn.array::<u8, Ix1>("A")?.resize(1 << 20)).unwrap();
    whole(1);
    check(&path);
    drop(db);
    let reopened = Database::open(&path).unwrap();
    assert!(reopened.array::<u8, Ix1>("A").unwrap().view().iter().all(|&x| x == 1));
    assert!(reopened.array::<u64, Ix1>("B").unwrap_err().is_not_found());
    check(&path);
}

/// No room for even an empty database.
#[test]
fn a_database_without_space_is_not_created() {
    if !is_root() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 24);
    let ballast = dir.path().join("ballast");
    let path = dir.path().join("a.bigarray");
    // Fills all but what is asked for.
    let free = |bytes: usize| {
        let mut file = File::create(&ballast).unwrap();
        let _ = std::io::copy(&mut std::io::repeat(1), &mut file);
        file.set_len(file.metadata().unwrap().len() - bytes as u64).unwrap();
    };
    for bytes in [0, 4 << 10, 40 << 10, 200 << 10] {
        free(bytes);
        let error = Database::open(&path).unwrap_err();
        assert!(error.is_store_full(), "{bytes}: {error:?}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    fs::remove_file(&ballast).unwrap();
    let db = Database::open(&path).unwrap();
    db.transact(|txn| txn.create::<u8, _>("A", 1).map(drop)).unwrap();
    check(&path);
}

/// Fills the index, which holds attributes, though not payload.
fn set_attr(txn: &Transaction, n: usize) -> Result<()> {
    txn.array::<u8, Ix1>("A")?.set_attr(&n.to_string(), format!("{n:05}").repeat(4000).into())
}

#[track_caller]
fn assert_says_how_to_go_on(error: &Error) {
    assert!(error.is_store_full(), "{error:?}");
    assert!(error.to_string().contains("map_size"), "{error}");
}

/// Ends a thread that goes on until then, also when a test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A snapshot is held, and read all the time, while another thread commits past the size of the map.
#[test]
fn an_index_that_is_full_under_a_snapshot_is_an_error_and_grows_after_it() {
    let mut db = TestDb::with(Database::options().map_size(1 << 20));
    let content = Random::new(1).bytes(32 * BLOCK);
    db.transact(|txn| {
        let mut a = txn.create_with::<u8, _>("A", content.len(), &small_blocks())?;
        a.view_mut().assign(&Array1::from(content.clone()));
        Ok(())
    })
    .unwrap();
    let expected = hash(&content);
    let stop = AtomicBool::new(false);
    let mut landed = 0;
    std::thread::scope(|scope| {
        let held = db.array::<u8, Ix1>("A").unwrap();
        let (db, path) = (&*db, db.path());
        let stopping = Stop(&stop);
        let stop = &stop;
        scope.spawn(move || {
            let mut times = 0;
            while !stop.load(Ordering::Relaxed) || times < 3 {
                // Through views of spans that were seen before, and of one that was not.
                assert_eq!(hash(held.view().as_slice().unwrap()), expected);
                let fresh = Database::open(path).unwrap();
                let block = times % 32 * BLOCK;
                assert_eq!(held.view()[block], content[block]);
                assert_eq!(fresh.array::<u8, Ix1>("A").unwrap().view()[block], content[block]);
                times += 1;
            }
        });
        let error = loop {
            match db.transact(|txn| set_attr(txn, landed)) {
                Ok(()) => landed += 1,
                Err(error) => break error,
            }
            assert!(landed < 1000, "an index of 1 MiB holds more than that");
        };
        assert_says_how_to_go_on(&error);
        // Again, and with what does not need much.
        for _ in 0..5 {
            assert_says_how_to_go_on(&db.transact(|txn| set_attr(txn, landed)).unwrap_err());
        }
        let txn = db.begin().unwrap();
        set_attr(&txn, landed).unwrap();
        txn.abort();
        drop(stopping);
    });
    assert!(landed > 10, "{landed}");
    // The snapshot has ended: the map grows, several times over.
    for n in landed..landed + 200 {
        db.transact(|txn| set_attr(txn, n)).unwrap();
    }
    db.reopen();
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(a.attrs().len(), landed + 200);
    assert_eq!(hash(a.view().as_slice().unwrap()), expected);
}

#[test]
fn four_hundred_snapshots_of_one_state_live_at_once() {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 4 * BLOCK, &small_blocks())?.view_mut().fill(7);
        Ok(())
    })
    .unwrap();
    let all: Vec<_> = (0..400).map(|_| db.snapshot().unwrap()).collect();
    std::thread::scope(|scope| {
        for some in all.chunks(100) {
            scope.spawn(move || {
                let open: Vec<_> = some.iter().map(|snapshot| snapshot.array::<u8, Ix1>("A").unwrap()).collect();
                assert!(open.iter().all(|a| a.view()[3 * BLOCK] == 7));
            });
        }
    });
}

/// Each with a view of its own, of which most are touched only when all commits are done.
#[test]
fn four_hundred_snapshots_of_four_hundred_states_live_at_once() {
    const STATES: u64 = 400;
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create_with::<u64, _>("A", 2 * BLOCK / 8, &small_blocks())?;
        txn.create::<u64, _>("N", 1).map(drop)
    })
    .unwrap();
    let mut held = Vec::new();
    for state in 1..=STATES {
        db.transact(|txn| {
            txn.array::<u64, Ix1>("A")?.rows_mut(..BLOCK / 8)?.fill(state);
            txn.array::<u64, Ix1>("N")?.view_mut()[0] = state;
            Ok(())
        })
        .unwrap();
        let snapshot = db.snapshot().unwrap();
        let a = snapshot.array::<u64, Ix1>("A").unwrap();
        if state % 4 == 0 {
            assert_eq!(a.view()[7], state);
        }
        held.push((snapshot, a));
    }
    for (state, (snapshot, a)) in (1..).zip(&held) {
        assert_eq!(a.view().slice(bigarray::ndarray::s![..BLOCK / 8]).sum(), state * BLOCK as u64 / 8);
        assert_eq!(a.view()[BLOCK / 8], 0);
        assert_eq!(snapshot.array::<u64, Ix1>("N").unwrap().view()[0], state);
    }
    // Every second one goes, and what the others show stays.
    let mut number = 0;
    held.retain(|_| {
        number += 1;
        number % 2 == 0
    });
    for value in 0..20 {
        db.transact(|txn| {
            txn.array::<u64, Ix1>("A")?.view_mut().fill(value);
            Ok(())
        })
        .unwrap();
    }
    for (at, (_, a)) in held.iter().enumerate() {
        assert_eq!(a.view().slice(bigarray::ndarray::s![..BLOCK / 8]).sum(), (2 * at as u64 + 2) * BLOCK as u64 / 8);
    }
}

/// Where no faults can be had, all that is compressed is held in memory.
#[test]
fn the_budget_that_an_error_asks_for_without_faults_is_the_least_that_does() {
    let without_faults = |child: &mut std::process::Command| {
        child.env("BIGARRAY_USERFAULTFD", "none");
    };
    if !alone(this_test!(), without_faults) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = |bytes| Database::options().memory_budget(bytes).open(dir.path().join("a.bigarray")).unwrap();
    let options = ArrayOptions::new().codec(Codec::Lz4 { shuffle: false });
    open(64 << 20)
        .transact(|txn| {
            txn.create_with::<u64, _>("A", 3 << 20, &options)?.view_mut().fill(7);
            Ok(())
        })
        .unwrap();
    let error = open(4 << 20).array::<u64, Ix1>("A").unwrap_err();
    assert!(error.is_unsupported(), "{error:?}");
    let text = error.to_string();
    let needed: usize = text.split("a memory_budget of ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(open(needed - 1).array::<u64, Ix1>("A").unwrap_err().is_unsupported());
    assert!(open(needed).array::<u64, Ix1>("A").unwrap().view().iter().all(|x| *x == 7));
}
