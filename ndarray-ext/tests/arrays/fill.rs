//! Fill values: what elements are that were never written.

use bigarray::ndarray::{Array1, Array2, Axis, Ix0, Ix1, Ix2, Ix3, Order, aview1, s};
use bigarray::num_complex::Complex;
use bigarray::{ArrayOptions, BigArray, Bool, Codec, Database, Element};
use bytemuck::{Pod, Zeroable};

use crate::support::arrays::says;
use crate::support::{BLOCK, Faults, TestDb, faults, small_blocks};

/// 12 bytes, so that elements straddle blocks.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Tick {
    at: i32,
    price: [f32; 2],
}

bigarray::impl_element!(Tick { at: i32, price: [f32; 2] });

const TICK: Tick = Tick { at: -1, price: [0.5, -0.0] };

fn is_kept<T: Element + PartialEq + std::fmt::Debug>(value: T) {
    let mut db = TestDb::new();
    let len = 3 * BLOCK / size_of::<T>() + 5;
    let written = T::zeroed();
    db.commit(|txn| {
        let mut a = txn.create_with::<T, _>("A", len, &small_blocks().fill(value)).unwrap();
        assert_eq!(a.fill_value(), value);
        assert!(a.view().iter().all(|element| *element == value));
        a.view_mut()[len / 2] = written;
        txn.create_with::<T, _>("scalar", (), &small_blocks().fill(value)).unwrap();
    });
    for _ in 0..2 {
        let a = db.array::<T, Ix1>("A").unwrap();
        assert_eq!((a.fill_value(), a.info().fill_value), (value, bytemuck::bytes_of(&value).to_vec()));
        assert!(a.view().iter().enumerate().all(|(n, element)| *element == if n == len / 2 { written } else { value }));
        assert_eq!(db.array::<T, Ix0>("scalar").unwrap().view()[()], value);
        drop(a);
        db.reopen();
    }
}

#[test]
fn a_fill_value_of_any_type_is_shown_and_kept() {
    is_kept(-1i64);
    is_kept(7u8);
    is_kept(i128::MIN);
    is_kept(f32::INFINITY);
    is_kept(Complex::new(1.0f64, -2.0));
    is_kept(Bool::from(true));
    is_kept(TICK);
    is_kept(half::f16::from_f32(-3.5));
    is_kept(0.0f64); // none
}

#[test]
fn zero_is_no_fill_value_and_minus_zero_is_one() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let a = txn.create_with::<f64, _>("a", 4, &ArrayOptions::new().fill(0.0f64)).unwrap();
    let b = txn.create::<f64, _>("b", 4).unwrap();
    assert_eq!((a.fill_value(), &a.info().fill_value), (b.fill_value(), &b.info().fill_value));
    let c = txn.create_with::<f64, _>("c", 4, &ArrayOptions::new().fill(-0.0f64)).unwrap();
    assert!(c.view().iter().all(|x| x.is_sign_negative()));
}

#[test]
fn the_fill_value_has_the_type_of_the_array() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    for options in [ArrayOptions::new().fill(f32::NAN), ArrayOptions::new().fill(0u64)] {
        let error = txn.create_with::<f64, _>("rain", 10, &options).unwrap_err();
        assert!(error.is_dtype_mismatch());
        says(&error, &["\"rain\"", "<f8", "fill value"]);
    }
    assert!(txn.array::<f64, Ix1>("rain").unwrap_err().is_not_found());
}

fn blocks_written(a: &BigArray<f64, Ix1>) -> Vec<bool> {
    let rows = BLOCK / 8;
    (0..a.len().div_ceil(rows)).map(|n| a.is_written(n * rows..(n * rows + 1).min(a.len())).unwrap()).collect()
}

