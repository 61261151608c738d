//! Calls that the API refuses, by an error that names the reason. Nothing changes.

use bigarray::{ArrayOptions, Codec, Database};
use ndarray::{Ix1, Ix2, IxDyn, array};

use crate::support::TestDb;
use crate::support::arrays::{says, store};
use crate::support::child::{self, Child, this_test};

#[test]
fn names_that_cannot_be_stored_are_refused() {
    let mut db = TestDb::new();
    db.commit(|t| {
        store(t, "A", &array![1u8]);
        for name in ["", "a\0b", "a\nb", "tab\there", "\u{7f}", &"n".repeat(256), &"ä".repeat(128)] {
            let error = t.create::<u8, _>(name, 1).unwrap_err();
            assert!(error.is_invalid(), "{error}");
            let error = t.rename("A", name).unwrap_err();
            assert!(error.is_invalid(), "{error}");
        }
        says(&t.create::<u8, _>("line\nbreak", 1).unwrap_err(), &["\"line\\nbreak\"", "control character"]);
        says(&t.create::<u8, _>(&"n".repeat(256), 1).unwrap_err(), &["256 bytes", "255"]);
    });
    let longest = "n".repeat(255);
    let allowed = ["a b", "a/b/c", "Größe 大きさ 🌊", "..", ".", longest.as_str(), "'\"\\"];
    db.commit(|t| {
        for name in allowed {
            store(t, name, &array![7u8]);
        }
    });
    db.reopen();
    for name in allowed {
        assert_eq!(db.array::<u8, Ix1>(name).unwrap().view()[0], 7, "{name}");
    }
}

#[test]
fn unknown_names_are_not_found() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    for error in [
        t.array::<u8, Ix1>("Z").map(drop).unwrap_err(),
        t.remove("Z").unwrap_err(),
        t.rename("Z", "other").unwrap_err(),
        db.array::<u8, Ix1>("Z").map(drop).unwrap_err(),
    ] {
        assert!(error.is_not_found());
        says(&error, &["\"Z\""]);
    }
    // A name that no array can have is said to be one.
    for name in ["", "a\0b", &"n".repeat(5000)] {
        assert!(t.array::<u8, Ix1>(name).unwrap_err().is_invalid());
        assert!(t.remove(name).unwrap_err().is_invalid());
        assert!(db.array::<u8, Ix1>(name).unwrap_err().is_invalid());
    }
}

#[test]
fn invalid_block_sizes_are_refused() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    for bytes in [0, 1, 4096, 100_000, 4 << 20, usize::MAX] {
        let error = t.create_with::<u8, _>("A", 1, &ArrayOptions::new().block_size(bytes)).unwrap_err();
        assert!(error.is_invalid());
        says(&error, &["\"A\"", &bytes.to_string()]);
    }
}

#[test]
fn invalid_compression_levels_are_refused() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    for level in [0, -1, 23, i32::MIN, i32::MAX] {
        let options = ArrayOptions::new().codec(Codec::Zstd { level, shuffle: false });
        let error = t.create_with::<u8, _>("A", 1, &options).unwrap_err();
        assert!(error.is_invalid());
        says(&error, &["\"A\"", "1 to 22", &level.to_string()]);
    }
}

#[test]
fn a_budget_below_two_blocks_is_refused_with_the_least_that_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    for bytes in [0, 1, 2 << 20, (4 << 20) - 1] {
        let error = Database::options().memory_budget(bytes).open(&path).unwrap_err();
        assert!(error.is_invalid());
        says(&error, &["memory_budget", &format!("{bytes} bytes"), "4194304"]);
    }
    assert!(!path.exists());
    Database::options().memory_budget(4 << 20).open(&path).unwrap();
}

#[test]
fn a_budget_of_the_environment_is_a_default_and_checked() {
    let Some(value) = child::role() else {
        for value in ["64 MB", "1M", "64M"] {
            let mut command = child::command(this_test!(), value);
            command.env("BIGARRAY_MEMORY_BUDGET", value);
            Child::start(command).finish();
        }
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.bigarray");
    match Database::open(&path) {
        Ok(_) => assert_eq!(value, "64M"),
        Err(error) => {
            assert!(error.is_invalid() && value != "64M", "{error}");
            says(&error, &["BIGARRAY_MEMORY_BUDGET", &value]);
            assert!(!path.exists());
        }
    }
    // Options in code come first.
    Database::options().memory_budget(8 << 20).open(&path).unwrap();
}

#[test]
fn rows_beyond_the_end_are_a_shape_mismatch() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = store(t, "A", &ndarray::Array2::from_elem((10, 2), 1u8));
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        for range in [0..11, 11..11, 5..3, 0..usize::MAX] {
            for error in [
                a.rows(range.clone()).map(drop).unwrap_err(),
                a.rows_mut(range.clone()).map(drop).unwrap_err(),
                a.prefetch(range.clone()).unwrap_err(),
            ] {
                assert!(error.is_shape_mismatch());
                says(&error, &["\"A\"", "length 10"]);
            }
        }
    });
}

