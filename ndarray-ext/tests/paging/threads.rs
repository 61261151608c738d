//! Threads that read one array, and threads with databases of their own.

use std::fs;
use std::path::Path;
use std::sync::Barrier;

use bigarray::ndarray::{Array2, ArrayView2, Axis, Ix1, Ix2, Order};
use bigarray::{BigArray, Database, MemoryUse};
use rayon::ThreadPoolBuilder;
use rayon::prelude::*;

use crate::support::child::{alone, this_test};
use crate::support::process::{Behind, behind};
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb, check, small_blocks};

/// Numbers whose sums are exact in any order.
fn numbers() -> Array2<u64> {
    Array2::from_shape_fn((1000, 1000), |(i, j)| ((i * 1000 + j) as u64).wrapping_mul(0x9e37_79b9) % 100_003)
}

fn sum_of_blocks(a: &BigArray<u64, Ix2>) -> u64 {
    a.blocks().into_par_iter().map(|rows| a.rows(rows).unwrap().sum()).sum()
}

/// What is mapped of the array and how, and what was copied and let go of in the whole database. Not what is resident: the
/// kernel takes pages of files back as it sees fit.
fn what_is_loaded(db: &Database, a: &BigArray<u64, Ix2>) -> (Behind, MemoryUse) {
    (Behind { resident_bytes: 0, ..behind(&a.view()) }, db.memory_use())
}

#[test]
fn any_number_of_threads_reads_the_same_sums_cold_and_warm() {
    let numbers = numbers();
    let mut db = TestDb::new();
    db.commit(|txn| {
        for (name, order) in [("C", Order::RowMajor), ("F", Order::ColumnMajor)] {
            let options = small_blocks().order(order);
            txn.create_with::<u64, _>(name, numbers.dim(), &options).unwrap().view_mut().assign(&numbers);
        }
    });
    for threads in [1, 2, 4, 8] {
        // A pool of the program's: none of its threads is needed to load what others wait for.
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        db.reopen();
        for name in ["C", "F"] {
            let a = db.array::<u64, Ix2>(name).unwrap();
            assert!(a.blocks().len() > 100);
            let cold = pool.install(|| sum_of_blocks(&a));
            assert_eq!(cold, numbers.sum(), "{name}, {threads} threads, cold");
            let loaded = what_is_loaded(&db, &a);
            for _ in 0..3 {
                let warm = pool.install(|| sum_of_blocks(&a));
                assert_eq!(warm, numbers.sum(), "{name}, {threads} threads, warm");
            }
            // Warm blocks are only read: nothing is loaded, mapped or copied again.
            assert_eq!(what_is_loaded(&db, &a), loaded, "{name}, {threads} threads");
        }
    }
}

/// What a program does with a database of its own.
fn life_of_a_database(path: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let row: Vec<u8> = random.bytes(3 * BLOCK / 2);
    for round in 1..=3 {
        let db = Database::open(path).unwrap();
        db.transact(|txn| {
            let mut a = match txn.array::<u8, Ix2>("A") {
                Err(error) if error.is_not_found() => txn.create_with("A", (0, row.len()), &small_blocks())?,
                found => found?,
            };
            a.append(Axis(0), ArrayView2::from_shape((1, row.len()), &row).unwrap())?;
            a.view_mut()[[round - 1, 7]] = round as u8;
            Ok(())
        })
        .unwrap();
        drop(db);
        let a = Database::open(path).unwrap().array::<u8, Ix2>("A").unwrap();
        assert_eq!(a.shape(), [round, row.len()]);
        for (i, stored) in a.view().outer_iter().enumerate() {
            let expected = row.iter().enumerate().map(|(j, &x)| if j == 7 { i as u8 + 1 } else { x });
            assert!(stored.iter().copied().eq(expected), "seed {seed}, row {i}");
        }
    }
    check(path);
}

fn entries(dir: &str) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// As the tests of a program that `cargo test` runs in parallel.
#[test]
fn threads_open_use_and_close_databases_of_their_own_and_leave_nothing_behind() {
    const THREADS: usize = 16;
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Things that are made once a process are made now.
    life_of_a_database(&dir.path().join("first.bigarray"), 0);
    let count = || ["/proc/self/task", "/proc/self/fd"].map(entries);
    // Threads that were joined may be listed for a moment: the least of some looks.
    let before = (0..50).map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        count()
    });
    let before = before.reduce(|least, now| [least[0].min(now[0]), least[1].min(now[1])]).unwrap();
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, path) = (&start, dir.path().join(format!("{thread}.bigarray")));
            scope.spawn(move || {
                start.wait();
                life_of_a_database(&path, thread as u64);
            });
        }
    });
    while count().iter().zip(&before).any(|(now, before)| now > before) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// They share one environment, which the first opens and the last closes.
#[test]
fn threads_open_and_close_one_database_at_once() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 6;
    let db = TestDb::new();
    db.commit(|txn| drop(txn.create::<u64, _>("counters", THREADS as usize).unwrap()));
    let path = db.path();
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                for round in 1..=ROUNDS {
                    let db = Database::open(path).unwrap();
                    db.transact(|txn| {
                        txn.array::<u64, Ix1>("counters")?.view_mut()[thread as usize] += 1;
                        Ok(())
                    })
                    .unwrap();
                    let counters = db.array::<u64, Ix1>("counters").unwrap();
                    drop(db);
                    assert_eq!(counters.view()[thread as usize], round);
                }
            });
        }
    });
    let counters = db.array::<u64, Ix1>("counters").unwrap();
    assert!(counters.view().iter().all(|&n| n == ROUNDS));
}