#[test]
fn growth_shows_the_fill_value_and_what_is_written_is_told_block_by_block() {
    let mut db = TestDb::new();
    let row = BLOCK / 8;
    db.commit(|txn| drop(txn.create_with::<f64, _>("A", 0, &small_blocks().fill(f64::NAN)).unwrap()));
    db.commit(|txn| {
        let mut a = txn.array::<f64, Ix1>("A").unwrap();
        assert!(!a.is_written(..).unwrap());
        a.resize(4 * row + 10).unwrap();
        assert!(a.view().iter().all(|x| x.is_nan()) && !a.is_written(..).unwrap());
        a.rows_mut(row..row + 1).unwrap()[0] = 1.0;
        assert_eq!([0..1, row..row + 1, row + 1..2 * row].map(|rows| a.is_written(rows).unwrap()), [false, true, true]);
    });
    let a = db.array::<f64, Ix1>("A").unwrap();
    if !db.is_at_url() {
        assert_eq!(blocks_written(&a), [false, true, false, false, false]);
    }
    db.commit(|txn| {
        let mut a = txn.array::<f64, Ix1>("A").unwrap();
        a.view_mut().slice_mut(s![3 * row..]).fill(0.0);
        a.resize(3 * row + 5).unwrap();
        a.resize(5 * row).unwrap();
        assert!(a.view()[3 * row + 4] == 0.0 && a.view().slice(s![3 * row + 5..]).iter().all(|x| x.is_nan()));
        a.append(Axis(0), aview1(&[2.0, 3.0])).unwrap();
    });
    db.reopen();
    let a = db.array::<f64, Ix1>("A").unwrap();
    if !db.is_at_url() {
        assert_eq!(blocks_written(&a), [false, true, false, true, false, true]);
    }
    let mut expected = Array1::from_elem(5 * row + 2, f64::NAN);
    expected[row] = 1.0;
    expected.slice_mut(s![3 * row..3 * row + 5]).fill(0.0);
    expected.slice_mut(s![5 * row..]).assign(&aview1(&[2.0, 3.0]));
    assert!(a.view().iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
}

/// What is stored is what was written, whatever is below it.
#[test]
fn what_is_written_as_the_fill_value_or_as_zero_stays_that() {
    let mut db = TestDb::new();
    for codec in [Codec::None, Codec::Lz4 { shuffle: true }] {
        let options = small_blocks().fill(-1i32).codec(codec);
        let name = format!("{codec:?}");
        db.commit(|txn| {
            let mut a = txn.create_with::<i32, _>(&name, 4 * BLOCK / 4, &options).unwrap();
            a.view_mut().slice_mut(s![..BLOCK / 4]).fill(-1);
            a.view_mut().slice_mut(s![BLOCK / 4..BLOCK / 2]).fill(0);
        });
        db.reopen();
        let a = db.array::<i32, Ix1>(&name).unwrap();
        let part = |n: usize| n * BLOCK / 4..(n + 1) * BLOCK / 4;
        // On object storage the four of them are one chunk.
        let absent = !db.is_at_url();
        assert_eq!([0, 1, 2, 3].map(|n| a.is_written(part(n)).unwrap()), [true, true, !absent, !absent]);
        let sums = [0, 1, 2, 3].map(|n| a.rows(part(n)).unwrap().iter().map(|x| i64::from(*x)).sum::<i64>());
        assert_eq!(sums, [-(BLOCK as i64) / 4, 0, -(BLOCK as i64) / 4, -(BLOCK as i64) / 4]);
        // An aborted change leaves nothing.
        let txn = db.begin().unwrap();
        txn.array::<i32, Ix1>(&name).unwrap().view_mut().fill(5);
        txn.abort();
        assert_eq!(db.array::<i32, Ix1>(&name).unwrap().is_written(part(3)).unwrap(), !absent);
        assert_eq!(db.array::<i32, Ix1>(&name).unwrap().view()[BLOCK - 1], -1);
    }
}

/// A compressed block is stored whole. Part of it lies behind the end, where the array may grow to.
#[test]
fn behind_an_end_inside_a_block_the_array_grows_by_its_fill_value_whatever_was_compressed() {
    let mut db = TestDb::new();
    // Other than the fill value in each page, and zero in the first one.
    let written = |n: usize| if n < 4096 { 0 } else { 20 + (n / 4096) as u8 };
    for codec in [Codec::None, Codec::Lz4 { shuffle: true }] {
        let options = small_blocks().fill(7u8).codec(codec);
        let (name, end) = (format!("{codec:?}"), BLOCK * 3 / 4);
        db.commit(|txn| {
            txn.create_with::<u8, _>(&name, end, &options).unwrap().view_mut()[0] = 1;
        });
        db.reopen();
        db.commit(|txn| {
            let mut a = txn.array::<u8, Ix1>(&name).unwrap();
            a.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = written(n));
        });
        db.reopen();
        db.commit(|txn| txn.array::<u8, Ix1>(&name).unwrap().resize(2 * BLOCK).unwrap());
        db.reopen();
        let a = db.array::<u8, Ix1>(&name).unwrap();
        let right = |n: usize| if n < end { written(n) } else { 7 };
        let wrong = a.view().iter().enumerate().position(|(n, x)| *x != right(n));
        assert_eq!(wrong, None, "{codec:?}");
    }
}

