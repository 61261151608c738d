//! Arrays own what they show: they can be stored, returned, sent, and dropped in any order.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::thread;

use bigarray::{AnyArray, AnyArrayMut, BigArray, BigArrayMut, Database, Snapshot, Transaction};
use ndarray::{Array1, Axis, Ix1, Ix2};

use crate::support::TestDb;
use crate::support::arrays::{LARGE_BLOCK, store};

struct App {
    db: Database,
    series: BigArray<f64, Ix1>,
}

fn app(db: &Database) -> App {
    let series = series(db);
    App { db: db.clone(), series }
}

/// Returns an array whose snapshot and database handle are gone.
fn series(db: &Database) -> BigArray<f64, Ix1> {
    db.snapshot().unwrap().array("series").unwrap()
}

fn filled() -> TestDb {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "series", &Array1::from_iter((0..3 * LARGE_BLOCK / 8).map(|i| i as f64)))));
    db
}

const SUM: f64 = ((3 * LARGE_BLOCK / 8 - 1) * (3 * LARGE_BLOCK / 8) / 2) as f64;

#[test]
fn handles_are_send_sync_and_arrays_static() {
    // A panic that is caught leaves them as they were.
    fn shared<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    fn owned<T: Send + Sync + UnwindSafe + RefUnwindSafe + Clone + 'static>() {}
    owned::<Database>();
    owned::<Snapshot>();
    owned::<BigArray<f64, Ix2>>();
    owned::<AnyArray>();
    shared::<Transaction>();
    shared::<BigArrayMut<'static, f64, Ix2>>();
    shared::<AnyArrayMut<'static>>();
}

#[test]
fn a_struct_with_an_array_moves_into_a_thread() {
    let db = filled();
    let app = app(&db);
    let sum = thread::spawn(move || {
        drop(app.db);
        app.series.view().sum()
    });
    assert_eq!(sum.join().unwrap(), SUM);
}

#[test]
fn an_array_outlives_its_database_handle() {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.bigarray")).unwrap();
    db.transact(|t| {
        t.create::<f64, _>("series", LARGE_BLOCK)?.view_mut().fill(2.0);
        Ok(())
    })
    .unwrap();
    let (first, second) = (series(&db), series(&db));
    drop(db);
    assert_eq!(first.view().sum(), 2.0 * LARGE_BLOCK as f64);
    // Opened again meanwhile, it is the same database.
    let again = Database::open(dir.path().join("a.bigarray")).unwrap();
    again.transact(|t| t.array::<f64, Ix1>("series")?.resize(1)).unwrap();
    assert_eq!((again.array::<f64, Ix1>("series").unwrap().len(), second.len()), (1, LARGE_BLOCK));
    assert_eq!(second.view().sum(), 2.0 * LARGE_BLOCK as f64);
}

#[test]
fn any_order_of_drops_is_right() {
    let db = filled();
    // Every order in which snapshot, array and clone can go, the last one read in a thread.
    for first in 0..3 {
        for second in 0..2 {
            let snapshot = db.snapshot().unwrap();
            let array = snapshot.array::<f64, Ix1>("series").unwrap();
            let clone = array.clone();
            let mut handles: Vec<Box<dyn Fn() -> f64 + Send>> = vec![
                Box::new(move || snapshot.array::<f64, Ix1>("series").unwrap().view().sum()),
                Box::new(move || array.view().sum()),
                Box::new(move || clone.view().sum()),
            ];
            drop(handles.remove(first));
            db.commit(|t| t.array::<f64, Ix1>("series").unwrap().append(Axis(0), Array1::ones(1).view()).unwrap());
            drop(handles.remove(second));
            let last = handles.pop().unwrap();
            let want = SUM + (first * 2 + second) as f64;
            assert_eq!(thread::spawn(last).join().unwrap(), want);
        }
    }
}

#[test]
fn views_of_clones_are_read_from_many_threads_as_they_go() {
    let db = filled();
    let array = Arc::new(db.array::<f64, Ix1>("series").unwrap());
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let array = if n % 2 == 0 { Arc::new((*array).clone()) } else { array.clone() };
            thread::spawn(move || array.view().sum())
        })
        .collect();
    drop(array);
    drop(db);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), SUM);
    }
}

#[test]
fn arrays_of_one_transaction_are_written_from_many_threads() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    thread::scope(|scope| {
        for n in 0..4u32 {
            let t = &t;
            scope.spawn(move || {
                let mut a = t.create::<u32, _>(&n.to_string(), LARGE_BLOCK / 4 + 1).unwrap();
                a.view_mut().fill(n + 1);
            });
        }
    });
    t.commit().unwrap();
    for n in 0..4u32 {
        let a = db.array::<u32, Ix1>(&n.to_string()).unwrap();
        assert!(a.view().iter().all(|x| *x == n + 1));
    }
}

#[test]
fn a_transaction_moves_between_threads() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    store(&t, "A", &Array1::from_elem(10, 1u8));
    thread::spawn(move || t.commit().unwrap()).join().unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view().sum(), 10);
}
