//! Python commits between the begin of a transaction and its commit, and the other way round.

use std::ops::Range;

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

/// What a transaction does, mostly to `a`.
enum Change {
    Write(usize),
    Attribute(&'static str),
    DatabaseAttribute(&'static str),
    DependOn(Range<usize>),
    Remove,
    Rename,
    Create,
}

use Change::{Attribute, Create, DatabaseAttribute, DependOn, Remove, Rename, Write};

impl Change {
    fn make(&self, txn: &Transaction) {
        let array = || txn.array::<i64, Ix1>("a").unwrap();
        match self {
            Write(at) => array().view_mut()[*at] = 5,
            Attribute(key) => array().set_attr(key, json!(5)).unwrap(),
            DatabaseAttribute(key) => txn.set_database_attr(key, 5).unwrap(),
            DependOn(elements) => array().depend_on(elements.clone()).unwrap(),
            Remove => txn.remove("a").unwrap(),
            Rename => txn.rename("a", "c").unwrap(),
            Create => drop(txn.create::<u8, _>("c", 1).unwrap()),
        }
    }

    /// Whether the newest state has it, as another opening sees that, and what to ask Python for the same.
    fn landed(&self, db: &Database) -> (bool, Option<String>) {
        let array = |name| db.array::<i64, Ix1>(name).unwrap();
        match self {
            Write(at) => (array("a").view()[*at] == 5, Some(format!("element a {at} 5"))),
            Attribute(key) => (array("a").attrs()[*key] == json!(5), Some(format!("number a {key} 5"))),
            DatabaseAttribute(key) => {
                let attrs = db.snapshot().unwrap().database_attrs().unwrap();
                (attrs[*key] == json!(5), Some(format!("number / {key} 5")))
            }
            Rename => {
                (db.array::<i64, Ix1>("a").is_err() && array("c").view()[0] == 1, Some("element c 0 1".to_owned()))
            }
            // It changes nothing.
            DependOn(_) => (true, None),
            Remove | Create => unreachable!("they land in no case"),
        }
    }
}

#[test]
fn a_commit_of_python_rules_out_what_touches_the_same_and_nothing_else() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    // What Python does meanwhile, what the transaction does, and whether both land.
    let cases = [
        ("put a 100000", Write(0), true),
        ("put a 100000", Write(100_001), false),
        // Over the edge of two blocks, and of two chunks.
        ("set_range a 131071 131073", Write(131_071 - BLOCK), true),
        ("set_range a 131071 131073", Write(131_071), false),
        ("set_range a 131071 131073", Write(131_072), false),
        ("put b 0", Write(0), true),
        ("attribute a unit", Write(0), true),
        ("attribute a unit", Attribute("other"), true),
        ("attribute a unit", Attribute("unit"), false),
        ("attribute / title", DatabaseAttribute("title"), false),
        ("attribute / source", DatabaseAttribute("comment"), true),
        ("attribute a title", DatabaseAttribute("title"), true),
        ("attribute / comment", Write(0), true),
        ("put a 0", Attribute("unit"), true),
        ("append a", Attribute("unit"), true),
        ("append a", Write(0), false),
        ("shrink a 100", Write(LENGTH - 1), false),
        ("shrink a 100", DependOn(LENGTH - 1..LENGTH), false),
        ("put a 0", DependOn(0..1), false),
        ("put a 0", DependOn(BLOCK..LENGTH), true),
        ("delete a", Write(0), false),
        ("make_anew a", Write(0), false),
        ("move a elsewhere", Write(0), false),
        ("put a 0", Remove, false),
        ("put a 0", Rename, false),
        ("put b 0", Rename, true),
        ("move b c", Create, false),
        // Other manifests of the same chunks.
        ("rewrite_manifests", Write(0), true),
        ("rewrite_manifests", DependOn(0..LENGTH), true),
    ];
    for (number, (step, change, lands)) in cases.iter().enumerate() {
        python.runs("clear");
        stored(&db);
        let txn = db.begin().unwrap();
        change.make(&txn);
        let answer = python.runs(step);
        match (txn.commit(), lands) {
            (Ok(()), true) => {
                let (landed, question) = change.landed(&python.database());
                assert!(landed, "case {number}, {step}");
                if let Some(question) = question {
                    assert_eq!(python.runs(&format!("holds {question}")), "yes", "case {number}, {step}: {question}");
                }
            }
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