#[test]
fn rows_are_removed_inserted_reshaped_and_copied_with_the_fill_value() {
    for order in [Order::RowMajor, Order::ColumnMajor] {
        let (mut db, other) = (TestDb::new(), TestDb::new());
        let shape = |rows, width| if order == Order::RowMajor { (rows, width) } else { (width, rows) };
        let (rows, axis) = (3 * BLOCK / 8, Axis(if order == Order::RowMajor { 0 } else { 1 }));
        db.commit(|txn| {
            let options = small_blocks().order(order).fill(7u32);
            let mut a = txn.create_with::<u32, _>("a", shape(rows, 2), &options).unwrap();
            a.rows_mut(100..102).unwrap().fill(1);
            a.remove_rows(..50).unwrap();
            let new = Array2::from_elem(shape(3, 2), 2);
            a.insert_rows(10, new.view()).unwrap();
            a.resize(shape(rows, 2)).unwrap();
        });
        db.reopen();
        let a = db.array::<u32, Ix2>("a").unwrap();
        let of = |n: usize| match n {
            10..13 => 2,
            53..55 => 1,
            _ => 7,
        };
        let is_right =
            |a: &BigArray<u32, Ix2>| (0..rows).all(|n| a.view().index_axis(axis, n).iter().all(|x| *x == of(n)));
        assert!(is_right(&a));
        for to in [Order::RowMajor, Order::ColumnMajor] {
            let name = format!("{to:?}");
            other.commit(|txn| {
                let copy = a.copy_to(txn, &name, &small_blocks().order(to), |_| {}).unwrap();
                assert_eq!((copy.fill_value(), copy.order()), (7, to));
            });
            let copy = other.array::<u32, Ix2>(&name).unwrap();
            assert!(copy.view() == a.view());
        }
        db.commit(|txn| {
            let a = txn.array::<u32, Ix2>("a").unwrap();
            let mut a = a.reshape(rows * 2).unwrap();
            a.resize(rows * 2 + 1).unwrap();
            assert_eq!(a.view()[rows * 2], 7);
            let zeros = a.copy_to(txn, "zeros", &small_blocks().fill(0u32), |_| {}).unwrap();
            assert_eq!((zeros.fill_value(), zeros.view() == a.view()), (0, true));
        });
    }
}

/// Terabytes would be written otherwise.
#[test]
fn a_copy_stores_what_was_written_and_no_more() {
    if faults() == Faults::None {
        return; // what is shown has to fit into memory
    }
    let db = TestDb::new();
    let rows = 1 << 15;
    db.commit(|txn| {
        let options = ArrayOptions::new().fill(f64::NAN).block_size(BLOCK);
        let mut a = txn.create_with::<f64, _>("a", (rows, 1024), &options).unwrap(); // 256 MiB
        a.rows_mut(5000..5001).unwrap().fill(3.0);
    });
    db.commit(|txn| {
        let a = db.array::<f64, Ix2>("a").unwrap();
        let mut told = 0;
        let copy = a.copy_to(txn, "b", &small_blocks(), |progress| told = progress.done_bytes).unwrap();
        assert_eq!(told, copy.nbytes() as u64);
    });
    let b = db.array::<f64, Ix2>("b").unwrap();
    // A chunk of object storage has 128 rows.
    assert_eq!([0..4000, 5000..5001, 6000..rows].map(|rows| b.is_written(rows).unwrap()), [false, true, false]);
    assert!(db.is_at_url() || !b.is_written(0..5000).unwrap());
    assert!(b.view()[[5000, 7]] == 3.0 && b.view()[[rows - 1, 1023]].is_nan());
}

/// Each handle of an erased array tells, too.
#[test]
fn an_erased_array_tells_its_fill_value_and_what_is_written() {
    let db = TestDb::new();
    db.commit(|txn| {
        drop(txn.create_with::<Tick, _>("ticks", 10, &ArrayOptions::new().fill(TICK)).unwrap());
        let a = txn.any_array("ticks").unwrap();
        assert_eq!((a.info().fill_value, a.is_written(..).unwrap()), (bytemuck::bytes_of(&TICK).to_vec(), false));
    });
    let a = db.any_array("ticks").unwrap();
    assert_eq!(a.row_bytes(3..4).unwrap(), bytemuck::bytes_of(&TICK));
    assert!(!a.is_written(..).unwrap() && a.is_written(5..11).unwrap_err().is_shape_mismatch());
    let infos = db.snapshot().unwrap().arrays().unwrap();
    assert_eq!(infos[0].fill_value, bytemuck::bytes_of(&TICK));
    let mut out = Vec::new();
    a.write_to(&mut out).unwrap();
    assert_eq!(out, bytemuck::bytes_of(&TICK).repeat(10));
}

