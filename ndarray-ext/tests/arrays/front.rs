//! Rows dropped at the front: what remains reads, grows and is counted as if they had never been there.

use bigarray::bytemuck::{self, Pod, Zeroable};
use bigarray::ndarray::{Array1, Array2, ArrayD, Axis, Ix1, Ix2, IxDyn, Order, Slice, array, aview1, s};
use bigarray::{Access, ArrayOptions, BigArray, BigArrayMut, Codec};
use rayon::prelude::*;

use crate::support::arrays::says;
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// Elements of a row: rows of 12 bytes straddle pages and blocks.
const WIDTH: usize = 3;

/// Rows of a block, and a part of one.
const BLOCK_ROWS: usize = BLOCK / (4 * WIDTH);

fn numbers(from: usize, rows: usize) -> Array2<u32> {
    Array2::from_shape_fn((rows, WIDTH), |(row, column)| ((from + row) * WIDTH + column) as u32)
}

fn log(db: &TestDb) -> BigArray<u32, Ix2> {
    db.array("log").unwrap()
}

/// A log of `rows` rows, counted from 0, whose first `dropped` were dropped in a commit of their own.
fn dropped(db: &TestDb, rows: usize, dropped: usize, options: &ArrayOptions) {
    db.commit(|t| {
        let mut log = t.create_with::<u32, _>("log", (0, WIDTH), options).unwrap();
        log.append(Axis(0), numbers(0, rows).view()).unwrap();
    });
    db.commit(|t| t.array::<u32, Ix2>("log").unwrap().drop_front(dropped).unwrap());
}

#[test]
fn what_remains_is_where_it_was_in_any_order_and_codec() {
    for (order, codec) in [
        (Order::RowMajor, Codec::None),
        (Order::ColumnMajor, Codec::None),
        (Order::RowMajor, Codec::Lz4 { shuffle: true }),
        (Order::ColumnMajor, Codec::Zstd { level: 1, shuffle: false }),
    ] {
        let axis = Axis(if order == Order::RowMajor { 0 } else { 1 });
        let turned = |rows: Array2<u32>| if axis.0 == 0 { rows } else { rows.reversed_axes() };
        let mut db = TestDb::new();
        let mut random = Random::new(7);
        let mut want = turned(numbers(0, 4 * BLOCK_ROWS));
        db.commit(|t| {
            let options = small_blocks().order(order).codec(codec);
            t.create_with::<u32, _>("log", want.raw_dim(), &options).unwrap().view_mut().assign(&want);
        });
        for round in 0..12 {
            let n = random.below(want.len_of(axis).min(2 * BLOCK_ROWS));
            let new = turned(numbers(round * 100_000, random.below(2 * BLOCK_ROWS)));
            let before = db.array::<u32, Ix2>("log").unwrap();
            let was = want.clone();
            db.commit(|t| {
                let mut log = t.array::<u32, Ix2>("log").unwrap();
                if round % 3 == 0 {
                    log.append(axis, new.view()).unwrap();
                }
                log.drop_front(n).unwrap();
                want.slice_axis_inplace(axis, Slice::from(n..));
                if round % 3 == 0 {
                    want = want.clone();
                    let kept = bigarray::ndarray::concatenate![axis, want, new];
                    want = kept;
                } else {
                    log.append(axis, new.view()).unwrap();
                    want = bigarray::ndarray::concatenate![axis, want, new];
                }
                if let Some(value) = log.view_mut().first_mut() {
                    *value = 77;
                    *want.first_mut().unwrap() = 77;
                }
                assert!(log.view() == want, "{order:?} {codec} {round}");
            });
            assert!(db.array::<u32, Ix2>("log").unwrap().view() == want, "{order:?} {codec} {round}");
            assert!(before.view() == was, "{order:?} {codec} {round}: an older snapshot");
            drop(before);
            if round % 4 == 1 {
                db.reopen();
            }
        }
    }
}

#[test]
fn rows_that_are_not_there_are_not_dropped() {
    let db = TestDb::new();
    let txn = db.begin().unwrap();
    let mut log = txn.create::<u32, _>("log", (5, WIDTH)).unwrap();
    log.view_mut().fill(9);
    let error = log.drop_front(6).unwrap_err();
    assert!(error.is_shape_mismatch());
    says(&error, &["\"log\"", "[5, 3]", "6", "5"]);
    assert!(log.drop_front(usize::MAX).unwrap_err().is_shape_mismatch());
    log.drop_front(0).unwrap();
    assert_eq!(log.view(), Array2::from_elem((5, WIDTH), 9));
    let mut one = txn.create::<u32, _>("one", ()).unwrap();
    says(&one.drop_front(1).unwrap_err(), &["\"one\""]);
    assert!(one.drop_front(0).unwrap_err().is_shape_mismatch());
    let mut any = txn.create::<u16, _>("none", (4, 0)).unwrap();
    any.drop_front(3).unwrap();
    assert_eq!(any.shape(), [1, 0]);
    let mut any = bigarray::AnyArrayMut::from(log);
    any.drop_front(2).unwrap();
    assert_eq!((any.shape(), any.row_bytes(..).unwrap().len()), (&[3, WIDTH][..], 3 * WIDTH * 4));
    assert!(any.drop_front(4).unwrap_err().is_shape_mismatch());
}

