//! Views in the hands of ndarray, rayon and ndarray-npy, and what views cost.

use bigarray::Access;
use ndarray::parallel::prelude::*;
use ndarray::{Array2, Axis, Ix2, Order, Zip};

use crate::support::{TestDb, small_blocks};

const ROWS: usize = 1000;
const COLUMNS: usize = 1201;
const SUM: i64 = ((ROWS * COLUMNS - 1) * (ROWS * COLUMNS) / 2) as i64;

/// Two arrays of the same numbers, one in each order.
fn grid() -> TestDb {
    let db = TestDb::new();
    db.commit(|t| {
        for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
            let mut a = t.create_with::<i64, _>(name, (ROWS, COLUMNS), &small_blocks().order(order)).unwrap();
            a.view_mut().indexed_iter_mut().for_each(|((i, j), x)| *x = (i * COLUMNS + j) as i64);
        }
    });
    db
}

#[test]
fn arrays_of_both_orders_are_zipped_in_parallel() {
    let db = grid();
    db.commit(|t| {
        let mut c = t.array::<i64, Ix2>("C").unwrap();
        let f = t.array::<i64, Ix2>("F").unwrap();
        Zip::from(c.view_mut()).and(f.view()).par_for_each(|c, f| *c = 2 * *c - f);
        c.view_mut().par_mapv_inplace(|x| x + 1);
        c.view_mut().axis_iter_mut(Axis(0)).into_par_iter().for_each(|mut row| row -= 1);
        c.view_mut().axis_chunks_iter_mut(Axis(0), 33).into_par_iter().for_each(|mut rows| rows *= 3);
    });
    let (c, f) = (db.array::<i64, Ix2>("C").unwrap(), db.array::<i64, Ix2>("F").unwrap());
    assert!(c.view() == &f.view() * 3);
}

#[test]
fn blocks_fill_an_array_window_by_window() {
    let db = TestDb::new();
    db.commit(|t| {
        let mut a = t.create_with::<u16, _>("A", (5000, 37), &small_blocks()).unwrap();
        for rows in a.blocks() {
            let first = rows.start;
            let mut window = a.rows_mut(rows).unwrap();
            window.axis_iter_mut(Axis(0)).enumerate().for_each(|(i, mut row)| row.fill((first + i) as u16));
        }
    });
    let a = db.array::<u16, Ix2>("A").unwrap();
    assert_eq!(a.view(), Array2::from_shape_fn((5000, 37), |(i, _)| i as u16));
}

#[test]
fn raw_bytes_come_out_in_storage_order() {
    let db = grid();
    for name in ["C", "F"] {
        let a = db.array::<i64, Ix2>(name).unwrap();
        let mut bytes = Vec::new();
        a.write_to(&mut bytes).unwrap();
        let view = a.view();
        let want: &[u8] = bytemuck::cast_slice(view.as_slice_memory_order().unwrap());
        assert!(bytes == want, "{name}");
    }
    // In a transaction what it changed comes out.
    let t = db.begin().unwrap();
    let mut a = t.array::<i64, Ix2>("C").unwrap();
    a.view_mut()[[0, 0]] = -1;
    let mut bytes = Vec::new();
    a.write_to(&mut bytes as &mut dyn std::io::Write).unwrap();
    assert_eq!(bytes[..8], [0xffu8; 8]);
    assert_eq!(bytes.len(), a.nbytes());
}

#[test]
fn a_view_is_written_as_npy() {
    let db = grid();
    let dir = tempfile::tempdir().unwrap();
    for name in ["C", "F"] {
        let a = db.array::<i64, Ix2>(name).unwrap();
        let path = dir.path().join(format!("{name}.npy"));
        a.prefetch(..).unwrap();
        ndarray_npy::write_npy(&path, &a.view()).unwrap();
        let back: Array2<i64> = ndarray_npy::read_npy(&path).unwrap();
        assert_eq!(back, a.view());
    }
}

#[test]
fn prefetch_and_advice_change_nothing_that_is_seen() {
    let db = grid();
    for access in [Access::Random, Access::Sequential, Access::Normal] {
        let a = db.array::<i64, Ix2>("C").unwrap();
        a.advise(access);
        a.prefetch(10..500).unwrap();
        a.prefetch(..).unwrap();
        assert_eq!(a.view().sum(), SUM);
        let t = db.begin().unwrap();
        let mut a = t.array::<i64, Ix2>("C").unwrap();
        a.advise(access);
        a.prefetch(10..500).unwrap();
        a.view_mut()[[10, 0]] += 1;
        a.prefetch(..).unwrap();
        assert_eq!(a.view().sum(), SUM + 1);
    }
}
