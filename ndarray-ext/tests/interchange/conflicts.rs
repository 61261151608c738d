//! Python commits between the begin of a transaction and its commit, and the other way round.

use bigarray::serde_json::json;
use bigarray::{Database, Transaction};
use ndarray::Ix1;

use crate::python::Python;
use crate::support::small_blocks;

/// Elements of a block, and of a chunk, which has sixteen.
const BLOCK: usize = 8192;
const LENGTH: usize = 40 * BLOCK;

/// An array `a` of two and a half chunks, and an array `b`.
fn stored(db: &Database) {
    db.transact(|txn| {
        txn.create_with::<i64, _>("a", LENGTH, &small_blocks())?.view_mut().fill(1);
        txn.create_with::<i64, _>("b", LENGTH, &small_blocks())?.view_mut().fill(1);
        Ok(())
    })
    .unwrap();
}

fn write(txn: &Transaction, at: usize) {
    txn.array::<i64, Ix1>("a").unwrap().view_mut()[at] = 5;
}

#[test]
fn a_commit_of_python_rules_out_what_touches_the_same_and_nothing_else() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    type Change = fn(&Transaction);
    // What Python does meanwhile, what the transaction does, and whether both land.
    let cases: &[(&str, Change, bool)] = &[
        ("put a 100000", |txn| write(txn, 0), true),
        ("put a 100000", |txn| write(txn, 100_001), false),
        // Over the edge of two blocks, and of two chunks.
        ("set_range a 131071 131073", |txn| write(txn, 131_071 - BLOCK), true),
        ("set_range a 131071 131073", |txn| write(txn, 131_071), false),
        ("set_range a 131071 131073", |txn| write(txn, 131_072), false),
        ("put b 0", |txn| write(txn, 0), true),
        ("attribute a unit", |txn| write(txn, 0), true),
        ("attribute a unit", |txn| txn.array::<i64, Ix1>("a").unwrap().set_attr("other", json!(1)).unwrap(), true),
        ("attribute a unit", |txn| txn.array::<i64, Ix1>("a").unwrap().set_attr("unit", json!(1)).unwrap(), false),
        ("put a 0", |txn| txn.array::<i64, Ix1>("a").unwrap().set_attr("unit", json!(1)).unwrap(), true),
        ("append a", |txn| txn.array::<i64, Ix1>("a").unwrap().set_attr("unit", json!(1)).unwrap(), true),
        ("append a", |txn| write(txn, 0), false),
        ("shrink a 100", |txn| write(txn, LENGTH - 1), false),
        ("shrink a 100", |txn| txn.array::<i64, Ix1>("a").unwrap().depend_on(LENGTH - 1..).unwrap(), false),
        ("put a 0", |txn| txn.array::<i64, Ix1>("a").unwrap().depend_on(..1).unwrap(), false),
        ("put a 0", |txn| txn.array::<i64, Ix1>("a").unwrap().depend_on(BLOCK..).unwrap(), true),
        ("delete a", |txn| write(txn, 0), false),
        ("make_anew a", |txn| write(txn, 0), false),
        ("move a elsewhere", |txn| write(txn, 0), false),
        ("put a 0", |txn| txn.remove("a").unwrap(), false),
        ("put a 0", |txn| txn.rename("a", "c").unwrap(), false),
        ("put b 0", |txn| txn.rename("a", "c").unwrap(), true),
        ("move b c", |txn| drop(txn.create::<u8, _>("c", 1).unwrap()), false),
        // Other manifests of the same chunks.
        ("rewrite_manifests", |txn| write(txn, 0), true),
        ("rewrite_manifests", |txn| txn.array::<i64, Ix1>("a").unwrap().depend_on(..).unwrap(), true),
    ];
    for (number, &(step, change, lands)) in cases.iter().enumerate() {
        python.runs("clear");
        stored(&db);
        let txn = db.begin().unwrap();
        change(&txn);
        let answer = python.runs(step);
        match (txn.commit(), lands) {
            (Ok(()), true) => {}
            (Err(error), false) => assert!(error.is_conflict(), "case {number}, {step}: {error}"),
            (committed, _) => panic!("case {number}, {step}: {committed:?}"),
        }
        // What Python committed is there in any case.
        assert_eq!(python.runs(&format!("holds {answer}")), "yes", "case {number}, {step}");
    }
}

#[test]
fn a_transaction_that_met_python_runs_again_and_lands() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    stored(&db);
    let mut runs = 0;
    db.transact(|txn| {
        let mut a = txn.array::<i64, Ix1>("a")?;
        a.view_mut()[0] += 10;
        runs += 1;
        if runs == 1 {
            python.runs("put a 0");
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(runs, 2);
    assert_eq!(db.array::<i64, Ix1>("a").unwrap().view()[0], 7 + 10);
}

/// Its conflict is Python's to see. What was committed here stays.
#[test]
fn a_session_of_python_that_is_behind_gets_its_conflict() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    let commits = |name: &str, at: usize, value: i64| {
        db.transact(|txn| {
            txn.array::<i64, Ix1>(name)?.view_mut()[at] = value;
            Ok(())
        })
        .unwrap();
    };
    stored(&db);
    python.runs("begin a 0 7");
    commits("b", 0, 5);
    assert_eq!(python.runs("commit"), "ConflictError");
    // With Icechunk's own rebase it lands on what it does not touch, and only there.
    assert_eq!(python.runs("commit_rebased"), "committed");
    let values = |name: &str| db.array::<i64, Ix1>(name).unwrap().view()[0];
    assert_eq!((values("a"), values("b")), (7, 5));
    python.runs("begin a 0 9");
    // Another block of the same chunk, and a chunk is Icechunk's unit.
    commits("a", 100_000, 6);
    assert_eq!(python.runs("commit"), "ConflictError");
    assert_eq!(python.runs("commit_rebased"), "RebaseFailedError");
    let a = db.array::<i64, Ix1>("a").unwrap();
    assert_eq!((a.view()[0], a.view()[100_000]), (7, 6));
}
