//! Arrays without elements.

use bigarray::{ArrayOptions, Element};
use ndarray::{Array, Array1, Array2, Axis, Dimension, IntoDimension, Ix1, Ix2, IxDyn, Order};
use num_complex::Complex;

use crate::support::TestDb;

fn empty<T: Element, Sh: IntoDimension + Clone>(shape: Sh, order: Order) {
    let mut db = TestDb::new();
    let dim = shape.clone().into_dimension();
    db.commit(|t| {
        let mut a = t.create_with::<T, _>("A", shape.clone(), &ArrayOptions::new().order(order)).unwrap();
        assert!(a.is_empty() && a.view().is_empty());
        assert_eq!(a.view_mut().raw_dim(), dim);
        a.prefetch(0..0).unwrap();
    });
    db.reopen();
    let a = db.array::<T, Sh::Dim>("A").unwrap();
    let view = a.view();
    assert_eq!(view.raw_dim(), dim);
    assert!(view.as_ptr().is_aligned() && !view.as_ptr().is_null());
    assert_eq!(a.nbytes(), 0);
    assert!(a.rows(0..0).unwrap().is_empty());
    a.prefetch(..).unwrap();
    let mut bytes = Vec::new();
    a.write_to(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    // What covers the growth axis covers nothing else.
    let rows: usize = a.blocks().map(|r| a.rows(r).unwrap().len()).sum();
    assert_eq!(rows, 0);
}

fn every_shape<T: Element>() {
    for order in [Order::RowMajor, Order::ColumnMajor] {
        empty::<T, _>(0, order);
        empty::<T, _>((0, 3), order);
        empty::<T, _>((3, 0), order);
        empty::<T, _>((0, 0, 0), order);
        empty::<T, _>(IxDyn(&[2, 0, 5]), order);
    }
}

#[test]
fn every_type_and_shape_can_be_empty() {
    every_shape::<u8>();
    every_shape::<i16>();
    every_shape::<f32>();
    every_shape::<f64>();
    every_shape::<i128>();
    every_shape::<Complex<f64>>();
    every_shape::<half::f16>();
}

#[test]
fn nothing_appended_changes_nothing() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = t.create::<f64, _>("A", (0, 3)).unwrap();
        a.append(Axis(0), Array2::zeros((0, 3)).view()).unwrap();
        assert_eq!(a.shape(), [0, 3]);
        assert!(a.append(Axis(0), Array2::zeros((0, 4)).view()).unwrap_err().is_shape_mismatch());
        // Rows without elements count, as in ndarray.
        let mut b = t.create::<f64, _>("B", (3, 0)).unwrap();
        b.append(Axis(0), Array2::zeros((2, 0)).view()).unwrap();
        b.push(Axis(0), Array1::zeros(0).view()).unwrap();
        assert_eq!(b.shape(), [6, 0]);
    });
    assert_eq!(db.array::<f64, Ix2>("B").unwrap().shape(), [6, 0]);
}

#[test]
fn an_empty_append_matches_ndarray_in_both_orders() {
    let db = TestDb::new();
    db.commit(|t| {
        for (name, order, axis) in [("C", Order::RowMajor, 0), ("F", Order::ColumnMajor, 1)] {
            let mut a = t.create_with::<u8, _>(name, (2, 2), &ArrayOptions::new().order(order)).unwrap();
            let mut want = Array2::<u8>::zeros((2, 2));
            let mut shape = want.raw_dim();
            shape[axis] = 0;
            let nothing = Array::<u8, _>::zeros(shape);
            a.append(Axis(axis), nothing.view()).unwrap();
            want.append(Axis(axis), nothing.view()).unwrap();
            assert_eq!(a.view(), want);
        }
    });
}

#[test]
fn resize_to_nothing_and_back_shows_zeros() {
    let db = TestDb::new();
    db.commit(|t| t.create::<u32, _>("A", 100_000).unwrap().view_mut().fill(7));
    db.commit(|t| {
        let mut a = t.array::<u32, Ix1>("A").unwrap();
        a.resize(0).unwrap();
        assert!(a.view().is_empty());
        a.resize(100_000).unwrap();
        assert!(a.view().iter().all(|x| *x == 0));
    });
    db.commit(|t| t.array::<u32, Ix1>("A").unwrap().resize(0).unwrap());
    db.commit(|t| t.array::<u32, Ix1>("A").unwrap().resize(3).unwrap());
    assert_eq!(db.array::<u32, Ix1>("A").unwrap().view().to_vec(), [0, 0, 0]);
}

#[test]
fn reshape_of_nothing_needs_as_little() {
    let db = TestDb::new();
    db.commit(|t| {
        let a = t.create::<u32, _>("A", (0, 3)).unwrap();
        let a = a.reshape((7, 0, 2)).unwrap();
        assert_eq!(a.shape(), [7, 0, 2]);
        assert!(a.reshape(1).unwrap_err().is_shape_mismatch());
    });
    let a = db.array::<u32, IxDyn>("A").unwrap();
    assert_eq!(a.view().raw_dim().slice(), [7, 0, 2]);
}
