//! Loading ahead of use, in every way in which pages come and go.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{BigArray, Database, Pager};

use crate::support::{BLOCK, Faults, TestDb, faults, runs_if, small_blocks};

/// Elements of a block.
const ELEMENTS: usize = BLOCK / size_of::<u64>();
/// More than is loaded in one turn, so that several go side by side.
const LEN: usize = 200 * ELEMENTS;

/// A database with the array "A", whose elements are their own numbers, and none of it in memory.
fn stored(options: &bigarray::OpenOptions) -> TestDb {
    let mut db = TestDb::new();
    db.commit(|txn| {
        let mut a = txn.create_with::<u64, _>("A", LEN, &small_blocks()).unwrap();
        a.view_mut().iter_mut().zip(0..).for_each(|(x, i)| *x = i);
    });
    db.reopen_with(options);
    db
}

fn open(db: &Database) -> BigArray<u64, Ix1> {
    db.array("A").unwrap()
}

#[test]
fn rows_that_were_prefetched_ahead_are_resident_and_right() {
    for options in [Database::options(), Database::options().pager(Pager::Copy)] {
        let db = stored(&options);
        let a = open(&db);
        let rows = ELEMENTS + 3..LEN - 5;
        let prefetch = a.prefetch_ahead(rows.clone()).unwrap();
        prefetch.wait().unwrap();
        assert!(prefetch.is_done());
        assert_eq!(a.resident_bytes(rows.clone()).unwrap(), rows.len() * 8);
        assert!(a.is_resident(rows).unwrap());
        assert!(a.view().iter().zip(0..).all(|(&x, i)| x == i));
    }
}

#[test]
fn one_resolver_is_enough() {
    let db = stored(&Database::options().resolvers(1).pager(Pager::Copy));
    let a = open(&db);
    let prefetch = a.prefetch_ahead(..).unwrap();
    assert!(a.view().iter().rev().zip((0..LEN as u64).rev()).all(|(&x, i)| x == i));
    prefetch.wait().unwrap();
    assert!(a.is_resident(..).unwrap());
}

#[test]
fn a_view_may_be_read_by_several_threads_while_its_rows_are_loaded_ahead() {
    for options in [Database::options(), Database::options().pager(Pager::Copy)] {
        let db = stored(&options);
        let a = open(&db);
        let prefetches = [a.prefetch_ahead(..).unwrap(), a.prefetch_ahead(LEN / 2..).unwrap()];
        std::thread::scope(|scope| {
            for first in 0..3 {
                let view = a.view();
                scope.spawn(move || assert!((first..LEN).rev().step_by(3).all(|i| view[i] == i as u64)));
            }
        });
        prefetches.iter().for_each(|prefetch| prefetch.wait().unwrap());
    }
}

#[test]
fn a_prefetch_goes_on_in_a_transaction_that_writes_and_commits() {
    for options in [Database::options(), Database::options().pager(Pager::Copy)] {
        let db = stored(&options);
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u64, Ix1>("A").unwrap();
        let prefetch = a.prefetch_ahead(..).unwrap();
        a.view_mut().iter_mut().for_each(|x| *x += 1);
        drop(a);
        txn.commit().unwrap();
        prefetch.wait().unwrap();
        assert!(open(&db).view().iter().zip(1..).all(|(&x, i)| x == i));
    }
}

#[test]
fn a_prefetch_outlives_its_array_its_transaction_its_database_and_a_shrink() {
    let mut db = stored(&Database::options());
    let closed = open(&db).prefetch_ahead(..).unwrap();
    let txn = db.begin().unwrap();
    let mut a = txn.array::<u64, Ix1>("A").unwrap();
    let shrunk = a.prefetch_ahead(..).unwrap();
    a.resize(10).unwrap();
    a.resize(LEN).unwrap();
    assert!(a.view().iter().zip(0..).all(|(&x, i)| x == if i < 10 { i } else { 0 }));
    let aborted = a.prefetch_ahead(..).unwrap();
    drop(a);
    txn.abort();
    let last = open(&db).prefetch_ahead(..).unwrap();
    db.close();
    for prefetch in [closed, shrunk, aborted, last] {
        prefetch.wait().unwrap();
    }
}