#[test]
fn an_array_that_lost_all_its_rows_begins_anew() {
    let db = TestDb::new();
    dropped(&db, 5 * BLOCK_ROWS, 3 * BLOCK_ROWS + 100, &small_blocks());
    let left = 2 * BLOCK_ROWS - 100;
    for by_drop in [true, false] {
        db.commit(|t| {
            let mut log = t.array::<u32, Ix2>("log").unwrap();
            if by_drop {
                log.drop_front(log.shape()[0]).unwrap()
            } else {
                log.resize((0, WIDTH)).unwrap()
            }
            assert_eq!(log.shape(), [0, WIDTH]);
            log.append(Axis(0), numbers(7, left).view()).unwrap();
            assert!(log.view() == numbers(7, left));
            log.drop_front(BLOCK_ROWS).unwrap();
            assert!(log.view() == numbers(7 + BLOCK_ROWS, left - BLOCK_ROWS));
            log.resize((left, WIDTH)).unwrap();
            assert!(log.rows(left - BLOCK_ROWS..).unwrap().iter().all(|&value| value == 0));
        });
        assert!(log(&db).rows(..left - BLOCK_ROWS).unwrap() == numbers(7 + BLOCK_ROWS, left - BLOCK_ROWS));
    }
}

#[test]
fn what_was_dropped_comes_back_with_a_savepoint_and_with_an_abort() {
    let db = TestDb::new();
    let rows = 5 * BLOCK_ROWS;
    dropped(&db, rows, 10, &small_blocks());
    let mut txn = db.begin().unwrap();
    let mut a = txn.array::<u32, Ix2>("log").unwrap();
    a.rows_mut(0..BLOCK_ROWS).unwrap().fill(1);
    drop(a);
    let savepoint = txn.savepoint().unwrap();
    let mut a = txn.array::<u32, Ix2>("log").unwrap();
    a.rows_mut(0..2 * BLOCK_ROWS).unwrap().fill(2);
    a.drop_front(3 * BLOCK_ROWS).unwrap();
    a.append(Axis(0), numbers(0, BLOCK_ROWS).view()).unwrap();
    drop(a);
    txn.rollback(savepoint).unwrap();
    let a = txn.array::<u32, Ix2>("log").unwrap();
    let mut want = numbers(10, rows - 10);
    want.slice_mut(s![..BLOCK_ROWS, ..]).fill(1);
    assert!(a.view() == want);
    drop(a);
    let savepoint = txn.savepoint().unwrap();
    txn.array::<u32, Ix2>("log").unwrap().drop_front(rows - 10).unwrap();
    txn.rollback(savepoint).unwrap();
    assert!(txn.array::<u32, Ix2>("log").unwrap().view() == want);
    txn.array::<u32, Ix2>("log").unwrap().drop_front(4 * BLOCK_ROWS).unwrap();
    txn.abort();
    assert!(log(&db).view() == numbers(10, rows - 10));
}

