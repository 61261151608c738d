//! What the transactions and snapshots of one process see of each other.

use std::sync::Mutex;

use bigarray::ndarray::{Array1, Axis, Ix1, array};
use bigarray::{ArrayInfo, Database, Error, Result, Transaction};
use serde_json::{Map, Value, json};

use crate::support::random::{Random, hash};
use crate::support::{BLOCK, TestDb, small_blocks};

/// Two transactions on the same state; the first commits, and what becomes of the second is returned.
fn race(
    db: &Database,
    first: impl Fn(&Transaction) -> Result<()>,
    second: impl Fn(&Transaction) -> Result<()>,
) -> Result<()> {
    let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
    first(&one).unwrap();
    second(&two).unwrap();
    one.commit().unwrap();
    two.commit()
}

fn write(name: &str, at: usize, value: u8) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| {
        txn.array::<u8, Ix1>(name)?.view_mut()[at] = value;
        Ok(())
    }
}

fn resize(name: &str, len: usize) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| txn.array::<u8, Ix1>(name)?.resize(len)
}

fn create(name: &str) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| txn.create::<u8, _>(name, 10).map(drop)
}

fn remove(name: &str) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| txn.remove(name)
}

fn rename(from: &str, to: &str) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| txn.rename(from, to)
}

fn set_attr(name: &str, key: &str, value: u64) -> impl Fn(&Transaction) -> Result<()> {
    move |txn| txn.array::<u8, Ix1>(name)?.set_attr(key, json!(value))
}

/// Arrays A and B of four blocks of ones each.
fn two_arrays() -> TestDb {
    let db = TestDb::new();
    db.transact(|txn| {
        for name in ["A", "B"] {
            txn.create_with::<u8, _>(name, 4 * BLOCK, &small_blocks())?.view_mut().fill(1);
        }
        Ok(())
    })
    .unwrap();
    db
}

/// All that there is.
fn everything(db: &Database) -> Vec<(ArrayInfo, Map<String, Value>, Vec<u8>)> {
    let snapshot = db.snapshot().unwrap();
    let contents = |info: ArrayInfo| {
        let array = snapshot.array::<u8, Ix1>(&info.name).unwrap();
        (info, array.attrs().clone(), array.view().to_vec())
    };
    snapshot.arrays().unwrap().into_iter().map(contents).collect()
}

#[track_caller]
fn assert_conflict(outcome: Result<()>, array: &str) {
    let error: Error = outcome.expect_err("a conflict");
    assert!(error.is_conflict(), "{error:?}");
    assert!(error.to_string().contains(&format!("{array:?}")), "{error} does not name {array}");
}

#[test]
fn the_second_writer_of_a_block_conflicts_and_stores_nothing() {
    let db = two_arrays();
    let outcome = race(&db, write("A", 0, 7), |txn| {
        write("A", BLOCK - 1, 8)(txn)?;
        write("B", 3 * BLOCK, 8)(txn)?;
        create("C")(txn)?;
        set_attr("B", "unit", 8)(txn)?;
        resize("B", 4 * BLOCK + 8)(txn)
    });
    assert_conflict(outcome, "A");
    let all = everything(&db);
    let mut first = vec![1; 4 * BLOCK];
    first[0] = 7;
    assert_eq!(all.iter().map(|(info, ..)| &*info.name).collect::<Vec<_>>(), ["A", "B"]);
    assert!(all[0].2 == first && all[1].2 == vec![1; 4 * BLOCK]);
    assert!(all.iter().all(|(_, attrs, _)| attrs.is_empty()));
}

#[test]
fn writers_of_different_blocks_both_land() {
    let db = two_arrays();
    race(&db, write("A", BLOCK - 1, 7), write("A", BLOCK, 8)).unwrap();
    race(&db, write("A", 0, 9), write("B", 0, 9)).unwrap();
    let a = db.array::<u8, Ix1>("A").unwrap();
    let v = a.view();
    assert_eq!((v[0], v[BLOCK - 1], v[BLOCK], v[BLOCK + 1]), (9, 7, 8, 1));
}

#[test]
fn changes_of_shape_and_name_conflict_with_whatever_else_happens_to_the_array() {
    type Change<'a> = (&'a str, &'a dyn Fn(&Transaction) -> Result<()>);
    let changes: [Change<'_>; 4] = [
        ("write", &write("A", 0, 7)),
        ("resize", &resize("A", 5)),
        ("grow", &resize("A", 5 * BLOCK)),
        ("remove", &remove("A")),
    ];
    for (first_name, first) in changes {
        for (second_name, second) in changes {
            println!("{first_name}, then {second_name}");
            let db = two_arrays();
            let outcome = race(&db, first, second);
            // The written blocks are none of those that growing adds.
            if (first_name, second_name) == ("write", "grow") {
                outcome.unwrap();
            } else {
                assert_conflict(outcome, "A");
            }
        }
    }
}

