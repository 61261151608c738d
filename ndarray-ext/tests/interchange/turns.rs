//! Both commit to one branch by turns, look at the past, and tidy up behind each other.

use std::time::Duration;

use bigarray::{ArrayOptions, Codec, Database};
use ndarray::{Array1, Axis, Ix1, array};

use crate::python::Python;
use crate::support::arrays::says;
use crate::support::small_blocks;

fn log(db: &Database) -> Vec<String> {
    db.log(1000).unwrap().into_iter().map(|commit| commit.id).collect()
}

#[test]
fn commits_of_both_follow_each_other() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| txn.create::<i64, _>("counter", 3).map(drop)).unwrap();
    for turn in 0..5 {
        db.transact(|txn| {
            let mut counter = txn.array::<i64, Ix1>("counter")?;
            counter.view_mut()[0] += 1;
            counter.append(Axis(0), array![turn].view())
        })
        .unwrap();
        python.runs("count");
        let counter = db.array::<i64, Ix1>("counter").unwrap();
        assert_eq!(counter.view()[0], 2 * (turn + 1));
        assert_eq!(counter.len() as i64, 3 + 2 * (turn + 1));
        assert_eq!(counter.view().as_slice().unwrap()[counter.len() - 2..], [turn, -2 * (turn + 1)]);
    }
    let ids = log(&db);
    assert_eq!(ids.len(), 12);
    assert_eq!(python.runs("log"), ids.join(" "));
    assert_eq!(db.log(1).unwrap()[0].message, "counted");
}

#[test]
fn tags_and_states_of_the_past_are_the_same_on_both_sides() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    db.transact(|txn| txn.create::<i64, _>("counter", 3).map(drop)).unwrap();
    let first = python.runs("count");
    db.tag("ours").unwrap();
    let second = python.runs("count");
    python.runs("tag theirs");
    python.runs("count");
    assert_eq!(db.tags().unwrap(), [("ours".to_owned(), first.clone()), ("theirs".to_owned(), second)]);
    assert_eq!(python.runs("tagged ours"), first);
    for (tag, count) in [("ours", 1), ("theirs", 2)] {
        assert_eq!(db.at(tag).unwrap().array::<i64, Ix1>("counter").unwrap().view()[0], count);
        assert_eq!(python.runs(&format!("count_at {tag}")), count.to_string());
    }
    // The tip goes back, and then on in another way.
    python.runs("reset theirs");
    assert_eq!(db.array::<i64, Ix1>("counter").unwrap().view()[0], 2);
    db.transact(|txn| {
        txn.array::<i64, Ix1>("counter")?.view_mut()[0] += 100;
        Ok(())
    })
    .unwrap();
    assert_eq!(python.runs("count_at main"), "102");
    assert_eq!(db.array::<i64, Ix1>("counter").unwrap().view()[0], 102);
    // The newest commit is replaced.
    python.runs("amend");
    assert_eq!(db.array::<i64, Ix1>("counter").unwrap().view()[0], 103);
    assert_eq!(log(&db).len(), 5);
    db.transact(|txn| {
        txn.array::<i64, Ix1>("counter")?.view_mut()[0] += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(python.runs("count_at main"), "104");
}

/// Small chunks share objects: what collects garbage must see each reference.
#[test]
fn what_one_side_tidies_up_leaves_the_other_all_that_it_needs() {
    let Some(mut python) = Python::start() else { return };
    let db = python.database();
    let zstd = small_blocks().codec(Codec::Zstd { level: 3, shuffle: false });
    let values = |number: usize| Array1::from_shape_fn(5000, |n| (n * n * 7919 % 1_000_003 + number) as f64);
    let store = |number: usize, options: &ArrayOptions| {
        db.transact(|txn| {
            let mut array = txn.create_with::<f64, _>(&format!("a{number}"), 5000, options)?;
            array.view_mut().assign(&values(number));
            Ok(())
        })
        .unwrap();
    };
    db.transact(|txn| {
        for number in 0..20 {
            let mut array = txn.create_with::<f64, _>(&format!("a{number}"), 5000, &zstd)?;
            array.view_mut().assign(&values(number));
        }
        // Of these the first is in an object with the others.
        txn.create_with::<f64, _>("packed", 5000, &zstd)?.view_mut().assign(&values(21));
        txn.create_with::<f64, _>("alone", 5000, &small_blocks())?.view_mut().assign(&values(22));
        Ok(())
    })
    .unwrap();
    db.transact(|txn| txn.remove("packed").and_then(|()| txn.remove("alone"))).unwrap();
    store(20, &small_blocks());
    db.tag("all").unwrap();
    db.transact(|txn| (0..10).try_for_each(|number| txn.remove(&format!("a{number}")))).unwrap();
    let check = |db: &Database, at: &str, numbers: std::ops::Range<usize>| {
        let state = if at == "main" { db.snapshot() } else { db.at(at) };
        let state = state.unwrap();
        for number in numbers {
            assert_eq!(state.array::<f64, Ix1>(&format!("a{number}")).unwrap().view(), values(number), "a{number}");
        }
    };
    assert_eq!(python.runs("expire_and_collect"), "1", "chunks");
    let again = python.database();
    check(&again, "main", 10..21);
    check(&again, "all", 0..21);
    // The other way round. Python's commits in between refer to objects of both.
    python.runs("touch");
    again.compact(Duration::ZERO).unwrap();
    python.runs("check_touched");
    check(&python.database(), "main", 11..21);
    check(&python.database(), "all", 0..21);
}

#[test]
fn a_repository_that_python_made_is_a_database() {
    let Some(mut python) = Python::start() else { return };
    python.runs("create 2");
    let db = python.database();
    assert!(db.snapshot().unwrap().arrays().unwrap().is_empty());
    python.runs("make_counter");
    db.transact(|txn| {
        txn.array::<i64, Ix1>("counter")?.view_mut()[0] += 1;
        txn.create_with::<i64, _>("group/ours", 300_000, &small_blocks())?.view_mut().fill(4);
        Ok(())
    })
    .unwrap();
    assert_eq!(python.runs("count_at main"), "1");
    python.runs("check_ours");
}

/// Icechunk 1 stores another format.
#[test]
fn a_repository_of_an_older_format_is_refused() {
    let Some(mut python) = Python::start() else { return };
    python.runs("create 1");
    let opened = bigarray::Database::open_url(python.url()).and_then(|db| db.snapshot().map(drop));
    let error = opened.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    says(&error, &[python.url(), "format"]);
    eprintln!("{error}");
}
