//! A rollback restores bytes, shapes, attributes, and which arrays there are.

use bigarray::ndarray::{Array1, Ix1, Ix2, array};
use bigarray::serde_json::json;
use bigarray::{Database, Transaction};

use crate::support::arrays::{says, store};
use crate::support::{BLOCK, TestDb, small_blocks};

#[test]
fn savepoints_nest() {
    let db = TestDb::new();
    let mut t = db.begin().unwrap();
    let set = |t: &Transaction, x: i32| t.array::<i32, Ix1>("A").unwrap().view_mut().fill(x);
    let get = |t: &Transaction| t.array::<i32, Ix1>("A").unwrap().view()[99_999];
    t.create::<i32, _>("A", 100_000).unwrap();
    let zero = t.savepoint().unwrap();
    set(&t, 1);
    let one = t.savepoint().unwrap();
    set(&t, 2);
    let two = t.savepoint().unwrap();
    set(&t, 3);
    t.rollback(two).unwrap();
    assert_eq!(get(&t), 2);
    set(&t, 4);
    t.rollback(one).unwrap();
    assert_eq!(get(&t), 1);
    set(&t, 5);
    let five = t.savepoint().unwrap();
    set(&t, 6);
    t.rollback(zero).unwrap();
    assert_eq!(get(&t), 0);
    assert!(t.rollback(five).unwrap_err().is_invalid());
    assert_eq!(get(&t), 0);
    set(&t, 7);
    t.commit().unwrap();
    assert_eq!(db.array::<i32, Ix1>("A").unwrap().view().sum(), 700_000);
}

#[test]
fn going_back_restores_which_arrays_there_are() {
    let mut db = TestDb::new();
    db.commit(|t| {
        store(t, "kept", &array![1u8]).set_attr("unit", json!("K")).unwrap();
        store(t, "removed", &array![[2u16, 3]]);
        store(t, "renamed", &array![4u32]);
    });
    let mut t = db.begin().unwrap();
    store(&t, "new", &array![5u64]);
    let savepoint = t.savepoint().unwrap();
    t.array::<u8, Ix1>("kept").unwrap().set_attr("unit", json!("C")).unwrap();
    t.remove("removed").unwrap();
    store(&t, "removed", &array![1.5]);
    t.rename("renamed", "other").unwrap();
    t.rename("new", "renamed").unwrap();
    store(&t, "newer", &array![6i8]);
    t.rollback(savepoint).unwrap();

    let names = |t: &Transaction| t.arrays().unwrap().into_iter().map(|a| a.name).collect::<Vec<_>>();
    assert_eq!(names(&t), ["kept", "new", "removed", "renamed"]);
    t.commit().unwrap();
    db.reopen();
    let t = db.begin().unwrap();
    assert_eq!(names(&t), ["kept", "new", "removed", "renamed"]);
    let kept = t.array::<u8, Ix1>("kept").unwrap();
    assert_eq!((kept.attrs()["unit"].as_str(), kept.view()[0]), (Some("K"), 1));
    assert_eq!(t.array::<u16, Ix2>("removed").unwrap().view(), array![[2, 3]]);
    assert_eq!(t.array::<u32, Ix1>("renamed").unwrap().view()[0], 4);
    assert_eq!(t.array::<u64, Ix1>("new").unwrap().view()[0], 5);
}

#[test]
fn savepoints_are_invisible_to_other_transactions() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &Array1::from_elem(3 * BLOCK, 1u8))));
    let mut t = db.begin().unwrap();
    t.array::<u8, Ix1>("A").unwrap().view_mut().fill(2);
    store(&t, "B", &array![1u8]);
    let savepoint = t.savepoint().unwrap();
    let elsewhere = |db: &Database| {
        let s = db.snapshot().unwrap();
        assert_eq!(s.arrays().unwrap().len(), 1);
        assert!(s.array::<u8, Ix1>("A").unwrap().view().iter().all(|&x| x == 1));
    };
    elsewhere(&db);
    elsewhere(&db.another(&Database::options()));
    t.array::<u8, Ix1>("A").unwrap().view_mut().fill(3);
    t.rollback(savepoint).unwrap();
    elsewhere(&db);
    t.abort();
    elsewhere(&db);
}