#[test]
fn a_renamed_array_conflicts_with_its_writers() {
    let db = two_arrays();
    assert_conflict(race(&db, rename("A", "Z"), write("A", 0, 7)), "A");
    assert_conflict(race(&db, write("Z", 0, 7), resize("Z", 9)), "Z");
    assert_eq!(db.array::<u8, Ix1>("Z").unwrap().view()[0], 7);
    assert!(db.array::<u8, Ix1>("A").unwrap_err().is_not_found());
}

#[test]
fn a_name_taken_twice_conflicts() {
    for second in [&create("N") as &dyn Fn(&Transaction) -> Result<()>, &rename("B", "N")] {
        let db = two_arrays();
        assert_conflict(race(&db, create("N"), second), "N");
        let db = two_arrays();
        assert_conflict(race(&db, rename("A", "N"), second), "N");
    }
}

/// Snapshot isolation: what a transaction only read does not count.
#[test]
fn write_skew_passes() {
    let db = two_arrays();
    let clear_if_other_is_set = |mine: &'static str, other: &'static str| {
        move |txn: &Transaction| {
            assert_eq!(txn.array::<u8, Ix1>(other)?.view()[0], 1);
            write(mine, 0, 0)(txn)
        }
    };
    race(&db, clear_if_other_is_set("A", "B"), clear_if_other_is_set("B", "A")).unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[0] + db.array::<u8, Ix1>("B").unwrap().view()[0], 0);
}

/// Snapshots of many states, each touched for the first time when its pages have long been replaced and freed ones
/// reused.
#[test]
fn snapshots_show_their_state_however_late_they_are_touched() {
    const BLOCKS: usize = 48;
    let db = TestDb::new();
    let mut random = Random::new(1);
    let mut model = random.bytes(BLOCKS * BLOCK);
    db.transact(|txn| {
        let mut a = txn.create_with::<u8, _>("A", model.len(), &small_blocks())?;
        a.view_mut().assign(&Array1::from(model.clone()));
        Ok(())
    })
    .unwrap();
    let mut held = Vec::new();
    for round in 0..60 {
        let array = db.array::<u8, Ix1>("A").unwrap();
        if round % 3 == 0 {
            // Some blocks are there before the commits to come.
            for _ in 0..4 {
                let at = random.within(0..model.len());
                assert_eq!(array.view()[at], model[at]);
            }
        }
        held.push((array, hash(&model)));
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            let mut view = a.view_mut();
            for _ in 0..6 {
                let start = random.within(0..model.len());
                let len = random.within(1..BLOCK).min(model.len() - start);
                let bytes = random.bytes(len);
                model[start..start + len].copy_from_slice(&bytes);
                view.as_slice_mut().unwrap()[start..start + len].copy_from_slice(&bytes);
            }
            Ok(())
        })
        .unwrap();
        if held.len() > 8 {
            let (array, expected) = held.swap_remove(random.within(0..8));
            assert_eq!(hash(array.view().as_slice().unwrap()), expected, "round {round}");
        }
    }
    for (array, expected) in held {
        assert_eq!(hash(array.view().as_slice().unwrap()), expected);
    }
    assert_eq!(hash(db.array::<u8, Ix1>("A").unwrap().view().as_slice().unwrap()), hash(&model));
}

#[test]
fn handles_of_an_old_and_a_new_state_live_side_by_side() {
    let db = two_arrays();
    let old = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(old.view()[0], 1);
    db.transact(|txn| write("A", 0, 2)(txn)).unwrap();
    let new = db.array::<u8, Ix1>("A").unwrap();
    let txn = db.begin().unwrap();
    let mut open = txn.array::<u8, Ix1>("A").unwrap();
    open.view_mut()[0] = 3;
    db.transact(|txn| write("A", 1, 4)(txn)).unwrap();
    let newest = db.array::<u8, Ix1>("A").unwrap();
    for _ in 0..3 {
        let seen = [&old, &new, &newest].map(|a| [a.view()[0], a.view()[1], a.view()[3 * BLOCK]]);
        assert_eq!(seen, [[1, 1, 1], [2, 1, 1], [2, 4, 1]]);
        assert_eq!((open.view()[0], open.view()[1]), (3, 1));
    }
    drop((old, open));
    assert_conflict(txn.commit(), "A");
    // A span that is free now is brought up to date before a view of it is made.
    db.transact(|txn| write("A", 3 * BLOCK, 5)(txn)).unwrap();
    let last = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!([last.view()[0], last.view()[1], last.view()[3 * BLOCK]], [2, 4, 5]);
    assert_eq!([new.view()[0], new.view()[1], new.view()[3 * BLOCK]], [2, 1, 1]);
}

