//! Copies of arrays, rows removed and inserted, arrays filled from iterators.

use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray::ndarray::{
    Array1, Array2, ArrayD, ArrayView2, Axis, Ix1, Ix2, Ix3, IxDyn, Order, Slice, aview1, concatenate,
};
use bigarray::{ArrayOptions, BigArrayMut, Codec, Database, Error, Pager};

use crate::support::arrays::says;
use crate::support::random::Random;
use crate::support::{BLOCK, Faults, TestDb, faults, small_blocks};

const ORDERS: [Order; 2] = [Order::RowMajor, Order::ColumnMajor];

#[test]
fn copies_of_any_shape_order_and_codec_are_equal() {
    for seed in 0..12 {
        let (mut random, db, other) = (Random::new(seed), TestDb::new(), TestDb::new());
        let ndim = random.within(0..5);
        let shape: Vec<_> = (0..ndim).map(|_| random.below([1, 60_000, 300, 40, 16][ndim])).collect();
        let elements = ArrayD::from_shape_simple_fn(IxDyn(&shape), || random.next() as i32);
        let options = small_blocks().order(ORDERS[random.below(2)]);
        db.commit(|t| {
            let mut a = t.create_with::<i32, _>("a", IxDyn(&shape), &options).unwrap();
            a.view_mut().assign(&elements);
            a.set_attr("unit", "K".into()).unwrap();
        });
        for order in ORDERS {
            let codec = [Codec::None, Codec::Lz4 { shuffle: true }][random.below(2)];
            let options = ArrayOptions::new().order(order).codec(codec).block_size(64 << (10 + random.below(6)));
            let mut told = Vec::new();
            other.commit(|t| {
                let name = format!("{order:?}");
                let a = db.array::<i32, IxDyn>("a").unwrap();
                let copy = a.copy_to(t, &name, &options, |progress| told.push(progress)).unwrap();
                assert_eq!((copy.order(), copy.info().codec, &copy.attrs()["unit"]), (order, codec, &"K".into()));
                assert!(copy.view() == elements, "{shape:?}");
            });
            assert!(told.is_sorted_by_key(|progress| progress.done_bytes));
            let bytes = elements.len() as u64 * 4;
            assert!(told.last().is_none_or(|last| (last.done_bytes, last.total_bytes) == (bytes, bytes)));
            assert!(other.array::<i32, IxDyn>(&format!("{order:?}")).unwrap().view() == elements, "{shape:?}");
        }
    }
}

/// Each way in which tiles are cut: many columns, few of them, more dimensions.
#[test]
fn copies_to_the_other_order_stay_within_the_budget() {
    const BUDGET: usize = 8 << 20;
    for (shape, copied) in
        [([1500, 2000, 1], true), ([1_500_000, 2, 1], true), ([2, 1_500_000, 1], true), ([100, 150, 200], false)]
    {
        let dir = tempfile::tempdir().unwrap();
        let pager = if copied { Pager::Copy } else { Pager::Map };
        let options = Database::options().memory_budget(BUDGET).pager(pager);
        let db = options.open(dir.path().join("a.bigarray")).unwrap();
        let number = |at: usize| (at as u32).wrapping_mul(0x9e37_79b9);
        db.transact(|txn| {
            let mut a = txn.create_with::<u32, _>("a", shape, &small_blocks())?;
            let row: usize = shape[1] * shape[2];
            for rows in a.blocks() {
                let first = rows.start * row;
                a.rows_mut(rows)?.iter_mut().enumerate().for_each(|(n, x)| *x = number(first + n));
            }
            Ok(())
        })
        .unwrap();
        let txn = db.begin().unwrap();
        let (a, most) = (db.array::<u32, Ix3>("a").unwrap(), AtomicUsize::new(0));
        let options = small_blocks().order(Order::ColumnMajor);
        let copy =
            a.copy_to(&txn, "b", &options, |_| _ = most.fetch_max(db.memory_use().used_bytes, Ordering::Relaxed));
        drop(copy.unwrap());
        if faults() != Faults::None {
            assert!(most.into_inner() <= BUDGET + (2 << 20), "{:?}", db.memory_use());
        }
        txn.commit().unwrap();
        let b = db.array::<u32, Ix3>("b").unwrap();
        // Block by block, and each as it lies in storage: what does not fit the budget is not to be loaded again for each row.
        for last in b.blocks() {
            let part = b.rows(last.clone()).unwrap();
            let is_right = |((k, j, i), x): ((usize, usize, usize), &u32)| {
                *x == number((i * shape[1] + j) * shape[2] + last.start + k)
            };
            assert!(part.t().indexed_iter().all(is_right), "{shape:?}, {last:?}");
        }
    }
}

