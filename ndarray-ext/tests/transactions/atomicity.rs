//! Abort, drop and panic leave everything as it was. A commit shows all of its changes or none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bigarray::{Database, Transaction};
use ndarray::{Array1, Array2, Axis, Ix1, Ix2, array};

use crate::support::TestDb;
use crate::support::arrays::store;

fn before() -> TestDb {
    let db = TestDb::new();
    db.commit(|t| {
        store(t, "A", &Array1::from_iter(0..10_000i32));
        store(t, "B", &Array2::from_elem((10, 10), 1.5f32));
        store(t, "C", &array![1u8]);
    });
    db
}

/// Does all that a transaction can do.
fn change(t: &Transaction) {
    let mut a = t.array::<i32, Ix1>("A").unwrap();
    a.view_mut().fill(-1);
    a.append(Axis(0), array![1, 2, 3].view()).unwrap();
    a.set_attr("touched", true.into()).unwrap();
    t.array::<f32, Ix2>("B").unwrap().resize((3, 10)).unwrap();
    t.rename("B", "renamed").unwrap();
    t.remove("C").unwrap();
    store(t, "C", &array![1.5f64]);
    store(t, "D", &array![4u64]);
    let names: Vec<_> = t.arrays().unwrap().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["A", "C", "D", "renamed"]);
}

fn is_as_before(db: &Database) {
    let s = db.snapshot().unwrap();
    let infos = s.arrays().unwrap();
    assert_eq!(infos.iter().map(|a| &a.name[..]).collect::<Vec<_>>(), ["A", "B", "C"]);
    assert_eq!((&infos[1].shape[..], &infos[1].dtype[..], infos[1].nbytes), (&[10, 10][..], "<f4", 400));
    let a = s.array::<i32, Ix1>("A").unwrap();
    assert!(a.view().iter().copied().eq(0..10_000));
    assert!(a.attrs().is_empty());
    assert_eq!(s.array::<f32, Ix2>("B").unwrap().view().sum(), 150.0);
    assert_eq!(s.array::<u8, Ix1>("C").unwrap().view()[0], 1);
    assert!(s.array::<u64, Ix1>("D").unwrap_err().is_not_found());
}

#[test]
fn abort_leaves_everything_as_it_was() {
    let mut db = before();
    let t = db.begin().unwrap();
    change(&t);
    t.abort();
    is_as_before(&db);
    db.reopen();
    is_as_before(&db);
}

#[test]
fn drop_leaves_everything_as_it_was() {
    let db = before();
    change(&db.begin().unwrap());
    is_as_before(&db);
    // And nothing of it comes back with the next transaction.
    db.commit(|t| assert_eq!(t.array::<i32, Ix1>("A").unwrap().view()[5], 5));
    is_as_before(&db);
}

#[test]
fn a_panic_leaves_everything_as_it_was() {
    let db = before();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let t = db.begin().unwrap();
        change(&t);
        let mut a = t.array::<i32, Ix1>("A").unwrap();
        let mut view = a.view_mut();
        view[0] = 77;
        view[1 << 40] = 1; // out of bounds
    }));
    assert!(unwound.is_err());
    is_as_before(&db);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        db.transact(|t| {
            change(t);
            if t.arrays()?.len() == 4 { panic!("in the middle") } else { Ok(()) }
        })
    }));
    assert!(unwound.is_err());
    is_as_before(&db);
}

#[test]
fn an_error_in_transact_leaves_everything_as_it_was() {
    let db = before();
    let error = db.transact(|t| {
        change(t);
        t.array::<u8, Ix1>("nothing").map(drop)
    });
    assert!(error.unwrap_err().is_not_found());
    is_as_before(&db);
}

#[test]
fn commit_shows_all_of_it() {
    let mut db = before();
    let old = db.snapshot().unwrap();
    db.commit(change);
    db.reopen();
    let s = db.snapshot().unwrap();
    assert_eq!(s.arrays().unwrap().len(), 4);
    let a = s.array::<i32, Ix1>("A").unwrap();
    assert_eq!((a.len(), a.view()[9_999], a.view()[10_002]), (10_003, -1, 3));
    assert_eq!(a.attrs()["touched"], true);
    assert_eq!(s.array::<f32, Ix2>("renamed").unwrap().shape(), [3, 10]);
    assert_eq!(s.array::<f64, Ix1>("C").unwrap().view()[0], 1.5);
    assert!(s.array::<f32, Ix2>("B").unwrap_err().is_not_found());
    // The snapshot from before still shows what was.
    assert_eq!(old.array::<u8, Ix1>("C").unwrap().view()[0], 1);
    assert_eq!(old.array::<f32, Ix2>("B").unwrap().view().sum(), 150.0);
}

