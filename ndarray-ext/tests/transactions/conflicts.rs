//! What counts as a change: one rule for elements, holes, shapes, attributes and names, however blocks are loaded.

use std::hint::black_box;

use crate::support::{Faults, faults};
use bigarray::ndarray::{Array1, Ix1};
use bigarray::{ArrayOptions, Codec, Database, Error, Pager, Result, Transaction};
use serde_json::json;

/// What a transaction does.
type Act<'a> = &'a dyn Fn(&Transaction) -> Result<()>;

/// Elements of an array of two blocks.
const LEN: usize = 4 << 20;

/// Arrays `holes` and `ones` in each way that blocks are stored and shown, and `other`.
fn each_way(test: impl Fn(&Database, &str)) {
    for pager in [Pager::Map, Pager::Copy] {
        for codec in [Codec::None, Codec::Lz4 { shuffle: false }] {
            let dir = tempfile::tempdir().unwrap();
            let db = Database::options().pager(pager).open(dir.path().join("a.bigarray")).unwrap();
            let options = ArrayOptions::new().codec(codec);
            db.transact(|txn| {
                txn.create_with::<u8, _>("holes", LEN, &options)?;
                txn.create_with::<u8, _>("ones", LEN, &options)?.view_mut().fill(1);
                txn.create::<u8, _>("other", 10).map(drop)
            })
            .unwrap();
            for name in ["holes", "ones"] {
                test(&db, name);
            }
        }
    }
}

fn store(txn: &Transaction, name: &str, at: usize, value: u8) -> Result<()> {
    txn.array::<u8, Ix1>(name)?.view_mut()[at] = value;
    Ok(())
}

/// Stores what is there.
fn store_again(txn: &Transaction, name: &str, at: usize) -> Result<()> {
    let mut array = txn.array::<u8, Ix1>(name)?;
    let value = array.view()[at];
    array.view_mut()[at] = black_box(value); // else the compiler may leave it out
    Ok(())
}

/// Another transaction changes something in the meantime.
fn meanwhile(db: &Database, change: impl Fn(&Transaction) -> Result<()>) {
    db.transact(|txn| change(txn)).unwrap();
}

