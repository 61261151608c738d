//! Arrays larger than the address space, read and written through windows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bigarray::ndarray::{Array1, Array2, Ix1, Ix2, Order};
use bigarray::{ArrayOptions, BigArray, Codec, Database, Pager, Result};

use crate::support::arrays::says;
use crate::support::child::{alone, this_test};
use crate::support::disk::damage;
use crate::support::{BLOCK, Faults, TestDb, faults, small_blocks};

/// Rows of an array of 2⁶² bytes; a row is a page.
const ROWS: usize = 1 << 50;
const ROW: usize = 512;

/// Rows of a block.
const BLOCK_ROWS: usize = BLOCK / 8 / ROW;

fn rows(from: usize, n: usize) -> Array2<f64> {
    Array2::from_shape_fn((n, ROW), |(row, column)| ((from + row) % 1000 * ROW + column) as f64)
}

fn huge(db: &Database) -> Result<()> {
    huge_with(db, Codec::None)
}

fn huge_with(db: &Database, codec: Codec) -> Result<()> {
    db.transact(|txn| txn.create_with::<f64, _>("A", (ROWS, ROW), &small_blocks().codec(codec)).map(drop))
}

const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4 { shuffle: true }, Codec::Zstd { level: 1, shuffle: false }];

/// Where windows begin: at both ends, in the middle, and not at a block's edge.
const PLACES: [usize; 5] = [0, 5, ROWS / 2 - 3, ROWS - 3 * BLOCK_ROWS - 1, ROWS - 40];

#[test]
fn windows_show_what_was_written_before_and_after_the_commit() {
    for codec in CODECS {
        let mut db = TestDb::new();
        huge_with(&db, codec).unwrap();
        let txn = db.begin().unwrap();
        let mut a = txn.array::<f64, Ix2>("A").unwrap();
        for at in PLACES {
            a.rows_mut(at..at + 40).unwrap().assign(&rows(at, 40));
        }
        // Each was given up for the next: what was written to it is still there.
        for at in PLACES {
            assert_eq!(a.rows(at + 5..at + 40).unwrap(), rows(at + 5, 35), "{at}");
        }
        drop(a);
        let a = txn.array::<f64, Ix2>("A").unwrap();
        assert_eq!(a.rows(ROWS - 40..).unwrap(), rows(ROWS - 40, 40));
        drop(a);
        txn.commit().unwrap();
        for reopened in [false, true] {
            let a = db.array::<f64, Ix2>("A").unwrap();
            for at in PLACES {
                assert_eq!(a.rows(at + 5..at + 40).unwrap(), rows(at + 5, 35), "{at}, reopened: {reopened}");
            }
            assert_eq!(a.rows(ROWS / 4..ROWS / 4 + 100).unwrap().sum(), 0.0);
            drop(a);
            db.reopen();
        }
    }
}

#[test]
fn overlapping_windows_one_after_the_other_are_one_array() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    let at = ROWS / 3;
    a.rows_mut(at..at + 50).unwrap().fill(1.0);
    a.rows_mut(at + 20..at + 70).unwrap().fill(2.0);
    assert_eq!(a.rows(at - 10..at + 80).unwrap().sum(), (20.0 + 2.0 * 50.0) * ROW as f64);
    *a.rows_mut(at + 10..at + 30).unwrap() += 1.0;
    let sums: Vec<f64> = a.rows(at..at + 70).unwrap().rows().into_iter().map(|row| row[ROW - 1]).collect();
    let expected = |row: usize| if row < 20 { 1.0 } else { 2.0 } + f64::from(u8::from((10..30).contains(&row)));
    assert!(sums.iter().enumerate().all(|(row, &x)| x == expected(row)), "{sums:?}");
    // Two that are read at once, and overlap.
    let (one, two) = (a.rows(at..at + 40).unwrap(), a.rows(at + 20..at + 60).unwrap());
    assert_eq!(one.row(25), two.row(5));
    drop(a);
    txn.abort();
    assert_eq!(db.array::<f64, Ix2>("A").unwrap().rows(at..at + 70).unwrap().sum(), 0.0);
}