#[test]
fn an_array_is_open_once() {
    let db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &array![1u8])));
    let t = db.begin().unwrap();
    let a = t.array::<u8, Ix1>("A").unwrap();
    let error = t.array::<u8, IxDyn>("A").unwrap_err();
    assert!(error.is_in_use());
    says(&error, &["\"A\""]);
    for error in [t.remove("A").unwrap_err(), t.rename("A", "B").unwrap_err()] {
        assert!(error.is_in_use());
        says(&error, &["\"A\""]);
    }
    drop(a);
    t.rename("A", "B").unwrap();
    let b = t.array::<u8, Ix1>("B").unwrap();
    assert!(t.remove("B").unwrap_err().is_in_use());
    drop(b);
    t.remove("B").unwrap();
    assert!(t.array::<u8, Ix1>("B").unwrap_err().is_not_found());
    // Another transaction is not concerned.
    db.begin().unwrap().array::<u8, Ix1>("A").unwrap();
}

#[test]
fn taken_names_are_refused() {
    let db = TestDb::new();
    db.commit(|t| {
        store(t, "A", &array![1u8]);
        store(t, "B", &array![2u8]);
        let error = t.create::<f64, _>("A", 1).unwrap_err();
        assert!(error.is_already_exists());
        says(&error, &["\"A\""]);
        let error = t.rename("A", "B").unwrap_err();
        assert!(error.is_already_exists());
        says(&error, &["\"B\""]);
    });
    db.commit(|t| {
        // A swap through a third name, and a name given up and taken again.
        t.rename("A", "C").unwrap();
        t.rename("B", "A").unwrap();
        t.rename("C", "B").unwrap();
        t.remove("A").unwrap();
        store(t, "A", &array![3.5f64]);
    });
    assert_eq!(db.array::<u8, Ix1>("B").unwrap().view()[0], 1);
    assert_eq!(db.array::<f64, Ix1>("A").unwrap().view()[0], 3.5);
}

#[test]
fn a_read_only_database_reads_and_refuses_changes() {
    let mut db = TestDb::new();
    db.commit(|t| drop(store(t, "A", &array![[1.0, 2.0]])));
    db.reopen();
    let reader = db.another(&Database::options().read_only(true));
    assert_eq!(reader.array::<f64, Ix2>("A").unwrap().view().sum(), 3.0);
    let t = reader.begin().unwrap();
    assert_eq!(t.array::<f64, Ix2>("A").unwrap().view().sum(), 3.0);
    for error in
        [t.create::<u8, _>("B", 1).map(drop).unwrap_err(), t.remove("A").unwrap_err(), t.rename("A", "B").unwrap_err()]
    {
        assert!(error.is_invalid());
        says(&error, &["reading only", db.name()]);
    }
    t.commit().unwrap();
    let t = reader.begin().unwrap();
    t.array::<f64, Ix2>("A").unwrap().view_mut()[[0, 0]] = 5.0;
    t.commit().unwrap_err();
    assert_eq!(db.array::<f64, Ix2>("A").unwrap().view()[[0, 0]], 1.0);
}

#[test]
fn zero_resolvers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Database::options().resolvers(0).open(dir.path().join("a.bigarray")).unwrap_err();
    assert!(error.is_invalid());
    assert!(!dir.path().join("a.bigarray").exists());
}

#[test]
fn debug_of_every_handle_is_short() {
    let db = TestDb::new();
    let t = db.begin().unwrap();
    let a = t.create::<f64, _>("A", 1usize << 40).unwrap();
    let text = format!("{a:?}");
    assert!(text.contains("\"A\"") && text.contains("1099511627776") && text.len() < 200, "{text}");
    drop(a);
    let s = db.snapshot().unwrap();
    for text in [format!("{t:?}"), format!("{s:?}"), format!("{:?}", *db)] {
        assert!(text.contains(db.name()) && text.len() < 200, "{text}");
    }
    t.commit().unwrap();
    let text = format!("{:?}", db.array::<f64, Ix1>("A").unwrap());
    assert!(text.contains("<f8") && text.len() < 200, "{text}");
}
