//! Arrays of `bool`: checked where they become `bool`.

use bigarray::ndarray::{Array2, Array3, Ix1, Ix2, Ix3, Order};
use bigarray::{Bool, Database};
use ndarray_npy::{read_npy, write_npy};

use crate::support::arrays::says;
use crate::support::{TestDb, small_blocks};

fn sieve(n: usize) -> bool {
    n.is_multiple_of(3)
}

#[test]
fn what_is_written_as_bool_is_read_as_bool() {
    let mut db = TestDb::new();
    let expected = Array2::from_shape_fn((300, 700), |(i, j)| sieve(i * 700 + j));
    db.commit(|txn| {
        let mut a = txn.create_with::<Bool, _>("A", (300, 700), &small_blocks()).unwrap();
        assert!(a.bools(..).unwrap().iter().all(|x| !x));
        a.view_mut().assign(&expected.mapv(Bool::from));
        assert_eq!(a.bools(..).unwrap(), expected);
        a.view_mut()[[0, 0]] = false.into();
        assert!(!a.bools(..).unwrap()[[0, 0]]);
        a.view_mut()[[0, 0]] = true.into();
    });
    db.reopen();
    let a = db.array::<Bool, Ix2>("A").unwrap();
    assert_eq!(a.info().dtype, "|b1");
    assert_eq!(a.bools(..).unwrap(), expected);
    assert_eq!(a.bools(17..190).unwrap(), expected.slice(ndarray::s![17..190, ..]));
    assert_eq!(a.bytes(17..190).unwrap(), expected.slice(ndarray::s![17..190, ..]).mapv(u8::from));
    assert!(a.bools(5..5).unwrap().is_empty());
    assert_eq!(a.view().mapv(Bool::get), expected);
}

#[test]
fn a_byte_that_is_no_bool_is_an_error_that_names_the_element() {
    for order in [Order::RowMajor, Order::ColumnMajor] {
        let db = TestDb::new();
        db.commit(|txn| {
            // More than is looked at at a time.
            let mut a = txn.create_with::<Bool, _>("A", (50, 300, 200), &small_blocks().order(order)).unwrap();
            a.view_mut()[[41, 299, 101]] = bytemuck::cast(7_u8);
            says(&a.bools(..).unwrap_err(), &["\"A\"", "[41, 299, 101]", "7", "true"]);
        });
        let a = db.array::<Bool, Ix3>("A").unwrap();
        let error = a.bools(..).unwrap_err();
        assert!(error.is_corrupt());
        says(&error, &["\"A\"", "[41, 299, 101]", "7", "true"]);
        let row = if order.is_row_major() { 41 } else { 101 };
        says(&a.bools(row..row + 1).unwrap_err(), &["[41, 299, 101]"]);
        assert!(a.bools(..row).unwrap().iter().all(|x| !x));
        assert!(a.bools(row + 1..).unwrap().iter().all(|x| !x));
        assert_eq!(a.view()[[41, 299, 101]].byte(), 7);
        assert_eq!(format!("{:?}", a.view()[[41, 299, 101]]), "Bool(7)");
    }
}

#[test]
#[should_panic(expected = "the byte 7 is neither 0 (false) nor 1 (true)")]
fn one_element_that_is_no_bool_panics() {
    let wrong: Bool = bytemuck::cast(7_u8);
    wrong.get();
}

#[test]
fn rows_are_checked_within_the_memory_budget() {
    let mut db = TestDb::new();
    const LEN: usize = 16 << 20;
    db.commit(|txn| {
        let mut a = txn.create_with::<Bool, _>("A", LEN, &small_blocks()).unwrap();
        a.view_mut().iter_mut().step_by(1000).for_each(|x| *x = true.into());
    });
    db.reopen_with(&Database::options().memory_budget(4 << 20));
    let a = db.array::<Bool, Ix1>("A").unwrap();
    let bools = a.bools(..).unwrap();
    assert_eq!(bools.iter().filter(|&&x| x).count(), LEN.div_ceil(1000));
    let memory = db.memory_use();
    assert!(memory.used_bytes <= memory.budget_bytes, "{memory:?}");
}

#[test]
fn numpy_s_files_of_bools_are_read_and_written() {
    let (db, dir) = (TestDb::new(), tempfile::tempdir().unwrap());
    let (from, to) = (dir.path().join("from.npy"), dir.path().join("to.npy"));
    let expected = Array3::from_shape_fn((7, 11, 13), |(i, j, k)| sieve(i * j + k));
    write_npy(&from, &expected).unwrap();
    db.commit(|txn| {
        let a = txn.read_npy::<Bool, Ix3>("A", &from).unwrap();
        assert_eq!(a.bools(..).unwrap(), expected);
        a.write_npy(&to).unwrap();
    });
    assert_eq!(read_npy::<_, Array3<bool>>(&to).unwrap(), expected);
}

#[test]
fn bytes_are_no_bools_and_bools_are_no_bytes() {
    let db = TestDb::new();
    db.commit(|txn| {
        txn.create::<u8, _>("bytes", 10).unwrap();
        txn.create::<Bool, _>("bools", 10).unwrap();
    });
    says(&db.array::<Bool, Ix1>("bytes").unwrap_err(), &["|u1", "|b1"]);
    says(&db.array::<u8, Ix1>("bools").unwrap_err(), &["|u1", "|b1"]);
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let db = TestDb::new();
    db.commit(|txn| txn.create::<Bool, _>("A", 10).map(drop)).unwrap();
    assert!(db.array::<Bool, Ix1>("A").unwrap().bools(5..11).unwrap_err().is_shape_mismatch());
}