#[test]
fn many_windows_are_read_at_once_by_many_threads() {
    for codec in CODECS {
        let db = TestDb::new();
        huge_with(&db, codec).unwrap();
        db.transact(|txn| {
            let mut a = txn.array::<f64, Ix2>("A")?;
            PLACES.iter().try_for_each(|&at| a.rows_mut(at..at + 40).map(|mut window| window.assign(&rows(at, 40))))
        })
        .unwrap();
        let a = db.array::<f64, Ix2>("A").unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let a: &BigArray<f64, Ix2> = &a;
                scope.spawn(move || {
                    // All of them live at once.
                    let windows: Vec<_> = (0..20)
                        .map(|n| {
                            let at = PLACES[(thread + n) % PLACES.len()] + n;
                            (at, a.rows(at..at + 15).unwrap())
                        })
                        .collect();
                    for (at, window) in windows.iter().rev() {
                        assert_eq!(window, rows(*at, 15));
                    }
                });
            }
        });
    }
}

#[test]
fn a_damaged_block_that_a_window_shows_is_an_error_that_names_its_array() {
    for codec in CODECS {
        let mut db = TestDb::new();
        huge_with(&db, codec).unwrap();
        let at = ROWS / 2;
        db.transact(|txn| txn.array::<f64, Ix2>("A")?.rows_mut(at..at + 40).map(|mut w| w.assign(&rows(at, 40))))
            .unwrap();
        db.close();
        damage(db.path());
        let cold = Database::options().pager(Pager::Copy).open(db.path()).unwrap();
        let reader = cold.array::<f64, Ix2>("A").unwrap();
        let txn = cold.begin().unwrap();
        let mut writer = txn.array::<f64, Ix2>("A").unwrap();
        // Without faults what windows had is stored plain, and mapped.
        if faults() != Faults::None {
            assert!(writer.rows_mut(at..at + 1).is_ok(), "{codec}: it is loaded when it is touched");
            for error in [reader.prefetch(at..at + 1), writer.prefetch(at..at + 1)].map(Result::unwrap_err) {
                assert!(error.is_corrupt(), "{codec}: {error:?}");
                says(&error, &["\"A\"", "block"]);
            }
        }
        // Elements elsewhere are as they were.
        assert_eq!(reader.rows(5..10).unwrap().sum(), 0.0);
        drop(writer);
        drop((reader, txn, cold));
        damage(db.path());
    }
}

/// 16 TiB: not many of them can be had at once.
const LARGE: usize = 1 << 32;

#[test]
fn a_clone_has_windows_of_its_own() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let a = db.array::<f64, Ix2>("A").unwrap();
    // Far more than any address space holds, one after the other: each goes with its clone.
    for n in 0..1000 {
        let window = a.clone();
        let at = n * LARGE;
        assert_eq!(window.rows(at..at + LARGE).unwrap()[[LARGE - 1, 7]], 0.0);
    }
}

/// In a process of its own: others would be short of addresses, too.
#[test]
fn too_many_windows_at_once_are_an_error_until_some_go() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let db = TestDb::new();
    huge(&db).unwrap();
    let a = db.array::<f64, Ix2>("A").unwrap();
    let error = (0..1000).find_map(|n| a.rows(n * LARGE..(n + 1) * LARGE).err()).unwrap();
    assert!(error.is_too_large(), "{error:?}");
    says(&error, &["\"A\""]);
    // A window that is there needs no addresses.
    assert_eq!(a.rows(..LARGE).unwrap()[[3, 3]], 0.0);
    drop(a);
    let a = db.array::<f64, Ix2>("A").unwrap();
    assert_eq!(a.rows(500 * LARGE..501 * LARGE).unwrap()[[3, 3]], 0.0);
}

#[test]
fn a_whole_view_of_too_large_an_array_is_an_error_that_says_so() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let a = db.array::<f64, Ix2>("A").unwrap();
    assert_eq!((a.shape(), a.nbytes()), (&[ROWS, ROW][..], 1 << 62));
    let error = a.rows(..).unwrap_err();
    assert!(error.is_too_large(), "{error:?}");
    says(&error, &["\"A\""]);
    let panic = catch_unwind(AssertUnwindSafe(|| a.view().len())).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("\"A\"") && message.contains("rows_mut"), "{message}");
    #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
    for range in [0..ROWS + 1, ROWS + 1..ROWS + 1, 5..3, 0..usize::MAX] {
        let error = a.rows(range.clone()).unwrap_err();
        assert!(error.is_shape_mismatch(), "{range:?}: {error:?}");
        says(&error, &["\"A\"", &format!("length {ROWS}")]);
    }
    assert_eq!(a.rows(ROWS..).unwrap().shape(), [0, ROW]);
    a.prefetch(ROWS - 10..).unwrap();
    assert_eq!(a.blocks().len(), ROWS / BLOCK_ROWS);
    assert_eq!(a.rows(a.blocks().next_back().unwrap()).unwrap().sum(), 0.0);
}