#[test]
fn a_copy_that_cannot_be_made_leaves_no_array() {
    let db = TestDb::new();
    db.commit(|t| t.create::<f32, _>("a", (10, 10)).unwrap().view_mut().fill(1.0));
    let txn = db.begin().unwrap();
    let a = txn.array::<f32, Ix2>("a").unwrap();
    let error = a.copy_to(&txn, "a", &ArrayOptions::new(), |_| {}).unwrap_err();
    assert!(error.is_already_exists(), "{error}");
    assert!(a.copy_to(&txn, "b", &ArrayOptions::new().block_size(5), |_| {}).unwrap_err().is_invalid());
    assert_eq!(txn.arrays().unwrap().len(), 1);
    assert!(a.copy_to(&txn, "b", &ArrayOptions::new(), |_| {}).unwrap().view() == a.view());
}

/// Where a terabyte was never written: neither read nor stored, wherever the runs of blocks that were begin and end.
#[test]
fn a_copy_of_a_sparse_array_is_as_sparse() {
    let rows = if faults() == Faults::None { 1 << 10 } else { 1 << 24 };
    for fill in [0u64, 7] {
        let (db, other) = (TestDb::new(), TestDb::new());
        let written = [0..1, 3..5, 100..101, 200..331, rows - 1..rows];
        // A row is a block.
        db.commit(|t| {
            let mut a = t.create_with::<u64, _>("a", (rows, BLOCK / 8), &small_blocks().fill(fill)).unwrap();
            written.iter().for_each(|rows| a.rows_mut(rows.clone()).unwrap().fill(9));
        });
        let mut told = Vec::new();
        other.commit(|t| {
            let a = db.array::<u64, Ix2>("a").unwrap();
            drop(a.copy_to(t, "b", &small_blocks(), |progress| told.push(progress)).unwrap());
        });
        assert!(told.is_sorted_by_key(|progress| progress.done_bytes));
        assert!(told.last().is_some_and(|last| last.done_bytes == last.total_bytes));
        let b = other.array::<u64, Ix2>("b").unwrap();
        for row in (0..400).chain(rows - 10..rows) {
            let is_written = written.iter().any(|rows| rows.contains(&row));
            if !other.is_at_url() {
                assert_eq!(b.is_written(row..row + 1).unwrap(), is_written, "row {row}, fill value {fill}");
            }
            let right = if is_written { 9 } else { fill };
            assert!(b.rows(row..row + 1).unwrap().iter().all(|&element| element == right), "row {row}");
        }
        assert!(other.is_at_url() || !b.is_written(400..rows - 1).unwrap());
    }
}

#[test]
fn rows_are_removed_and_inserted_anywhere() {
    for (seed, order) in (0..8).zip(ORDERS.into_iter().cycle()) {
        let (mut random, db) = (Random::new(seed), TestDb::new());
        let axis = if order == Order::RowMajor { Axis(0) } else { Axis(1) };
        let mut rows_of = |n: usize| {
            let shape = if order == Order::RowMajor { (n, 30) } else { (30, n) };
            Array2::from_shape_simple_fn(shape, || random.next())
        };
        let mut right = rows_of(3000);
        db.commit(|t| {
            t.create_with::<u64, _>("a", right.dim(), &small_blocks().order(order)).unwrap().view_mut().assign(&right)
        });
        let mut place = Random::new(seed + 100);
        for _ in 0..4 {
            let txn = db.begin().unwrap();
            let mut a = txn.array::<u64, Ix2>("a").unwrap();
            let rows = right.len_of(axis);
            let start = place.within(0..rows);
            let end = place.within(start..rows + 1);
            a.remove_rows(start..end).unwrap();
            let part = |from: usize, to: usize| right.slice_axis(axis, Slice::from(from..to)).to_owned();
            right = concatenate(axis, &[part(0, start).view(), part(end, rows).view()]).unwrap();
            assert!(a.view() == right);
            let (at, new) = (place.within(0..right.len_of(axis) + 1), rows_of(place.within(0..1000)));
            a.insert_rows(at, new.view()).unwrap();
            let part = |from: usize, to: usize| right.slice_axis(axis, Slice::from(from..to)).to_owned();
            right = concatenate(axis, &[part(0, at).view(), new.view(), part(at, right.len_of(axis)).view()]).unwrap();
            assert!(a.view() == right);
            drop(a);
            txn.commit().unwrap();
            assert!(db.array::<u64, Ix2>("a").unwrap().view() == right);
        }
    }
}

