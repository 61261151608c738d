//! What is in memory of an array, in every way in which pages come and go.

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database, Pager};

use crate::support::{BLOCK, Faults, TestDb, faults, runs_if, small_blocks};

/// Elements of a block.
const ELEMENTS: usize = BLOCK / size_of::<u64>();
const LEN: usize = 20 * ELEMENTS;

fn store(db: &TestDb, options: &ArrayOptions) {
    db.commit(|txn| {
        let mut a = txn.create_with::<u64, _>("A", LEN, options).unwrap();
        a.view_mut().iter_mut().zip(0..).for_each(|(x, i)| *x = i);
    });
}

#[test]
fn rows_that_were_prefetched_are_resident_and_right() {
    let mut db = TestDb::new();
    store(&db, &small_blocks());
    db.reopen();
    let a = db.array::<u64, Ix1>("A").unwrap();
    let rows = ELEMENTS + 3..LEN - 5;
    a.prefetch(rows.clone()).unwrap();
    assert_eq!(a.resident_bytes(rows.clone()).unwrap(), rows.len() * 8);
    assert!(a.is_resident(rows).unwrap());
    assert!(a.view().iter().zip(0..).all(|(&x, i)| x == i));
}

#[test]
fn rows_that_a_transaction_wrote_are_resident() {
    let mut db = TestDb::new();
    store(&db, &small_blocks());
    db.reopen();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<u64, Ix1>("A").unwrap();
    a.rows_mut(..100).unwrap().fill(1);
    assert!(a.is_resident(..100).unwrap());
}

#[test]
fn nothing_of_an_array_that_is_only_opened_is_resident_where_blocks_are_copied() {
    let mut db = TestDb::new();
    store(&db, &small_blocks());
    db.reopen_with(&Database::options().pager(Pager::Copy));
    if !runs_if(faults() != Faults::None, "without faults, arrays are mapped when they are opened") {
        return;
    }
    let a = db.array::<u64, Ix1>("A").unwrap();
    assert_eq!(a.resident_bytes(..).unwrap(), 0);
    assert!(!a.is_resident(..).unwrap());
    assert!(a.is_resident(3..3).unwrap());
    assert_eq!(a.view()[5 * ELEMENTS], (5 * ELEMENTS) as u64);
    assert!(a.is_resident(5 * ELEMENTS..6 * ELEMENTS).unwrap());
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let db = TestDb::new();
    store(&db, &small_blocks());
    let a = db.array::<u64, Ix1>("A").unwrap();
    assert!(a.resident_bytes(LEN + 1..).unwrap_err().is_shape_mismatch());
    assert!(a.is_resident(LEN..LEN + 1).unwrap_err().is_shape_mismatch());
}
