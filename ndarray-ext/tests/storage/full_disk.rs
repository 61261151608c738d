//! A full disk is an error of the next call that can fail, before memory fills up with what cannot be committed.

use bigarray::ndarray::{Array2, Axis, Ix2};
use bigarray::{Database, Error, ErrorKind};

use crate::support::child::{alone, this_test};
use crate::support::disk::small_disk;
use crate::support::{Faults, faults, skip};

const BUDGET: usize = 8 << 20;
/// 800 kB.
const ROWS: usize = 100;
const ROW: usize = 1000;

/// The first error of `step`, which comes before much is written.
fn first_error(mut step: impl FnMut(usize) -> Result<(), Error>) -> (usize, Error) {
    (0..1000).find_map(|n| Some((n, step(n).err()?))).expect("a full disk is told")
}

/// Runs `test` on a database on a disk of 20 MiB with a budget of 8 MiB.
fn on_a_small_disk(test: impl FnOnce(&Database)) {
    if !nix::unistd::geteuid().is_root() {
        return skip("a file system of a certain size takes root");
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 20);
    let db = Database::options().memory_budget(BUDGET).open(dir.path().join("a.bigarray")).unwrap();
    db.transact(|txn| txn.create::<f64, _>("kept", 1000).map(drop)).unwrap();
    test(&db);
    // All spilled pages went with their transaction.
    db.transact(|txn| {
        txn.create::<f64, _>("next", (10 * ROWS, ROW))?.view_mut().fill(2.0);
        Ok(())
    })
    .unwrap();
    assert!(db.verify(|_| {}).unwrap().is_sound());
}

fn is_told_early((steps, error): (usize, Error), db: &Database) {
    assert_eq!(error.kind(), ErrorKind::StoreFull, "{error:?}");
    // The disk, the budget, and what was under way.
    assert!(steps * ROWS * ROW * 8 < (20 << 20) + 2 * BUDGET, "only after {steps} steps");
    assert!(db.memory_use().used_bytes < 2 * BUDGET, "{:?}", db.memory_use());
}

#[test]
fn append_fails_once_disk_and_memory_are_full() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    on_a_small_disk(|db| {
        let txn = db.begin().unwrap();
        let mut array = txn.create::<f64, _>("a", (0, ROW)).unwrap();
        let rows = Array2::from_elem((ROWS, ROW), 1.5);
        let told = first_error(|_| array.append(Axis(0), rows.view()));
        // It is as it was before the call.
        assert_eq!(array.shape(), [told.0 * ROWS, ROW]);
        // Without page faults what was handed out is counted, not what it takes: one row more may still be had.
        if faults() != Faults::None {
            assert!(array.push(Axis(0), rows.row(0)).unwrap_err().is_store_full());
            assert!(array.rows_mut(0..1).unwrap_err().is_store_full());
        }
        assert!(array.flush().unwrap_err().is_store_full());
        is_told_early(told, db);
        // To read what there is, and to throw it away, goes on.
        assert!(array.view().iter().all(|x| *x == 1.5));
        array.resize((1, ROW)).unwrap();
        drop(array);
        // The rest has room, but in a span with faults a block that could not be spilled fails the commit.
        assert_eq!(txn.commit().is_err_and(|e| e.is_store_full()), faults() != Faults::None);
    });
}

#[test]
fn rows_mut_fails_once_disk_and_memory_are_full() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    on_a_small_disk(|db| {
        let txn = db.begin().unwrap();
        let mut array = txn.create::<f64, _>("a", (1000 * ROWS, ROW)).unwrap();
        let told = first_error(|n| array.rows_mut(n * ROWS..(n + 1) * ROWS).map(|mut rows| rows.fill(1.5)));
        is_told_early(told, db);
    });
}

#[test]
fn many_small_arrays_are_refused_once_disk_and_memory_are_full() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    on_a_small_disk(|db| {
        let txn = db.begin().unwrap();
        let told = first_error(|n| {
            let name = format!("a{n}");
            txn.create::<f64, _>(&name, (ROWS, ROW))?.view_mut().fill(1.5);
            txn.array::<f64, Ix2>(&name).map(drop)
        });
        is_told_early(told, db);
    });
}

#[test]
fn space_that_one_transaction_frees_is_used_by_the_next() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    on_a_small_disk(|db| {
        // 12 MB, of which the disk has room for one.
        let create = |name: &str, x: f64| {
            let txn = db.begin()?;
            txn.create::<f64, _>(name, (15 * ROWS, ROW))?.view_mut().fill(x);
            txn.commit().map(drop)
        };
        create("a", 1.0).unwrap();
        assert_eq!(create("b", 2.0).unwrap_err().kind(), ErrorKind::StoreFull);
        for n in 0..3 {
            db.transact(|txn| txn.remove(if n == 0 { "a" } else { "b" })).unwrap();
            create("b", 2.0).unwrap();
        }
        let b = db.snapshot().unwrap().array::<f64, Ix2>("b").unwrap();
        assert!(b.view().iter().all(|x| *x == 2.0));
        db.transact(|txn| txn.remove("b")).unwrap();
    });
}
