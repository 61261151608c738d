//! Arguments that are never right, or not right for this array. The error names the array and the values, and nothing
//! changes.

use std::sync::Arc;

use bigarray::ndarray::{Array1, Array2, Axis, Ix1, Ix2, IxDyn};
use bigarray::{Database, Error, Result};
use bigarray_core::store::{ArrayChange, Bytes, Change, Store};
use bigarray_core::{ArrayId, BlockSize, Codec, Descriptor, Version};
use bigarray_store_lmdb::LmdbStore;

use crate::support::TestDb;

#[track_caller]
fn assert_says(error: &Error, words: &[&str]) {
    for word in words {
        assert!(error.to_string().contains(word), "{error}: does not say {word:?}");
    }
}

/// A of shape (4, 5), filled with ones.
fn ones() -> TestDb {
    let db = TestDb::new();
    db.transact(|txn| {
        txn.create::<f64, _>("A", (4, 5))?.view_mut().fill(1.0);
        Ok(())
    })
    .unwrap();
    db
}

fn assert_ones(db: &Database) {
    assert_eq!(db.array::<f64, Ix2>("A").unwrap().view(), Array2::<f64>::ones((4, 5)));
    assert_eq!(db.snapshot().unwrap().arrays().unwrap().len(), 1);
}

#[test]
fn shapes_that_overflow_are_too_large() {
    let db = ones();
    let txn = db.begin().unwrap();
    let shapes: [&[usize]; 6] = [
        &[usize::MAX],
        &[1 << 60],
        &[isize::MAX as usize / 8 + 1],
        &[1 << 32, 1 << 32],
        &[0, 1 << 40, 1 << 40],
        &[1 << 31, 3, 1 << 31],
    ];
    for shape in shapes {
        let error = txn.create::<f64, _>("B", shape).unwrap_err();
        assert!(error.is_too_large(), "{shape:?}: {error:?}");
        assert_says(&error, &["\"B\"", &format!("{shape:?}"), "8-byte"]);
    }
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    for rows in [usize::MAX, 1 << 60, isize::MAX as usize / 40 + 1] {
        let error = a.resize((rows, 5)).unwrap_err();
        assert!(error.is_too_large(), "{rows}: {error:?}");
        assert_says(&error, &["\"A\"", &rows.to_string()]);
        assert_eq!(a.shape(), [4, 5]);
    }
    assert_eq!(a.view(), Array2::<f64>::ones((4, 5)));
    drop(a);
    txn.commit().unwrap();
    assert_ones(&db);
}

#[test]
fn windows_and_growth_that_do_not_fit_are_shape_mismatches() {
    let db = ones();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    #[expect(clippy::reversed_empty_ranges)]
    for range in [3..6, 5..5, 4..3, 0..usize::MAX] {
        let all = [a.rows(range.clone()).map(drop), a.rows_mut(range.clone()).map(drop), a.prefetch(range.clone())];
        for error in all.map(Result::unwrap_err) {
            assert!(error.is_shape_mismatch(), "{range:?}: {error:?}");
            assert_says(&error, &["\"A\"", "4"]);
        }
    }
    assert_eq!(a.rows(4..4).unwrap().dim(), (0, 5));
    assert_eq!(a.rows(..=1).unwrap().dim(), (2, 5));
    for error in [
        a.append(Axis(1), Array2::zeros((4, 1)).view()).unwrap_err(),
        a.append(Axis(2), Array2::zeros((4, 5)).view()).unwrap_err(),
        a.append(Axis(0), Array2::zeros((1, 6)).view()).unwrap_err(),
        a.push(Axis(0), Array1::zeros(4).view()).unwrap_err(),
        a.push(Axis(1), Array1::zeros(4).view()).unwrap_err(),
        a.resize((4, 6)).unwrap_err(),
    ] {
        assert!(error.is_shape_mismatch(), "{error:?}");
        assert_says(&error, &["\"A\"", "[4, 5]"]);
    }
    assert_eq!((a.shape(), a.view()), (&[4, 5][..], Array2::<f64>::ones((4, 5)).view()));
    let error = a.reshape((3, 7)).unwrap_err();
    assert!(error.is_shape_mismatch(), "{error:?}");
    assert_says(&error, &["\"A\"", "[4, 5]", "[3, 7]"]);
    txn.commit().unwrap();
    assert_ones(&db);
}

#[test]
fn another_type_or_dimension_is_named_with_what_is_stored() {
    let db = ones();
    let txn = db.begin().unwrap();
    for error in [
        txn.array::<f32, Ix2>("A").unwrap_err(),
        db.array::<f32, Ix2>("A").unwrap_err(),
        txn.array::<u64, IxDyn>("A").unwrap_err(),
    ] {
        assert!(error.is_dtype_mismatch(), "{error:?}");
        assert_says(&error, &["\"A\"", "<f8"]);
    }
    for error in [txn.array::<f64, Ix1>("A").unwrap_err(), db.array::<f64, Ix1>("A").unwrap_err()] {
        assert!(error.is_shape_mismatch(), "{error:?}");
        assert_says(&error, &["\"A\"", "dimension 2", "dimension 1", "[4, 5]"]);
    }
    assert_eq!(txn.array::<f64, IxDyn>("A").unwrap().shape(), [4, 5]);
    let error = db.array::<f64, Ix2>("a").unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    assert_says(&error, &["\"a\""]);
}

struct Nothing;

impl Bytes for Nothing {
    fn with(&self, _: std::ops::Range<usize>, _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        unreachable!("nothing was written")
    }
}

/// An array as a machine of the other endianness makes it.
#[test]
fn foreign_endianness_is_refused_and_named() {
    let db = ones();
    let store: Arc<LmdbStore> = LmdbStore::open(&bigarray_store_lmdb::Options::new(db.path())).unwrap();
    let descriptor = Descriptor {
        id: ArrayId(0),
        dtype: ">f8".into(),
        item_size: 8,
        shape: vec![3],
        order: bigarray_core::Order::RowMajor,
        block_size: BlockSize::MAX,
        skip: 0,
        codec: Codec::None,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    };
    let created = ArrayChange {
        before: None,
        after: Some(("foreign".into(), descriptor)),
        dropped_from: None,
        dropped: Vec::new(),
        blocks: Vec::new(),
        attrs: Vec::new(),
        depends: Vec::new(),
        bytes: &Nothing,
    };
    let base = store.snapshot().unwrap();
    store.commit(&Change { base: &*base, arrays: vec![created], attrs: Vec::new(), spill_area: None }, None).unwrap();
    let error = db.array::<f64, Ix1>("foreign").unwrap_err();
    assert!(error.is_dtype_mismatch(), "{error:?}");
    assert_says(&error, &["\"foreign\"", ">f8", "<f8", "endianness"]);
}

/// A handle that is leaked leaves its transaction without what was written through it: it cannot be committed.
#[test]
fn a_leaked_handle_keeps_its_transaction_from_committing() {
    let db = ones();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    a.view_mut().fill(2.0);
    std::mem::forget(a);
    let error = txn.commit().unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    assert_ones(&db);
}