/// Blocks that consist of the fill value are copies in memory, and give way to others.
#[test]
fn terabytes_that_were_never_written_are_read_within_the_budget() {
    const BUDGET: usize = 16 << 20;
    if faults() == Faults::None {
        return;
    }
    let db = TestDb::with(Database::options().memory_budget(BUDGET));
    db.commit(|txn| {
        let options = ArrayOptions::new().fill(0x5a5a_5a5a_u32);
        drop(txn.create_with::<u32, _>("a", (1 << 18, 1 << 10, 1 << 10), &options).unwrap()); // 1 TiB
    });
    let a = db.array::<u32, Ix3>("a").unwrap();
    for first in [0, (1 << 18) - 40] {
        for n in first..first + 40 {
            assert!(a.rows(n..n + 1).unwrap().iter().all(|x| *x == 0x5a5a_5a5a));
            // What a thread waits for right now may be beyond it.
            assert!(db.memory_use().used_bytes <= BUDGET + (2 << 20), "{:?}", db.memory_use());
        }
    }
}

#[test]
fn where_no_faults_are_delivered_an_array_that_does_not_fit_is_refused() {
    if faults() != Faults::None {
        return;
    }
    let db = TestDb::with(Database::options().memory_budget(16 << 20));
    let txn = db.begin().unwrap();
    let error = txn.create_with::<u8, _>("a", 64 << 20, &ArrayOptions::new().fill(1u8)).unwrap_err();
    assert!(error.is_unsupported());
    says(&error, &["\"a\"", "fill value", "memory_budget"]);
    let mut b = txn.create_with::<u8, _>("b", 4 << 20, &ArrayOptions::new().fill(1u8)).unwrap();
    assert!(b.resize(64 << 20).unwrap_err().is_unsupported());
    assert!(b.len() == 4 << 20 && b.view().iter().all(|x| *x == 1));
}

/// In one block the second of two writers would leave out what the first wrote.
#[test]
fn two_transactions_that_write_to_one_block_conflict_and_to_two_do_not() {
    let db = TestDb::new();
    let row = BLOCK / 4;
    db.commit(|txn| drop(txn.create_with::<i32, _>("a", 4 * row, &small_blocks().fill(-1i32)).unwrap()));
    for (at, conflicts) in [(1, true), (row, false)] {
        let first = db.begin().unwrap();
        first.array::<i32, Ix1>("a").unwrap().rows_mut(2 * row..2 * row + 1).unwrap()[0] = 5;
        let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
        one.array::<i32, Ix1>("a").unwrap().rows_mut(..1).unwrap()[0] = at as i32;
        two.array::<i32, Ix1>("a").unwrap().rows_mut(at..at + 1).unwrap()[0] = at as i32;
        one.commit().unwrap();
        assert_eq!(two.commit().is_err_and(|e| e.is_conflict()), conflicts);
        first.abort();
    }
    let a = db.array::<i32, Ix1>("a").unwrap();
    assert_eq!((a.view()[0], a.view()[1], a.view()[row], a.view()[2 * row]), (row as i32, -1, row as i32, -1));
}

#[test]
fn what_was_written_is_told_and_copied_where_rows_were_dropped_at_the_front() {
    let mut db = TestDb::new();
    let in_block = BLOCK / size_of::<f64>();
    let written = 3 * in_block - 2;
    db.commit(|txn| drop(txn.create_with::<f64, _>("a", 3 * in_block, &small_blocks().fill(f64::NAN)).unwrap()));
    db.commit(|txn| txn.array::<f64, Ix1>("a").unwrap().rows_mut(written..written + 1).unwrap().fill(7.0));
    let (dropped, len) = (2 * in_block + 3, in_block - 3);
    db.commit(|txn| txn.array::<f64, Ix1>("a").unwrap().drop_front(dropped).unwrap());
    let is_right = |a: &BigArray<f64, Ix1>| {
        let mut elements = a.view().into_iter().enumerate();
        elements.all(|(at, &element)| if at == written - dropped { element == 7.0 } else { element.is_nan() })
    };
    let a = db.array::<f64, Ix1>("a").unwrap();
    assert_eq!(a.len(), len);
    assert!(is_right(&a) && a.is_written(..1).unwrap());
    db.commit(|txn| drop(a.copy_to(txn, "b", &small_blocks(), |_| {}).unwrap()));
    db.commit(|txn| txn.array::<f64, Ix1>("a").unwrap().resize(len + 2 * in_block).unwrap());
    drop(a);
    db.reopen();
    let [a, b] = ["a", "b"].map(|name| db.array::<f64, Ix1>(name).unwrap());
    assert_eq!((a.len(), b.len()), (len + 2 * in_block, len));
    assert!(is_right(&a) && is_right(&b));
}