#[test]
fn rows_that_are_not_there_are_not_removed_and_others_not_inserted() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let mut a = txn.create::<u8, _>("a", (3, 2)).unwrap();
    let error = a.remove_rows(2..5).unwrap_err();
    assert!(error.is_shape_mismatch());
    says(&error, &["\"a\"", "[3, 2]"]);
    assert!(a.insert_rows(4, Array2::zeros((1, 2)).view()).unwrap_err().is_shape_mismatch());
    let error = a.insert_rows(0, Array2::zeros((1, 3)).view()).unwrap_err();
    assert!(error.is_shape_mismatch());
    says(&error, &["\"a\"", "[1, 3]"]);
    a.remove_rows(1..1).unwrap();
    assert_eq!(a.shape(), [3, 2]);
    a.remove_rows(..).unwrap();
    assert_eq!(a.shape(), [0, 2]);
    let mut one = txn.create::<u8, _>("one", ()).unwrap();
    assert!(one.remove_rows(..).unwrap_err().is_shape_mismatch());
}

#[derive(Debug)]
enum Failed {
    OnPurpose(u32),
    ByStorage(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::ByStorage(error)
    }
}

fn filled_with(a: &BigArrayMut<'_, u32, Ix1>, right: std::ops::Range<u32>) -> bool {
    a.view().iter().copied().eq(right)
}

#[test]
fn chunks_are_appended_up_to_the_one_that_fails() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let mut a = txn.create::<u32, _>("a", 0).unwrap();
    let mut told = Vec::new();
    let chunk = |n: u32| Array1::from_iter(n * 1000..(n + 1) * 1000);
    a.append_from(Axis(0), (0..50).map(chunk), |progress| told.push(progress.done_bytes)).unwrap();
    assert!(told.iter().copied().eq((1..=50).map(|n| n * 4000)) && filled_with(&a, 0..50_000));
    let chunks = (50..60).map(|n| if n < 55 { Ok(chunk(n)) } else { Err(Failed::OnPurpose(n)) });
    let error = a.try_append_from(Axis(0), chunks, |_| {}).unwrap_err();
    assert!(matches!(error, Failed::OnPurpose(55)) && filled_with(&a, 0..55_000));
    let error = a.try_assign_from([Ok(chunk(0)), Err(Failed::OnPurpose(1))], |_| {}).unwrap_err();
    assert!(matches!(error, Failed::OnPurpose(1)) && filled_with(&a, 0..55_000));
    let error = a.try_append_from(Axis(1), [Ok::<_, Failed>(chunk(0))], |_| {}).unwrap_err();
    assert!(matches!(error, Failed::ByStorage(error) if error.is_shape_mismatch()));
    assert!(a.append_from(Axis(1), [chunk(0)], |_| {}).unwrap_err().is_shape_mismatch());
    assert!(filled_with(&a, 0..55_000));
}

#[test]
fn chunks_are_assigned_if_they_fit() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    for order in ORDERS {
        let mut a = txn.create_with::<u32, _>(&format!("{order:?}"), (600, 600), &small_blocks().order(order)).unwrap();
        let right = Array2::from_shape_fn((600, 600), |(i, j)| (i * 600 + j) as u32);
        let axis = if order == Order::RowMajor { Axis(0) } else { Axis(1) };
        let chunks: Vec<ArrayView2<'_, u32>> = right.axis_chunks_iter(axis, 77).collect();
        let mut last = None;
        a.assign_from(chunks.iter().copied(), |progress| last = Some((progress.done_bytes, progress.total_bytes)))
            .unwrap();
        assert_eq!(last, Some((600 * 600 * 4, 600 * 600 * 4)));
        assert!(a.view() == right);
        let error = a.assign_from(chunks[1..].iter().copied(), |_| {}).unwrap_err();
        assert!(error.is_shape_mismatch());
        says(&error, &["[600, 600]", "523 of its 600"]);
        let error = a.assign_from(chunks.iter().chain(&chunks).copied(), |_| {}).unwrap_err();
        assert!(error.is_shape_mismatch());
        says(&error, &["[600, 600]", "77 rows from row 600"]);
        assert!(a.view() == right);
    }
    let mut line = txn.create::<u8, _>("line", 3).unwrap();
    line.assign_from([aview1(&[1, 2]), aview1(&[]), aview1(&[3])], |_| {}).unwrap();
    assert_eq!(line.view(), aview1(&[1, 2, 3]));
}
