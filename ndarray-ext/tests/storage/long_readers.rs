//! A forgotten reader makes the file grow with each commit, until the reader ends.

use bigarray::ndarray::Ix1;
use bigarray::{Database, Durability};

use crate::support::TestDb;

const BLOCK: u64 = 2 << 20;
const COMMITS: u64 = 60;

fn rewrite(db: &Database, value: u64) {
    db.transact(|txn| txn.array::<u64, Ix1>("A").map(|mut a| a.view_mut().fill(value))).unwrap();
}

fn new() -> TestDb {
    let db = TestDb::with(Database::options().durability(Durability::NoPowerLossSafety));
    db.transact(|txn| txn.create::<u64, _>("A", BLOCK as usize / 8).map(|mut a| a.view_mut().fill(0))).unwrap();
    db
}

fn data_bytes(db: &TestDb) -> u64 {
    std::fs::metadata(db.path().join("data")).unwrap().len()
}

/// Rewrites a block while `reader` lives and after it, and looks at how the file grows.
fn grows_while_it_lives<R>(db: &TestDb, reader: R, reads: impl Fn(&R) -> u64) {
    let start = data_bytes(db);
    for n in 1..=COMMITS {
        rewrite(db, n);
    }
    assert_eq!(reads(&reader), 0);
    let held = data_bytes(db);
    // By a block each commit, and by no more than steps of what is taken in advance.
    let grown = held - start;
    assert!(grown >= (COMMITS - 3) * BLOCK, "{} MiB: what was it written over?", grown >> 20);
    assert!(grown <= (COMMITS + 40) * BLOCK, "{} MiB", grown >> 20);
    drop(reader);
    for n in 1..=2 * COMMITS {
        rewrite(db, COMMITS + n);
    }
    assert!(data_bytes(db) <= held, "{} MiB after {} MiB", data_bytes(db) >> 20, held >> 20);
    assert_eq!(db.array::<u64, Ix1>("A").unwrap().view()[7], 3 * COMMITS);
}

#[test]
fn a_forgotten_snapshot_makes_the_file_grow_until_it_ends() {
    let db = new();
    let a = db.array::<u64, Ix1>("A").unwrap();
    grows_while_it_lives(&db, a, |a| a.view().sum());
}

#[test]
fn a_transaction_that_only_reads_makes_the_file_grow_until_it_ends() {
    let db = new();
    let txn = db.begin().unwrap();
    grows_while_it_lives(&db, txn, |txn| txn.array::<u64, Ix1>("A").unwrap().view().sum());
}
