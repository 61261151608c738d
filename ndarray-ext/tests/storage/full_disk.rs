//! A full disk is an error of the next call that can fail, before memory fills up with what cannot be committed.

use bigarray::ndarray::{Array2, Axis, Ix1, Ix2, Order};
use bigarray::{ArrayOptions, Database, Error, ErrorKind};

use crate::support::child::{alone, this_test};
use crate::support::disk::small_disk;
use crate::support::{Faults, TestDb, faults, skip};

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

/// The array that was to become the copy is gone, and what else the transaction has is committed.
#[test]
fn a_copy_that_finds_the_disk_full_leaves_its_transaction_as_it_was() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let source = TestDb::new();
    let rows = Array2::from_elem((50 * ROWS, ROW), 1.5); // 40 MB
    source.commit(|t| t.create::<f64, _>("a", (0, ROW)).unwrap().append(Axis(0), rows.view()).unwrap());
    let a = source.array::<f64, Ix2>("a").unwrap();
    on_a_small_disk(|db| {
        for order in [Order::RowMajor, Order::ColumnMajor] {
            let txn = db.begin().unwrap();
            txn.array::<f64, Ix1>("kept").unwrap().view_mut().fill(3.0);
            let error = a.copy_to(&txn, "copy", &ArrayOptions::new().order(order), |_| {}).unwrap_err();
            assert!(error.is_store_full(), "{error}");
            assert!(txn.array::<f64, Ix2>("copy").unwrap_err().is_not_found());
            drop(txn.create::<f64, _>("copy", 3).unwrap());
            txn.commit().unwrap();
            assert!(db.array::<f64, Ix1>("kept").unwrap().view().iter().all(|x| *x == 3.0));
            db.transact(|txn| txn.remove("copy")).unwrap();
        }
    });
}

/// Rows may have moved in part, and no commit stores that by itself: the savepoint brings back what was.
#[test]
fn rows_that_find_the_disk_full_as_they_move_are_where_they_were_after_a_rollback() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    on_a_small_disk(|db| {
        // 12 MB, of which the disk has room for one.
        let value = |at: usize| at as f64;
        db.transact(|txn| {
            let mut a = txn.create::<f64, _>("a", (15 * ROWS, ROW))?;
            a.view_mut().iter_mut().enumerate().for_each(|(at, x)| *x = value(at));
            Ok(())
        })
        .unwrap();
        let is_as_before = |db: &Database| {
            let a = db.array::<f64, Ix2>("a").unwrap();
            a.shape() == [15 * ROWS, ROW] && a.view().iter().enumerate().all(|(at, x)| *x == value(at))
        };
        for inserts in [false, true] {
            let mut txn = db.begin().unwrap();
            txn.array::<f64, Ix2>("a").unwrap().flush().unwrap();
            let savepoint = txn.savepoint().unwrap();
            let mut a = txn.array::<f64, Ix2>("a").unwrap();
            let row = Array2::zeros((1, ROW));
            let moved = if inserts { a.insert_rows(1, row.view()) } else { a.remove_rows(1..2) };
            // Some of it is in memory still: the call, or what gives that memory back.
            let error = moved.and_then(|()| a.flush()).unwrap_err();
            assert!(error.is_store_full(), "{error}");
            drop(a);
            txn.rollback(savepoint).unwrap();
            txn.array::<f64, Ix2>("a").unwrap().set_attr("tried", inserts.into()).unwrap();
            txn.commit().unwrap();
            assert!(is_as_before(db), "inserts: {inserts}");
        }
        db.transact(|txn| txn.remove("a")).unwrap();
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