#[test]
fn a_failed_append_leaves_that_array_and_the_transaction_as_they_were() {
    let db = TestDb::new();
    db.commit(|t| {
        for name in ["time", "a", "b"] {
            t.create::<f64, _>(name, (0, 2)).unwrap();
        }
    });
    let error = db.transact(|t| {
        for (name, width) in [("time", 2), ("a", 2), ("b", 3)] {
            t.array::<f64, Ix2>(name)?.append(Axis(0), Array2::ones((5, width)).view())?;
        }
        Ok(())
    });
    assert!(error.unwrap_err().is_shape_mismatch());
    // A transaction that goes on after the error has the array as it was.
    db.commit(|t| {
        for (name, width) in [("time", 2), ("a", 2), ("b", 3), ("b", 2)] {
            let _ = t.array::<f64, Ix2>(name).unwrap().append(Axis(0), Array2::ones((5, width)).view());
        }
    });
    let s = db.snapshot().unwrap();
    for name in ["time", "a", "b"] {
        let a = s.array::<f64, Ix2>(name).unwrap();
        assert_eq!((a.shape(), a.view().sum()), (&[5, 2][..], 10.0), "{name}");
    }
}

#[test]
fn transact_runs_again_after_a_conflict_and_always_gets_through() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &array![0u64])));
    // Another transaction commits in between as often as the commit lock allows.
    let mut attempts = 0;
    let seen = db
        .transact(|t| {
            attempts += 1;
            let mut a = t.array::<u64, Ix1>("A")?;
            a.view_mut()[0] += 100;
            let value = a.view()[0];
            drop(a);
            let other = db.begin()?;
            other.array::<u64, Ix1>("A")?.view_mut()[0] += 1;
            match other.commit() {
                Ok(()) => {}
                // While this transaction has the commit lock, no other commits.
                Err(e) => assert!(e.is_in_use(), "{e}"),
            }
            Ok(value)
        })
        .unwrap();
    assert!(attempts > 1);
    assert_eq!(seen, 100 + attempts - 1);
    assert_eq!(db.array::<u64, Ix1>("A").unwrap().view()[0], seen);
    // The commit lock is given back.
    db.commit(|t| t.array::<u64, Ix1>("A").unwrap().view_mut()[0] = 0);
}

#[test]
fn open_or_create_creates_once_and_opens_only_what_is_of_the_same_type() {
    let db = TestDb::new();
    for length in [3, 5] {
        db.transact(|txn| txn.open_or_create::<u16, _>("log", length).map(drop)).unwrap();
    }
    assert_eq!(db.array::<u16, Ix1>("log").unwrap().dim(), 3);
    let txn = db.begin().unwrap();
    assert!(txn.open_or_create::<u32, _>("log", 3).unwrap_err().is_dtype_mismatch());
    assert!(txn.open_or_create::<u16, _>("log", (3, 1)).unwrap_err().is_shape_mismatch());
    let _open = txn.open_or_create::<u16, _>("log", 3).unwrap();
    assert!(txn.open_or_create::<u16, _>("log", 3).unwrap_err().is_in_use());
}

#[test]
fn a_closure_with_an_error_type_of_its_own_aborts_by_it_and_runs_again_after_a_conflict() {
    #[derive(Debug)]
    enum Failure {
        Refused(u64),
        Storage(bigarray::Error),
    }
    impl From<bigarray::Error> for Failure {
        fn from(error: bigarray::Error) -> Failure {
            Failure::Storage(error)
        }
    }
    let db = TestDb::new();
    db.transact(|txn| txn.create::<u64, _>("counter", 1).map(drop)).unwrap();
    let add = |db: &TestDb| {
        db.transact(|txn| {
            txn.array::<u64, Ix1>("counter")?.view_mut()[0] += 1;
            Ok(())
        })
    };
    let mut runs = 0;
    let refused = db.try_transact(|txn| {
        runs += 1;
        if runs == 1 {
            add(&db)?;
        }
        let mut counter = txn.array::<u64, Ix1>("counter")?;
        counter.view_mut()[0] += 10;
        if runs == 2 { Err(Failure::Refused(counter.view()[0])) } else { Ok(()) }
    });
    assert!(matches!(refused, Err(Failure::Refused(11))), "{refused:?}");
    assert_eq!((runs, db.array::<u64, Ix1>("counter").unwrap().view()[0]), (2, 1));
    let missing = db.try_transact(|txn| Ok::<_, Failure>(txn.array::<u64, Ix1>("none")?.len()));
    assert!(matches!(&missing, Err(Failure::Storage(error)) if error.is_not_found()), "{missing:?}");
}
