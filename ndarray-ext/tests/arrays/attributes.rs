//! Attributes: JSON values beside an array.

use bigarray::serde_json::{Value, json};
use ndarray::{Ix1, array};

use crate::support::TestDb;
use crate::support::arrays::{says, store};

#[test]
fn attributes_round_trip_and_follow_the_array() {
    let mut db = TestDb::new();
    let values = [
        ("units", json!("°C")),
        ("scale", json!(0.01)),
        ("null", Value::Null),
        ("nested", json!({"a": [1, 2, {"b": true}], "ä\n": -7})),
        ("large", json!("x".repeat(10_000))),
    ];
    db.commit(|t| {
        let mut a = store(t, "sst", &array![1.0, 2.0]);
        assert!(a.attrs().is_empty());
        for (key, value) in &values {
            a.set_attr(key, value.clone()).unwrap();
        }
        assert_eq!(a.attrs()["units"], json!("°C"));
    });
    db.commit(|t| t.rename("sst", "temperature").unwrap());
    db.reopen();
    let a = db.array::<f64, Ix1>("temperature").unwrap();
    assert_eq!(a.attrs().len(), values.len());
    for (key, value) in &values {
        assert_eq!(a.attrs()[*key], *value);
    }
    db.commit(|t| {
        let mut a = t.array::<f64, Ix1>("temperature").unwrap();
        a.set_attr("units", json!("K")).unwrap();
        assert_eq!((&a.attrs()["units"], &a.attrs()["scale"]), (&json!("K"), &json!(0.01)));
    });
    assert_eq!(a.attrs()["units"], json!("°C")); // a snapshot's are its own
    assert_eq!(db.array::<f64, Ix1>("temperature").unwrap().attrs()["units"], json!("K"));
}

#[test]
fn attributes_set_in_a_closed_array_are_seen_when_it_is_opened_again() {
    let db = TestDb::new();
    db.commit(|t| {
        store(t, "A", &array![1u8]).set_attr("x", json!(1)).unwrap();
        let mut a = t.array::<u8, Ix1>("A").unwrap();
        assert_eq!(a.attrs()["x"], json!(1));
        a.set_attr("x", json!(2)).unwrap();
    });
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().attrs()["x"], json!(2));
}

#[test]
fn abort_discards_attributes() {
    let db = TestDb::new();
    db.commit(|t| store(t, "A", &array![1u8]).set_attr("x", json!(1)).unwrap());
    let t = db.begin().unwrap();
    t.array::<u8, Ix1>("A").unwrap().set_attr("x", json!(2)).unwrap();
    t.abort();
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().attrs()["x"], json!(1));
}

#[test]
fn only_the_same_attribute_conflicts() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &array![1u8, 2])));
    let set = |key: &str, value: i32| {
        let t = db.begin().unwrap();
        t.array::<u8, Ix1>("A").unwrap().set_attr(key, json!(value)).unwrap();
        t
    };
    let (x, y, again) = (set("x", 1), set("y", 2), set("x", 3));
    let data = db.begin().unwrap();
    data.array::<u8, Ix1>("A").unwrap().view_mut()[0] = 9;
    x.commit().unwrap();
    y.commit().unwrap();
    data.commit().unwrap();
    let error = again.commit().unwrap_err();
    assert!(error.is_conflict());
    says(&error, &["\"A\"", "\"x\""]);
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!((&a.attrs()["x"], &a.attrs()["y"], a.view()[0]), (&json!(1), &json!(2), 9));
}

#[test]
fn keys_that_cannot_be_stored_are_refused() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &array![1u8]);
        for key in ["", "a\0b", "a\nb", &"k".repeat(256)] {
            let error = a.set_attr(key, json!(1)).unwrap_err();
            assert!(error.is_invalid());
            says(&error, &["\"A\""]);
        }
        // What bigarray keeps of its own in Zarr's attributes.
        let is_refused = a.set_attr("bigarray", json!(1)).is_err_and(|error| error.is_invalid());
        assert_eq!(is_refused, db.is_at_url());
        a.set_attr(&"k".repeat(255), json!(1)).unwrap();
        assert_eq!(a.attrs().len(), if db.is_at_url() { 1 } else { 2 });
    });
    assert!(db.array::<u8, Ix1>("A").unwrap().attrs().contains_key(&"k".repeat(255)));
}

#[test]
fn a_removed_attribute_is_gone_and_its_removal_conflicts_with_another_value() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &array![1u8]);
        a.set_attr("x", json!(1)).unwrap();
        a.set_attr("y", json!(2)).unwrap();
    });
    let (removing, setting) = (db.begin().unwrap(), db.begin().unwrap());
    let mut a = removing.array::<u8, Ix1>("A").unwrap();
    assert_eq!(a.remove_attr("x").unwrap(), Some(json!(1)));
    assert_eq!((a.remove_attr("x").unwrap(), a.remove_attr("never").unwrap()), (None, None));
    assert_eq!(a.attrs().len(), 1);
    drop(a);
    setting.array::<u8, Ix1>("A").unwrap().set_attr("x", json!(7)).unwrap();
    removing.commit().unwrap();
    assert!(setting.commit().unwrap_err().is_conflict());
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(a.attrs().iter().collect::<Vec<_>>(), [(&"y".to_owned(), &json!(2))]);
    // Set and removed in one transaction, it was never there.
    db.commit(|t| {
        let mut a = t.array::<u8, Ix1>("A").unwrap();
        a.set_attr("z", json!(3)).unwrap();
        assert_eq!(a.remove_attr("z").unwrap(), Some(json!(3)));
    });
    assert_eq!(db.array::<u8, Ix1>("A").unwrap().attrs().len(), 1);
}

