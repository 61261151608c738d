//! Views that many threads read and write at once.

use std::sync::Barrier;

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array1, Array2, ArrayView1, Axis, Ix1, Ix2, Order, Zip, s};

use crate::support::process::behind;
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, small_blocks};

/// Numbers whose sums are exact.
fn numbers(rows: usize, columns: usize) -> Array2<u64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| (i * columns + j) as u64 % 1009)
}

fn stored(numbers: &Array2<u64>) -> TestDb {
    let mut db = TestDb::new();
    db.transact(|txn| {
        for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
            let mut a = txn.create_with::<u64, _>(name, numbers.dim(), &small_blocks().order(order))?;
            a.view_mut().assign(numbers);
        }
        Ok(())
    })
    .unwrap();
    db.reopen();
    db
}

#[test]
fn threads_that_fault_one_block_at_once_all_see_it_and_load_it_once() {
    const THREADS: usize = 32;
    // A block of 2 MiB with neighbours, of which half is a hole.
    const BYTES: usize = 2 << 20;
    let mut db = TestDb::new();
    let content = Random::new(1).bytes(2 * BYTES);
    db.transact(|txn| {
        let mut a = txn.create::<u8, _>("A", 4 * BYTES)?;
        a.view_mut().slice_mut(s![..2 * BYTES]).assign(&ArrayView1::from(&content));
        Ok(())
    })
    .unwrap();
    for round in 0..8 {
        db.reopen();
        let a = db.array::<u8, Ix1>("A").unwrap();
        let barrier = Barrier::new(THREADS);
        // In odd rounds all in the same page, in even ones all over the block.
        let spread = if round % 2 == 0 { BYTES / THREADS } else { 16 };
        let seen: Vec<(u8, u8)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (a, barrier) = (&a, &barrier);
                    scope.spawn(move || {
                        let view = a.view();
                        barrier.wait();
                        (view[BYTES + thread * spread], view[3 * BYTES + thread * spread])
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (thread, seen) in seen.into_iter().enumerate() {
            assert_eq!(seen, (content[BYTES + thread * spread], 0), "round {round}, thread {thread}");
        }
        let behind = behind(&a.view());
        assert!(behind.resident_bytes <= 4 * BYTES, "{behind:?}");
        assert!(behind.mappings <= 16, "{behind:?}");
    }
}

#[test]
fn threads_that_fault_all_blocks_of_one_array_in_any_order_see_the_right_bytes() {
    let numbers = numbers(700, 700);
    let db = stored(&numbers);
    for name in ["C", "F"] {
        let a = db.array::<u64, Ix2>(name).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (view, numbers) = (a.view(), &numbers);
                scope.spawn(move || {
                    let mut random = Random::new(thread);
                    for _ in 0..2000 {
                        let at = [random.within(0..700), random.within(0..700)];
                        assert_eq!(view[at], numbers[at]);
                    }
                });
            }
        });
    }
}

#[test]
fn rayon_over_axes_chunks_zip_and_blocks_gives_exact_sums() {
    let numbers = numbers(1000, 700);
    let expected: u64 = numbers.sum();
    let by_row = numbers.sum_axis(Axis(1));
    for name in ["C", "F"] {
        let mut db = stored(&numbers);
        let a = db.array::<u64, Ix2>(name).unwrap();
        let sum: u64 = a.view().axis_iter(Axis(0)).into_par_iter().map(|row| row.sum()).sum();
        assert_eq!(sum, expected, "{name}: axis_iter");
        drop(a);

        db.reopen();
        let a = db.array::<u64, Ix2>(name).unwrap();
        let sum: u64 = a.view().axis_chunks_iter(Axis(1), 33).into_par_iter().map(|chunk| chunk.sum()).sum();
        assert_eq!(sum, expected, "{name}: axis_chunks_iter");
        drop(a);

        db.reopen();
        let a = db.array::<u64, Ix2>(name).unwrap();
        let mut rows = Array1::zeros(1000);
        Zip::from(&mut rows).and(a.view().rows()).par_for_each(|sum, row| *sum = row.sum());
        assert_eq!(rows, by_row, "{name}: Zip");
        drop(a);

        db.reopen();
        let a = db.array::<u64, Ix2>(name).unwrap();
        assert!(a.blocks().len() > 60);
        let sum: u64 = a.blocks().into_par_iter().map(|rows| a.rows(rows).unwrap().sum()).sum();
        assert_eq!(sum, expected, "{name}: blocks");
        assert_eq!(a.view(), numbers);
    }
}

#[test]
fn rayon_writes_through_mutable_views_and_all_of_it_is_committed() {
    let numbers = numbers(1000, 700);
    let mut db = stored(&numbers);
    db.transact(|txn| {
        let mut a = txn.array::<u64, Ix2>("C")?;
        let f = txn.array::<u64, Ix2>("F")?;
        // Every element of one array from another, both loaded on the way.
        Zip::from(a.view_mut()).and(f.view()).par_for_each(|a, f| *a = 3 * *a + *f);
        let mut fresh = txn.create::<u64, _>("new", (1000, 700))?;
        fresh
            .view_mut()
            .axis_chunks_iter_mut(Axis(0), 17)
            .into_par_iter()
            .enumerate()
            .for_each(|(n, mut chunk)| chunk.fill(n as u64));
        Ok(())
    })
    .unwrap();
    db.reopen();
    let snapshot = db.snapshot().unwrap();
    assert_eq!(snapshot.array::<u64, Ix2>("C").unwrap().view(), &numbers * 4);
    assert_eq!(snapshot.array::<u64, Ix2>("F").unwrap().view(), numbers);
    let fresh = snapshot.array::<u64, Ix2>("new").unwrap();
    assert!(fresh.view().indexed_iter().all(|((i, _), &x)| x == i as u64 / 17));
}

#[test]
fn halves_of_a_mutable_view_are_written_by_two_threads() {
    let db = TestDb::new();
    db.transact(|txn| txn.create_with::<u8, _>("A", 16 * BLOCK, &small_blocks()).map(drop)).unwrap();
    // First over holes, then over what is stored.
    for round in 1..4 {
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            // Not at the boundary of a block or page: both write to the same one.
            let (mut left, mut right) = a.view_mut().split_at(Axis(0), 8 * BLOCK + 17);
            std::thread::scope(|scope| {
                scope.spawn(move || left.iter_mut().rev().for_each(|x| *x = round));
                scope.spawn(move || right.fill(round + 100));
            });
            Ok(())
        })
        .unwrap();
        let a = db.array::<u8, Ix1>("A").unwrap();
        let (left, right) = a.view().split_at(Axis(0), 8 * BLOCK + 17);
        assert!(left.iter().all(|&x| x == round) && right.iter().all(|&x| x == round + 100));
    }
}

#[test]
fn snapshots_and_transactions_move_between_threads() {
    let db = stored(&numbers(100, 100));
    let (txn, snapshot) = (db.begin().unwrap(), db.snapshot().unwrap());
    let committed = std::thread::spawn(move || {
        txn.array::<u64, Ix2>("C").unwrap().view_mut()[[0, 0]] = 7;
        txn
    })
    .join()
    .unwrap();
    committed.commit().unwrap();
    let old = std::thread::spawn(move || snapshot.array::<u64, Ix2>("C").unwrap()).join().unwrap();
    assert_eq!(old.view()[[0, 0]], 0);
    assert_eq!(db.array::<u64, Ix2>("C").unwrap().view()[[0, 0]], 7);
}