/// One thing that a transaction of the test below does; the model does the same.
#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Append(Vec<u8>),
    Resize(usize),
}

fn random_ops(random: &mut Random, mut len: usize) -> Vec<Op> {
    let mut ops = Vec::new();
    for _ in 0..random.within(1..4) {
        let op = match random.within(0..8) {
            0 => Op::Resize(random.within(1..8 * BLOCK)),
            1 => {
                let n = random.within(0..BLOCK);
                Op::Append(random.bytes(n))
            }
            _ => {
                let start = random.within(0..len);
                let n = random.within(1..3 * BLOCK).min(len - start);
                Op::Write(start, random.bytes(n))
            }
        };
        len = match &op {
            Op::Write(..) => len,
            Op::Append(bytes) => len + bytes.len(),
            Op::Resize(to) => *to,
        };
        ops.push(op);
    }
    ops
}

/// Threads change one array with `transact`, in the order that a counter records, over spans that are used again and
/// again; the same done to a `Vec` in that order gives every state that a snapshot ever showed.
#[test]
fn many_threads_through_reused_spans_equal_a_vec() {
    const START: usize = 4 * BLOCK;
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create::<u64, _>("turn", 1)?;
        txn.create_with::<u8, _>("A", START, &small_blocks()).map(drop)
    })
    .unwrap();
    let log = Mutex::new(Vec::new());
    let seen = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (db, log, seen) = (&*db, &log, &seen);
            scope.spawn(move || {
                let mut random = Random::new(100 + thread);
                for _ in 0..30 {
                    let done = db
                        .transact(|txn| {
                            let mut counter = txn.array::<u64, Ix1>("turn")?;
                            counter.view_mut()[0] += 1;
                            let mut a = txn.array::<u8, Ix1>("A")?;
                            let ops = random_ops(&mut random, a.len());
                            for op in &ops {
                                match op {
                                    Op::Write(start, bytes) => {
                                        let mut rows = a.rows_mut(*start..start + bytes.len())?;
                                        rows.as_slice_mut().unwrap().copy_from_slice(bytes);
                                    }
                                    Op::Append(bytes) => a.append(Axis(0), Array1::from(bytes.clone()).view())?,
                                    Op::Resize(len) => a.resize(*len)?,
                                }
                            }
                            Ok((counter.view()[0], ops))
                        })
                        .unwrap();
                    log.lock().unwrap().push(done);
                    let snapshot = db.snapshot().unwrap();
                    let turn = snapshot.array::<u64, Ix1>("turn").unwrap().view()[0];
                    let a = snapshot.array::<u8, Ix1>("A").unwrap();
                    seen.lock().unwrap().push((turn, hash(a.view().as_slice().unwrap())));
                }
            });
        }
    });
    let mut log = log.into_inner().unwrap();
    log.sort_by_key(|(turn, _)| *turn);
    let mut model = vec![0; START];
    let mut hashes = vec![hash(&model)];
    for (at, (turn, ops)) in log.iter().enumerate() {
        assert_eq!(*turn, at as u64 + 1, "each turn is taken once");
        for op in ops {
            match op {
                Op::Write(start, bytes) => model[*start..start + bytes.len()].copy_from_slice(bytes),
                Op::Append(bytes) => model.extend(bytes),
                Op::Resize(len) => model.resize(*len, 0),
            }
        }
        hashes.push(hash(&model));
    }
    assert_eq!(log.len(), 90);
    for (turn, hash) in seen.into_inner().unwrap() {
        assert_eq!(hash, hashes[turn as usize], "the state after turn {turn}");
    }
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view(), Array1::from(model));
}

#[test]
fn a_transaction_sees_its_own_changes_and_no_others() {
    let db = two_arrays();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<u8, Ix1>("A").unwrap();
    a.view_mut()[5] = 9;
    a.append(Axis(0), array![3, 4].view()).unwrap();
    drop(a);
    db.transact(|other| write("B", 0, 2)(other)).unwrap();
    let a = txn.array::<u8, Ix1>("A").unwrap();
    assert_eq!((a.len(), a.view()[5], a.view()[4 * BLOCK + 1]), (4 * BLOCK + 2, 9, 4));
    assert_eq!(txn.array::<u8, Ix1>("B").unwrap().view()[0], 1);
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().len(), 4 * BLOCK);
}