#[test]
fn column_major_arrays_have_windows_along_their_last_axis() {
    let db = TestDb::new();
    let options = small_blocks().order(Order::ColumnMajor);
    let at = ROWS - 100;
    db.transact(|txn| {
        let mut a = txn.create_with::<f64, _>("A", (ROW, ROWS), &options)?;
        a.rows_mut(at..at + 20)?.assign(&rows(at, 20).t());
        Ok(())
    })
    .unwrap();
    let a = db.array::<f64, Ix2>("A").unwrap();
    assert_eq!(a.rows(at..at + 20).unwrap(), rows(at, 20).t());
    assert_eq!(a.rows(at + 20..).unwrap().sum(), 0.0);
}

#[test]
fn conflicts_are_found_between_windows() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let change = |at: usize| {
        let txn = db.begin().unwrap();
        txn.array::<f64, Ix2>("A").unwrap().rows_mut(at..at + 1).unwrap().fill(1.0);
        txn
    };
    let at = ROWS / 2;
    let (one, same, other) = (change(at), change(at + 1), change(at + BLOCK_ROWS));
    one.commit().unwrap();
    assert!(same.commit().unwrap_err().is_conflict());
    other.commit().unwrap();
    assert_eq!(db.array::<f64, Ix2>("A").unwrap().rows(at..at + 2 * BLOCK_ROWS).unwrap().sum(), 2.0 * ROW as f64);
}

#[test]
fn windows_grow_shrink_flush_and_go_back() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let mut txn = db.begin().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    a.rows_mut(ROWS - 2..).unwrap().fill(1.0);
    a.flush().unwrap();
    a.resize((ROWS - 1, ROW)).unwrap();
    a.resize((ROWS, ROW)).unwrap();
    assert_eq!(a.rows(ROWS - 2..).unwrap().sum(), ROW as f64);
    drop(a);
    let savepoint = txn.savepoint().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    a.rows_mut(ROWS - 1..).unwrap().fill(3.0);
    a.push(bigarray::ndarray::Axis(0), Array1::from_elem(ROW, 4.0).view()).unwrap();
    assert_eq!(a.rows(ROWS..).unwrap().sum(), 4.0 * ROW as f64);
    drop(a);
    txn.rollback(savepoint).unwrap();
    let a = txn.array::<f64, Ix2>("A").unwrap();
    assert_eq!(a.shape(), [ROWS, ROW]);
    assert_eq!(a.rows(ROWS - 2..).unwrap().sum(), ROW as f64);
    drop(a);
    txn.commit().unwrap();
    assert_eq!(db.array::<f64, Ix2>("A").unwrap().rows(ROWS - 2..).unwrap().sum(), ROW as f64);
}

#[test]
fn far_more_than_the_budget_goes_through_windows() {
    let db = TestDb::with(Database::options().memory_budget(4 << 20));
    db.transact(|txn| {
        let mut a = txn.create_with::<u64, _>("A", 1usize << 59, &ArrayOptions::new())?;
        for n in 0..64 {
            let at = n << 50;
            a.rows_mut(at..at + (1 << 17))?.iter_mut().zip(n as u64..).for_each(|(x, n)| *x = n);
        }
        Ok(())
    })
    .unwrap();
    let a = db.array::<u64, Ix1>("A").unwrap();
    for n in 0..64 {
        let at = n << 50;
        assert!(a.clone().rows(at..at + (1 << 17)).unwrap().iter().zip(n as u64..).all(|(&x, n)| x == n));
    }
}

/// Windows that have a part in common, neither of which has all of the other, while what was written is nowhere else yet.
#[test]
fn a_window_shows_what_was_written_through_another() {
    let db = TestDb::new();
    huge(&db).unwrap();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<f64, Ix2>("A").unwrap();
    let large = (2 << 20) / 8 / ROW;
    let at = 1000 * large;
    for (written, read) in [
        (at..at + large, at - large..at + large),
        (at - 5..at + 5, at - large - 5..at + large + 5),
        (at - 3 * large..at + 3 * large, at - 4 * large..at + 4 * large),
    ] {
        a.rows_mut(at - 4 * large..at + 4 * large).unwrap().fill(0.0);
        a.rows_mut(written.clone()).unwrap().fill(1.0);
        let before = a.rows(written.clone()).unwrap();
        let sum = a.rows(read).unwrap().sum();
        assert_eq!(sum, (written.len() * ROW) as f64, "{written:?}");
        assert_eq!(before.sum(), sum);
    }
}