/// Writes that were rolled back conflict with no other transaction; the others do.
#[test]
fn rolled_back_writes_do_not_conflict() {
    let db = TestDb::new();
    db.commit(|t| {
        store(t, "A", &array![1]);
        store(t, "B", &array![1]);
    });
    let set = |t: &Transaction, name: &str, x: i32| t.array::<i32, Ix1>(name).unwrap().view_mut()[0] = x;
    for (name, conflicts, value) in [("A", false, 2), ("B", true, 3)] {
        let mut t = db.begin().unwrap();
        set(&t, "B", value);
        let savepoint = t.savepoint().unwrap();
        set(&t, "A", 5);
        t.rollback(savepoint).unwrap();
        db.commit(|other| set(other, name, 4));
        let outcome = t.commit();
        assert_eq!(outcome.as_ref().is_err_and(bigarray::Error::is_conflict), conflicts, "{name}: {outcome:?}");
    }
    assert_eq!(db.array::<i32, Ix1>("A").unwrap().view()[0], 4);
    assert_eq!(db.array::<i32, Ix1>("B").unwrap().view()[0], 4);
}

#[test]
fn savepoints_of_others_and_released_ones_are_invalid() {
    let db = TestDb::new();
    let (mut one, mut two) = (db.begin().unwrap(), db.begin().unwrap());
    store(&one, "A", &array![1u8]);
    store(&two, "A", &array![2u8]);
    let (of_one, of_two) = (one.savepoint().unwrap(), two.savepoint().unwrap());
    for error in [one.rollback(of_two).unwrap_err(), two.rollback(of_one).unwrap_err()] {
        assert!(error.is_invalid());
        says(&error, &["savepoint"]);
    }
    assert_eq!(one.array::<u8, Ix1>("A").unwrap().view()[0], 1);
    assert_eq!(two.array::<u8, Ix1>("A").unwrap().view()[0], 2);
    one.commit().unwrap();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().view()[0], 1);
}

#[test]
fn arrays_shrunk_and_grown_come_back_whole() {
    let db = TestDb::new();
    let numbers = Array1::from_iter(0..3 * BLOCK as i64 / 8 + 5);
    db.commit(|t| drop(store(t, "A", &numbers)));
    let mut t = db.begin().unwrap();
    let savepoint = t.savepoint().unwrap();
    let mut a = t.array::<i64, Ix1>("A").unwrap();
    a.resize(7).unwrap();
    a.resize(numbers.len() + 9).unwrap();
    assert_eq!(a.view().sum(), 21);
    drop(a);
    let shrunk = t.savepoint().unwrap();
    t.array::<i64, Ix1>("A").unwrap().view_mut().fill(8);
    t.rollback(shrunk).unwrap();
    assert_eq!(t.array::<i64, Ix1>("A").unwrap().view().sum(), 21);
    t.rollback(savepoint).unwrap();
    assert_eq!(t.array::<i64, Ix1>("A").unwrap().view(), numbers);
    t.commit().unwrap();
    assert_eq!(db.array::<i64, Ix1>("A").unwrap().view(), numbers);
}

/// The span is another one then, and shows the spilled pages, not what was cut off.
#[test]
fn what_was_written_where_an_array_had_been_shorter_comes_back() {
    let db = TestDb::new();
    let len = 4 * BLOCK / 8;
    db.commit(|t| t.create_with::<i64, _>("A", len, &small_blocks()).unwrap().view_mut().fill(1));
    let mut t = db.begin().unwrap();
    let mut a = t.array::<i64, Ix1>("A").unwrap();
    a.resize(5).unwrap();
    a.resize(len).unwrap();
    a.rows_mut(2 * BLOCK / 8..).unwrap().fill(2);
    drop(a);
    let savepoint = t.savepoint().unwrap();
    t.array::<i64, Ix1>("A").unwrap().view_mut().fill(3);
    t.rollback(savepoint).unwrap();
    assert_eq!(t.array::<i64, Ix1>("A").unwrap().view().sum(), 5 + len as i64);
    t.commit().unwrap();
    assert_eq!(db.array::<i64, Ix1>("A").unwrap().view().sum(), 5 + len as i64);
}