fn is_conflict(result: Result<()>) -> bool {
    match result {
        Ok(()) => false,
        Err(error) if error.is_conflict() => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn storing_the_value_that_was_there_conflicts_with_a_change_of_the_block() {
    each_way(|db, name| {
        let txn = db.begin().unwrap();
        store_again(&txn, name, 7).unwrap();
        meanwhile(db, |txn| store(txn, name, 100, 9));
        assert!(is_conflict(txn.commit()), "{name}");

        let txn = db.begin().unwrap();
        store(&txn, name, 100, 7).unwrap();
        meanwhile(db, |txn| store_again(txn, name, 8));
        assert!(is_conflict(txn.commit()), "{name}: the other one stored what was there");

        let txn = db.begin().unwrap();
        store_again(&txn, name, 7).unwrap();
        meanwhile(db, |txn| store(txn, name, LEN / 2, 9));
        assert!(!is_conflict(txn.commit()), "{name}: another block");
    });
}

#[test]
fn a_store_of_the_same_value_is_kept_through_flushes_and_savepoints_and_forgotten_by_a_rollback() {
    each_way(|db, name| {
        let txn = db.begin().unwrap();
        let mut array = txn.array::<u8, Ix1>(name).unwrap();
        let value = array.view()[7];
        array.view_mut()[7] = black_box(value);
        array.flush().unwrap();
        assert_eq!(array.view()[7], value);
        drop(array);
        meanwhile(db, |txn| store(txn, name, 100, 9));
        assert!(is_conflict(txn.commit()), "{name}: flushed");

        let mut txn = db.begin().unwrap();
        store_again(&txn, name, 7).unwrap();
        let savepoint = txn.savepoint().unwrap();
        store(&txn, name, LEN - 1, 9).unwrap();
        txn.rollback(savepoint).unwrap();
        meanwhile(db, |txn| store(txn, name, 100, 8));
        assert!(is_conflict(txn.commit()), "{name}: before the savepoint");

        let mut txn = db.begin().unwrap();
        let savepoint = txn.savepoint().unwrap();
        store_again(&txn, name, 7).unwrap();
        txn.rollback(savepoint).unwrap();
        store(&txn, "other", 0, 1).unwrap();
        meanwhile(db, |txn| store(txn, name, 100, 7));
        assert!(!is_conflict(txn.commit()), "{name}: rolled back");
    });
}

#[test]
fn a_store_of_the_same_value_is_kept_when_its_block_is_spilled() {
    for name in ["holes", "ones"] {
        let dir = tempfile::tempdir().unwrap();
        let options = Database::options().pager(Pager::Copy).memory_budget(8 << 20);
        let db = options.open(dir.path().join("a.bigarray")).unwrap();
        db.transact(|txn| {
            let mut array = txn.create::<u8, _>(name, 32 << 20)?;
            if name == "ones" {
                array.view_mut().fill(1);
            }
            Ok(())
        })
        .unwrap();
        let spilled = db.memory_use().blocks_spilled;
        let txn = db.begin().unwrap();
        let mut array = txn.array::<u8, Ix1>(name).unwrap();
        let mut view = array.view_mut();
        view[7] = black_box(u8::from(name == "ones"));
        view.iter_mut().skip(4 << 20).for_each(|value| *value = 3);
        let gave_way = db.memory_use().blocks_spilled > spilled;
        assert_eq!(gave_way, faults() != Faults::None, "{name}");
        assert_eq!(view[7], u8::from(name == "ones"));
        drop(array);
        meanwhile(&db, |txn| store(txn, name, 100, 9));
        assert!(is_conflict(txn.commit()), "{name}");
    }
}

#[test]
fn reads_conflict_with_nothing() {
    each_way(|db, name| {
        let txn = db.begin().unwrap();
        let mut array = txn.array::<u8, Ix1>(name).unwrap();
        array.prefetch(..).unwrap();
        let sum: u64 = array.view_mut().iter().map(|&value| u64::from(value)).sum();
        assert_eq!(sum, if name == "ones" { LEN as u64 } else { 0 });
        array.flush().unwrap();
        let view = array.view_mut();
        assert_eq!(view[LEN - 1], view[0]);
        drop(array);
        store(&txn, "other", 0, 1).unwrap();
        meanwhile(db, |txn| store(txn, name, 100, 9));
        assert!(!is_conflict(txn.commit()), "{name}");
    });
}

/// Each was changed and changed back while a transaction ran that wrote to it.
#[test]
fn a_change_that_was_undone_conflicts() {
    type Step = fn(&Transaction) -> Result<()>;
    let resize = |len| move |txn: &Transaction| txn.array::<u8, Ix1>("ones")?.resize(len);
    let (longer, shorter, back) = (resize(LEN + 5), resize(5), resize(LEN));
    let set: fn(&Transaction, u64) -> Result<()> =
        |txn, value| txn.array::<u8, Ix1>("ones")?.set_attr("x", json!(value));
    let write_hole: Step = |txn| store(txn, "holes", 7, 3);
    let write_last: Step = |txn| store(txn, "ones", LEN - 1, 3);
    let cases: [(&str, [Act<'_>; 2], Step); 6] = [
        ("a hole", [&|txn| store(txn, "holes", 9, 1), &|txn| store(txn, "holes", 9, 0)], write_hole),
        ("a length", [&longer, &back], write_last),
        ("an end", [&shorter, &back], write_last),
        ("a name", [&|txn| txn.rename("ones", "b"), &|txn| txn.rename("b", "ones")], write_last),
        ("an attribute", [&|txn| set(txn, 2), &|txn| set(txn, 1)], |txn| {
            txn.array::<u8, Ix1>("ones")?.set_attr("x", json!(1))
        }),
        ("a value", [&|txn| store(txn, "ones", 9, 2), &|txn| store(txn, "ones", 9, 1)], |txn| store(txn, "ones", 8, 1)),
    ];
    for (what, steps, attempt) in cases {
        each_way(|db, name| {
            if name == "ones" {
                return; // once for both
            }
            db.transact(|txn| txn.array::<u8, Ix1>("ones")?.set_attr("x", json!(1))).unwrap();
            let txn = db.begin().unwrap();
            attempt(&txn).unwrap();
            for step in steps {
                db.transact(|txn| step(txn)).unwrap();
            }
            assert!(is_conflict(txn.commit()), "{what}");
        });
    }
}

/// The lost update: removing or renaming an array counts as having read all of it.
#[test]
fn removing_and_renaming_conflict_with_whatever_was_changed_of_the_array() {
    let changes: [Act<'_>; 4] = [
        &|txn| txn.array::<u8, Ix1>("ones")?.set_attr("x", json!(2)),
        &|txn| store(txn, "ones", 7, 2),
        &|txn| store_again(txn, "ones", 7),
        &|txn| txn.array::<u8, Ix1>("ones")?.resize(LEN + 1),
    ];
    for change in changes {
        each_way(|db, name| {
            if name == "holes" {
                return;
            }
            let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
            meanwhile(db, change);
            one.remove("ones").unwrap();
            one.create::<u8, _>("ones", 1).unwrap().set_attr("x", json!(2)).unwrap();
            assert!(is_conflict(one.commit()));
            two.rename("ones", "new").unwrap();
            assert!(is_conflict(two.commit()));
        });
    }
}

fn rows() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let db = Database::open(dir.path().join("a.bigarray")).unwrap();
    let blocks = ArrayOptions::new().block_size(64 << 10);
    db.transact(|txn| {
        txn.create_with::<u8, _>("A", 4 << 16, &blocks)?.view_mut().fill(1);
        txn.create::<u8, _>("B", 10).map(drop)
    })
    .unwrap();
    (dir, db)
}

/// Depends on the second and third of four blocks of `A`, and changes `B`.
fn depend(txn: &Transaction) -> Result<()> {
    txn.array::<u8, Ix1>("A")?.depend_on(1 << 16..3 << 16)?;
    store(txn, "B", 0, 1)
}

#[test]
fn rows_that_a_transaction_depends_on_must_not_change() {
    let changes: [(Act<'_>, bool); 9] = [
        (&|txn| store(txn, "A", 1 << 16, 2), true),
        (&|txn| store_again(txn, "A", (3 << 16) - 1), true),
        (&|txn| txn.array::<u8, Ix1>("A")?.resize(2 << 16), true),
        (&|txn| txn.remove("A"), true),
        (&|txn| txn.rename("A", "C"), true),
        (&|txn| store(txn, "A", 0, 2), false),
        (&|txn| store(txn, "A", 3 << 16, 2), false),
        (&|txn| txn.array::<u8, Ix1>("A")?.append(bigarray::ndarray::Axis(0), Array1::ones(1 << 16).view()), false),
        (&|txn| txn.array::<u8, Ix1>("A")?.set_attr("x", json!(1)), false),
    ];
    for (n, (change, conflicts)) in changes.into_iter().enumerate() {
        let (_dir, db) = rows();
        let (writer, reader) = (db.begin().unwrap(), db.begin().unwrap());
        depend(&writer).unwrap();
        reader.array::<u8, Ix1>("A").unwrap().depend_on(1 << 16..3 << 16).unwrap();
        meanwhile(&db, change);
        assert_eq!(is_conflict(reader.commit()), conflicts, "change {n}, nothing written");
        assert_eq!(is_conflict(writer.commit()), conflicts, "change {n}");
        let stored = db.array::<u8, Ix1>("B").unwrap().view()[0];
        assert_eq!(stored, u8::from(!conflicts), "change {n}");
    }
}

#[test]
fn rows_that_are_depended_on_are_not_stored() {
    let (_dir, db) = rows();
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    depend(&one).unwrap();
    store(&two, "A", 1 << 16, 2).unwrap();
    one.commit().unwrap();
    two.commit().unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[1 << 16], 2);
}

#[test]
fn a_rollback_forgets_later_dependencies() {
    let (_dir, db) = rows();
    let change: fn(&Transaction) -> Result<()> = |txn| store(txn, "A", 1 << 16, 2);
    let mut txn = db.begin().unwrap();
    let savepoint = txn.savepoint().unwrap();
    depend(&txn).unwrap();
    txn.rollback(savepoint).unwrap();
    meanwhile(&db, change);
    assert!(!is_conflict(txn.commit()), "after the savepoint");

    let mut txn = db.begin().unwrap();
    depend(&txn).unwrap();
    let savepoint = txn.savepoint().unwrap();
    txn.array::<u8, Ix1>("A").unwrap().depend_on(..).unwrap();
    txn.rollback(savepoint).unwrap();
    meanwhile(&db, |txn| store(txn, "A", 0, 2));
    meanwhile(&db, change);
    assert!(is_conflict(txn.commit()), "before it");
}

#[test]
fn no_rows_are_nothing_to_depend_on_and_rows_behind_the_end_are_refused() {
    let (_dir, db) = rows();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<u8, Ix1>("A").unwrap();
    a.depend_on(7..7).unwrap();
    let error = |result: Result<()>| -> Error { result.unwrap_err() };
    let bad = 5..(4 << 16) + 1;
    let refused = error(a.depend_on(bad.clone()));
    assert_eq!(refused.to_string(), a.rows(bad).unwrap_err().to_string());
    drop(a);
    store(&txn, "B", 0, 1).unwrap();
    meanwhile(&db, |txn| store(txn, "A", 7, 2));
    txn.commit().unwrap();
}
