//! What `Database::metrics` counts, in every way in which pages come and go.

use bigarray::ndarray::Ix1;
use bigarray::{Database, Metrics};

use crate::support::arrays::store;
use crate::support::{BLOCK, Faults, TestDb, copies, faults, small_blocks};

/// Elements of a block.
const ELEMENTS: usize = BLOCK / size_of::<u64>();
const BLOCKS: usize = 8;

fn stored(db: &TestDb) {
    db.commit(|txn| {
        let mut a = txn.create_with::<u64, _>("A", BLOCKS * ELEMENTS, &small_blocks()).unwrap();
        a.view_mut().iter_mut().zip(1..).for_each(|(x, i)| *x = i);
    });
}

/// What happens in `run`.
fn during(db: &Database, run: impl FnOnce()) -> Metrics {
    let before = db.metrics();
    run();
    db.metrics().since(&before)
}

#[test]
fn a_commit_counts_what_it_stores_and_the_time_it_takes() {
    let db = TestDb::new();
    let done = during(&db, || stored(&db));
    assert_eq!((done.commits, done.conflicts), (1, 0));
    assert_eq!(done.bytes_committed, (BLOCKS * BLOCK) as u64);
    assert!(done.bytes_written > 0 && done.commit_nanos > 0, "{done:?}");
    if db.is_at_url() {
        assert_eq!((done.syncs, done.sync_nanos, done.index_commit_nanos), (0, 0, 0));
    } else {
        assert!(done.syncs > 0 && done.sync_nanos > 0 && done.index_commit_nanos > 0, "{done:?}");
        assert!(done.sync_nanos + done.index_commit_nanos <= done.commit_nanos, "{done:?}");
        assert_eq!(done.requests, 0);
    }
    let nothing = during(&db, || db.begin().unwrap().commit().unwrap());
    assert_eq!((nothing.commits, nothing.bytes_committed), (0, 0));
}

#[test]
fn a_scan_counts_each_block_once() {
    let mut db = TestDb::new();
    stored(&db);
    db.reopen();
    let done = during(&db, || {
        let a = db.array::<u64, Ix1>("A").unwrap();
        assert_eq!(a.view().iter().sum::<u64>(), (1..=(BLOCKS * ELEMENTS) as u64).sum::<u64>());
    });
    let all = (BLOCKS as u64, (BLOCKS * BLOCK) as u64);
    let is_produced = copies() || db.is_at_url();
    let (mapped, copied) = ((done.blocks_mapped, done.bytes_mapped), (done.blocks_copied, done.bytes_copied));
    assert_eq!((mapped, copied), if is_produced { ((0, 0), all) } else { (all, (0, 0)) });
    match faults() {
        Faults::All => assert!(done.faults_missing > 0, "{done:?}"),
        Faults::UserOnly => {} // a small array is mapped when it is opened
        Faults::None => assert_eq!(done.faults_missing, 0),
    }
    assert_eq!((done.faults_protected, done.blocks_spilled, done.blocks_poisoned), (0, 0, 0));
    assert_eq!((done.commits, done.conflicts, done.bytes_written), (0, 0, 0));
    if is_produced {
        assert!(done.bytes_read > 0, "{done:?}");
    }
}

#[test]
fn a_conflict_is_counted_and_no_commit() {
    let db = TestDb::new();
    stored(&db);
    let done = during(&db, || {
        let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
        for txn in [&one, &two] {
            txn.array::<u64, Ix1>("A").unwrap().view_mut()[0] = 7;
        }
        one.commit().unwrap();
        assert!(two.commit().unwrap_err().is_conflict());
    });
    assert_eq!((done.commits, done.conflicts), (1, 1));
}

#[test]
fn what_is_spilled_is_counted_in_bytes() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let mut a = store(&txn, "A", &bigarray::ndarray::Array1::from_elem(BLOCKS * ELEMENTS, 3_u64));
    let done = during(&db, || a.flush().unwrap());
    assert_eq!(done.bytes_spilled, (BLOCKS * BLOCK) as u64);
    drop(a);
    let done = during(&db, || txn.commit().unwrap());
    assert_eq!((done.bytes_spilled, done.bytes_committed), (0, (BLOCKS * BLOCK) as u64));
}

#[test]
fn takes_in_the_wrong_order_differ_by_nothing() {
    let db = TestDb::new();
    let before = db.metrics();
    stored(&db);
    assert_eq!(before.since(&db.metrics()), Metrics::default());
}