#[test]
fn shapes_reductions_and_blocks_are_those_of_what_remains() {
    let db = TestDb::new();
    let (rows, gone) = (6 * BLOCK_ROWS + 11, 2 * BLOCK_ROWS + 1000);
    dropped(&db, rows, gone, &small_blocks());
    let want = numbers(gone, rows - gone);
    let a = log(&db);
    assert_eq!((a.shape(), a.nbytes(), a.len()), (want.shape(), want.len() * 4, want.len()));
    assert_eq!(a.sum().unwrap(), want.iter().map(|&n| u128::from(n)).sum::<u128>());
    assert_eq!(a.min_max().unwrap(), Some((want[[0, 0]], *want.last().unwrap())));
    let mut next = 0;
    for rows in a.blocks() {
        assert_eq!(rows.start, next);
        assert!(rows.end > rows.start);
        // In the blocks that are stored: each range begins in one of its own.
        let before = if db.is_at_url() { 0 } else { gone };
        let in_block = |row: usize| (before + row) * 4 * WIDTH / BLOCK;
        assert_eq!(in_block(rows.start), in_block(rows.end - 1));
        assert_eq!(a.rows(rows.clone()).unwrap(), want.slice(s![rows.clone(), ..]));
        next = rows.end;
    }
    assert_eq!(next, want.nrows());
    let sum: u64 =
        a.blocks().into_par_iter().map(|rows| a.rows(rows).unwrap().iter().map(|&n| u64::from(n)).sum::<u64>()).sum();
    assert_eq!(sum, want.iter().map(|&n| u64::from(n)).sum::<u64>());
    a.advise(Access::Random);
    a.prefetch(5..BLOCK_ROWS).unwrap();
    assert!(a.resident_bytes(..).unwrap() <= a.nbytes());
    let mut npy = Vec::new();
    a.write_npy_to(&mut npy).unwrap();
    assert!(npy.ends_with(bytemuck::cast_slice(want.as_slice().unwrap())));
    let any = db.any_array("log").unwrap();
    assert_eq!(
        any.row_bytes(3..5).unwrap(),
        bytemuck::cast_slice::<u32, u8>(want.slice(s![3..5, ..]).as_slice().unwrap())
    );
    // A copy has nothing before its first row, and other blocks.
    db.commit(|t| {
        let copy = a.copy_to(t, "copy", &ArrayOptions::new().order(Order::ColumnMajor), |_| {}).unwrap();
        assert!(copy.view() == want);
    });
    // Another shape of the same elements: what was dropped is no whole number of its rows.
    db.commit(|t| {
        let a = t.array::<u32, Ix2>("log").unwrap();
        let mut flat = a.reshape(want.len()).unwrap();
        flat.drop_front(1).unwrap();
        flat.append(Axis(0), aview1(&[5])).unwrap();
        let a = flat.reshape((want.nrows(), WIDTH)).unwrap();
        assert_eq!((a.view()[[0, 0]], a.view()[[want.nrows() - 1, WIDTH - 1]]), (want[[0, 1]], 5));
    });
    let a = log(&db);
    assert_eq!(a.rows(10..11).unwrap().as_slice().unwrap(), &want.as_slice().unwrap()[31..34]);
}

#[test]
fn removing_the_first_rows_and_inserting_before_them_goes_on_as_before() {
    let db = TestDb::new();
    dropped(&db, 3 * BLOCK_ROWS, BLOCK_ROWS + 7, &small_blocks());
    db.commit(|t| {
        let mut a = t.array::<u32, Ix2>("log").unwrap();
        a.remove_rows(..500).unwrap();
        a.remove_rows(10..20).unwrap();
        a.insert_rows(0, numbers(0, 4).view()).unwrap();
    });
    let first = BLOCK_ROWS + 507;
    let want = bigarray::ndarray::concatenate![
        Axis(0),
        numbers(0, 4),
        numbers(first, 10),
        numbers(first + 20, 3 * BLOCK_ROWS - first - 20)
    ];
    assert!(log(&db).view() == want);
}