#[test]
fn a_cancelled_prefetch_ends() {
    let db = stored(&Database::options());
    let a = open(&db);
    let prefetch = a.prefetch_ahead(..).unwrap();
    prefetch.cancel();
    prefetch.wait().unwrap();
    assert!(a.view().iter().zip(0..).all(|(&x, i)| x == i));
}

#[test]
fn half_of_the_memory_budget_is_taken_and_what_came_first_stays() {
    let db = stored(&Database::options().pager(Pager::Copy).memory_budget(4 << 20));
    let a = open(&db);
    a.prefetch_ahead(..).unwrap().wait().unwrap();
    if !runs_if(faults() != Faults::None, "without faults no memory is given back") {
        return;
    }
    let memory = db.memory_use();
    assert_eq!((memory.used_bytes, memory.blocks_evicted), (2 << 20, 0), "{memory:?}");
    assert_eq!(a.resident_bytes(..).unwrap(), 2 << 20);
    assert!(a.view().iter().zip(0..).all(|(&x, i)| x == i));
    // All of it is in use now, and the last rows stay.
    let last = LEN - 16 * ELEMENTS..;
    assert!(a.is_resident(last.clone()).unwrap());
    a.prefetch_ahead(..LEN / 2).unwrap().wait().unwrap();
    assert!(a.is_resident(last).unwrap());
    assert!(db.memory_use().used_bytes <= 4 << 20);
}

#[test]
fn a_block_that_is_damaged_is_an_error_of_the_wait_and_not_the_end_of_the_process() {
    let mut db = stored(&Database::options());
    if !runs_if(!db.is_at_url(), "what is damaged there is tested with the store") {
        return;
    }
    db.close();
    let data = File::options().read(true).write(true).open(db.path().join("data")).unwrap();
    let at = data.metadata().unwrap().len() / 2 / 4096 * 4096;
    let mut byte = [0];
    data.read_exact_at(&mut byte, at).unwrap();
    data.write_all_at(&[byte[0] ^ 1], at).unwrap();
    db.reopen_with(&Database::options().pager(Pager::Copy));
    if runs_if(faults() != Faults::None, "without faults nothing is copied") {
        let a = open(&db);
        let prefetch = a.prefetch_ahead(..).unwrap();
        let error = prefetch.wait().unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("\"A\""), "{error}");
        // Nothing else comes of it: once the disk has the bytes again they are read.
        data.write_all_at(&byte, at).unwrap();
        a.prefetch_ahead(..).unwrap().wait().unwrap();
        assert!(a.view().iter().zip(0..).all(|(&x, i)| x == i));
    }
    db.close();
    data.write_all_at(&byte, at).unwrap();
}

#[test]
fn rows_that_are_not_there_are_refused() {
    let db = stored(&Database::options());
    let a = open(&db);
    assert!(a.prefetch_ahead(..LEN + 1).unwrap_err().is_shape_mismatch());
    assert!(a.prefetch_ahead(5..5).unwrap().is_done());
}

/// Waits at its first bytes until those that follow are in memory, which the writing thread did not load then.
struct Slow {
    a: BigArray<u64, Ix1>,
    bytes: usize,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let next = (2 << 20) / 8..(6 << 20) / 8;
        let since = Instant::now();
        while self.bytes == 0 && !self.a.is_resident(next.clone()).unwrap() {
            assert!(since.elapsed() < Duration::from_secs(60), "nothing is loaded ahead");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_written_out_is_loaded_ahead_of_writing() {
    let db = stored(&Database::options().pager(Pager::Copy).memory_budget(128 << 20));
    let a = open(&db);
    let mut out = Slow { a: a.clone(), bytes: 0 };
    a.write_to(&mut out).unwrap();
    assert_eq!(out.bytes, LEN * 8);
}

/// With a budget of which an eighth is less than a piece, and with one that all of the array is far beyond.
#[test]
fn what_is_written_out_is_right_with_any_memory_budget() {
    for budget in [4 << 20, 20 << 20] {
        let db = stored(&Database::options().pager(Pager::Copy).memory_budget(budget));
        let mut out = Vec::new();
        open(&db).write_to(&mut out).unwrap();
        assert!(out.chunks(8).zip(0_u64..).all(|(x, i)| x == i.to_le_bytes()));
        assert_eq!(out.len(), LEN * 8);
        assert!(faults() == Faults::None || db.memory_use().used_bytes <= budget);
    }
}