#[test]
fn what_an_array_is_and_its_attributes_are_known_without_opening_it() {
    let db = TestDb::new();
    db.commit(|t| store(t, "A", &array![[1u8, 2], [3, 4]]).set_attr("x", json!(1)).unwrap());
    let snapshot = db.snapshot().unwrap();
    db.commit(|t| t.array::<u8, ndarray::Ix2>("A").unwrap().set_attr("x", json!(2)).unwrap());
    assert_eq!(snapshot.info("A").unwrap(), snapshot.array::<u8, ndarray::Ix2>("A").unwrap().info());
    assert_eq!((snapshot.attrs("A").unwrap().len(), &snapshot.attrs("A").unwrap()["x"]), (1, &json!(1)));
    for error in [snapshot.info("B").unwrap_err(), snapshot.attrs("B").unwrap_err()] {
        assert!(error.is_not_found() && error.to_string().contains("\"B\""), "{error}");
    }
}

#[test]
fn attributes_of_the_database_are_committed_with_arrays_and_outlive_them() {
    let mut db = TestDb::new();
    assert!(db.snapshot().unwrap().database_attrs().unwrap().is_empty());
    let old = db.snapshot().unwrap();
    db.transact(|txn| {
        txn.set_database_attr("title", "SST")?;
        txn.set_database_attr("axes", json!({"time": [1, 2.5, null], "unit": "°C"}))?;
        txn.set_database_attr("gone", 1)?;
        assert_eq!(txn.remove_database_attr("gone")?, Some(1.into()));
        assert_eq!(txn.remove_database_attr("never")?, None);
        txn.create::<u8, _>("a", 10)?.set_attr("title", "of the array".into())
    })
    .unwrap();
    assert!(old.database_attrs().unwrap().is_empty(), "an older snapshot is as it was");
    drop(old);
    db.reopen();
    let attrs = db.snapshot().unwrap().database_attrs().unwrap();
    assert_eq!(Value::from(attrs), json!({"title": "SST", "axes": {"time": [1, 2.5, null], "unit": "°C"}}));
    assert_eq!(db.snapshot().unwrap().attrs("a").unwrap()["title"], "of the array");
    // An abort leaves them alone, and so does a removal of arrays.
    db.begin().unwrap().set_database_attr("title", "lost").unwrap();
    db.transact(|txn| {
        txn.remove("a")?;
        txn.remove_database_attr("axes").map(drop)
    })
    .unwrap();
    assert_eq!(Value::from(db.snapshot().unwrap().database_attrs().unwrap()), json!({"title": "SST"}));
}

#[test]
fn an_attribute_of_the_database_conflicts_with_itself_alone() {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.set_database_attr("title", "first")?;
        txn.create::<u8, _>("a", 10).map(drop)
    })
    .unwrap();
    let [same, other, array, removal] = [(); 4].map(|()| db.begin().unwrap());
    same.set_database_attr("title", "second").unwrap();
    other.set_database_attr("source", "buoys").unwrap();
    array.array::<u8, Ix1>("a").unwrap().set_attr("title", "of the array".into()).unwrap();
    assert_eq!(removal.remove_database_attr("title").unwrap(), Some("first".into()));
    db.transact(|txn| txn.set_database_attr("title", "third")).unwrap();
    let error = same.commit().unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("\"title\""), "{error}");
    assert!(removal.commit().unwrap_err().is_conflict());
    other.commit().unwrap();
    array.commit().unwrap();
    let attrs = db.snapshot().unwrap().database_attrs().unwrap();
    assert_eq!(Value::from(attrs), json!({"title": "third", "source": "buoys"}));
}

#[test]
fn a_rollback_takes_attributes_of_the_database_back() {
    let db = TestDb::new();
    db.transact(|txn| txn.set_database_attr("kept", 1)).unwrap();
    let mut txn = db.begin().unwrap();
    txn.set_database_attr("before", 2).unwrap();
    let savepoint = txn.savepoint().unwrap();
    txn.set_database_attr("before", 3).unwrap();
    txn.set_database_attr("after", 4).unwrap();
    txn.remove_database_attr("kept").unwrap();
    assert_eq!(Value::from(txn.database_attrs().unwrap()), json!({"before": 3, "after": 4}));
    txn.rollback(savepoint).unwrap();
    assert_eq!(Value::from(txn.database_attrs().unwrap()), json!({"kept": 1, "before": 2}));
    txn.commit().unwrap();
    assert_eq!(Value::from(db.snapshot().unwrap().database_attrs().unwrap()), json!({"kept": 1, "before": 2}));
}

#[test]
fn names_that_no_attribute_of_the_database_can_have_are_refused() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    for name in ["", "a\nb", &"n".repeat(256)] {
        let error = txn.set_database_attr(name, 1).unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("database"), "{error}");
    }
    txn.set_database_attr(&"n".repeat(255), 1).unwrap();
    txn.commit().unwrap();
    let read_only = db.another(&bigarray::Database::options().read_only(true));
    assert!(read_only.begin().unwrap().set_database_attr("a", 1).unwrap_err().is_invalid());
    assert_eq!(read_only.snapshot().unwrap().database_attrs().unwrap().len(), 1);
}