#[test]
fn a_transaction_that_drops_rows_conflicts_with_others_that_change_the_array() {
    let db = TestDb::new();
    dropped(&db, 4 * BLOCK_ROWS, 100, &small_blocks());
    type Change = fn(&mut BigArrayMut<'_, u32, Ix2>);
    let drops: Change = |a| a.drop_front(2 * BLOCK_ROWS).unwrap();
    let others: [Change; 4] = [
        |a| a.append(Axis(0), numbers(0, 1).view()).unwrap(),
        |a| a.rows_mut(3..4).unwrap().fill(1),
        |a| a.drop_front(5).unwrap(),
        |a| a.depend_on(a.shape()[0] - 5..).unwrap(),
    ];
    for (number, other) in others.into_iter().enumerate() {
        for drops_first in [true, false] {
            let only_depends = number == 3;
            let (one, two) = (db.begin().unwrap(), db.begin().unwrap());
            drops(&mut one.array("log").unwrap());
            other(&mut two.array("log").unwrap());
            let rows = log(&db).shape()[0];
            let (first, second) = if drops_first { (one, two) } else { (two, one) };
            first.commit().unwrap();
            // A transaction that changes nothing leaves nothing to conflict with.
            match second.commit() {
                Ok(()) => assert!(only_depends && !drops_first),
                Err(error) => assert!(error.is_conflict() && (drops_first || !only_depends), "{error}"),
            }
            db.commit(|t| {
                let mut log = t.array::<u32, Ix2>("log").unwrap();
                log.append(Axis(0), numbers(0, rows.saturating_sub(log.shape()[0])).view()).unwrap();
            });
        }
    }
    // `transact` runs the loser again.
    let mut runs = 0;
    db.transact(|txn| {
        runs += 1;
        if runs == 1 {
            db.commit(|t| t.array::<u32, Ix2>("log").unwrap().append(Axis(0), numbers(0, 1).view()).unwrap());
        }
        txn.array::<u32, Ix2>("log")?.drop_front(1)
    })
    .unwrap();
    assert_eq!(runs, 2);
}

/// Elements of an odd size that are aligned to it no more than to a byte.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "bigarray::bytemuck")]
#[repr(C)]
struct Tick {
    venue: u8,
    price: [u8; 4],
    side: [u8; 2],
}
bigarray::impl_element!(Tick { venue: u8, price: [u8; 4], side: [u8; 2] });

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[bytemuck(crate = "bigarray::bytemuck")]
#[repr(C)]
struct Position {
    x: f64,
    y: f64,
    z: f64,
}
bigarray::impl_element!(Position { x: f64, y: f64, z: f64 });

#[test]
fn elements_of_any_size_are_whole_and_aligned() {
    let db = TestDb::new();
    let ticks: Vec<Tick> =
        (0..40_000u32).map(|n| Tick { venue: n as u8, price: n.to_le_bytes(), side: [1, 2] }).collect();
    let wide: Vec<Position> = (0..20_000).map(|n| Position { x: f64::from(n), y: 0.5, z: -1.0 }).collect();
    db.commit(|t| {
        let options = small_blocks();
        t.create_with::<Tick, _>("ticks", 0, &options).unwrap().append(Axis(0), aview1(&ticks)).unwrap();
        t.create_with::<Position, _>("wide", 0, &options).unwrap().append(Axis(0), aview1(&wide)).unwrap();
    });
    for n in [1, 9362, 3, 20_000] {
        db.commit(|t| t.array::<Tick, Ix1>("ticks").unwrap().drop_front(n).unwrap());
    }
    db.commit(|t| t.array::<Position, Ix1>("wide").unwrap().drop_front(12_345).unwrap());
    assert_eq!(db.array::<Tick, Ix1>("ticks").unwrap().view(), aview1(&ticks[29_366..]));
    assert_eq!(db.array::<Position, Ix1>("wide").unwrap().view(), aview1(&wide[12_345..]));
}

/// More was dropped than there are addresses: what remains takes no more of them than it has bytes, and some to grow.
#[test]
fn what_was_dropped_takes_no_addresses() {
    const ROWS: usize = 1 << 59;
    let db = TestDb::new();
    if db.is_at_url() {
        return; // where what remains moves
    }
    db.commit(|t| {
        let mut log = t.create_with::<u64, _>("log", ROWS, &small_blocks()).unwrap();
        log.rows_mut(ROWS - 9..).unwrap().assign(&Array1::from_iter(0..9));
    });
    assert!(std::panic::catch_unwind(|| db.array::<u64, Ix1>("log").unwrap().view().len()).is_err());
    db.commit(|t| {
        let mut log = t.array::<u64, Ix1>("log").unwrap();
        log.rows_mut(ROWS - 2..).unwrap()[0] = 100;
        log.drop_front(ROWS - 9 - BLOCK).unwrap();
        // In the same transaction.
        assert_eq!(log.view().slice(s![BLOCK..]), array![0, 1, 2, 3, 4, 5, 6, 100, 8]);
        log.view_mut()[BLOCK] = 50;
    });
    for step in 0..3u64 {
        let log = db.array::<u64, Ix1>("log").unwrap();
        assert_eq!(log.view().slice(s![BLOCK..BLOCK + 3]), array![50 + step, 1, 2]);
        db.commit(|t| {
            let mut log = t.array::<u64, Ix1>("log").unwrap();
            log.append(Axis(0), aview1(&[step])).unwrap();
            log.view_mut()[BLOCK] += 1;
        });
    }
}

#[test]
fn any_dimension_loses_rows_along_its_growth_axis() {
    let db = TestDb::new();
    let want =
        ArrayD::from_shape_fn(IxDyn(&[30, 4, 5, 2]), |at| (at[0] * 1000 + at[1] * 100 + at[2] * 10 + at[3]) as u16);
    db.commit(|t| {
        let mut a = t.create_with::<u16, _>("a", IxDyn(&[30, 4, 5, 2]), &small_blocks()).unwrap();
        a.view_mut().assign(&want);
        a.drop_front(11).unwrap();
        assert!(a.view() == want.slice_axis(Axis(0), Slice::from(11..)));
    });
    assert!(db.array::<u16, IxDyn>("a").unwrap().view() == want.slice_axis(Axis(0), Slice::from(11..)));
}
