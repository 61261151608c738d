//! The limit of mappings of a process. Arrays of many blocks stay below it, and leave room for other mappings of the
//! program.

use std::fs;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{BigArray, Database, Error, Transaction};

use crate::support::arrays::says;
use crate::support::ballast::{Ballast, are_few_mappings, most_mappings};
use crate::support::child::{alone, say, this_test};
use crate::support::process::mappings;
use crate::support::random::Random;
use crate::support::{BLOCK, PAGE, TestDb, small_blocks};

/// The limit is kept to about: what else the process maps is counted now and then only.
const SLACK: usize = 200;

/// Where in a block its one page lies that is stored. It takes two mappings: one for the page, one for what is around.
const STORED: usize = 3 * PAGE;

fn value(block: usize) -> u8 {
    (block % 250) as u8 + 1
}

/// An array of which each block has a page stored, none beside that of its neighbour.
fn scatter(db: &Database, blocks: usize) {
    db.transact(|txn| txn.create_with::<u8, _>("A", blocks * BLOCK, &small_blocks()).map(drop)).unwrap();
    let mut order: Vec<usize> = (0..blocks).collect();
    Random::new(1).shuffle(&mut order);
    for some in order.chunks(blocks / 10) {
        db.transact(|txn| {
            let mut a = txn.array::<u8, Ix1>("A")?;
            for block in some {
                let start = block * BLOCK + STORED;
                a.rows_mut(start..start + PAGE)?.fill(value(*block));
            }
            Ok(())
        })
        .unwrap();
    }
}

/// Reads `block`, of whose stored bytes the first has grown by `more`.
#[track_caller]
fn check_block(a: &BigArray<u8, Ix1>, block: usize, more: u8) {
    let (view, start) = (a.view(), block * BLOCK + STORED);
    let seen = [start - 1, start, start + 1, start + PAGE - 1, start + PAGE].map(|at| view[at]);
    let value = value(block);
    assert_eq!(seen, [0, value + more, value, value, 0], "block {block}");
}

fn change_each_block(txn: &Transaction, blocks: usize, mut and: impl FnMut()) {
    let mut a = txn.array::<u8, Ix1>("A").unwrap();
    let mut view = a.view_mut();
    for block in 0..blocks {
        view[block * BLOCK + STORED] += 1;
        and();
    }
}

/// Starts threads that all live at once, and waits until they are gone.
fn start_threads() {
    const THREADS: usize = 64;
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let all_live = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            std::thread::Builder::new().spawn_scoped(scope, || all_live.wait()).unwrap();
        }
    });
    // A scope ends a little before its threads do, whose stacks are mapped until then.
    let start = Instant::now();
    while threads() > before && start.elapsed() < Duration::from_secs(60) {
        std::thread::yield_now();
    }
}

#[test]
fn many_scattered_blocks_are_read_and_written_below_the_limit() {
    const LIMIT: usize = 1500;
    const BLOCKS: usize = 2500;
    if !alone(this_test!(), |child| _ = child.env("BIGARRAY_MAX_MAPPINGS", LIMIT.to_string())) {
        return;
    }
    let mut db = TestDb::new();
    scatter(&db, BLOCKS);
    db.reopen();
    let mut most = 0;
    let mut watch = |now: bool| {
        if now {
            most = most.max(mappings());
            assert!(most <= LIMIT + SLACK, "{most} mappings");
        }
    };
    let mut order: Vec<usize> = (0..BLOCKS).collect();
    Random::new(2).shuffle(&mut order);
    let a = db.array::<u8, Ix1>("A").unwrap();
    for (n, &block) in order.iter().enumerate() {
        check_block(&a, block, 0);
        watch(n % 50 == 0);
    }
    start_threads();
    drop(a);
    for more in 1..=3 {
        let txn = db.begin().unwrap();
        let mut n = 0;
        change_each_block(&txn, BLOCKS, || {
            n += 1;
            watch(n % 50 == 0);
        });
        start_threads();
        txn.commit().unwrap();
        watch(true);
        let a = db.array::<u8, Ix1>("A").unwrap();
        for block in 0..BLOCKS {
            check_block(&a, block, more);
            watch(block % 50 == 0);
        }
    }
    say(format_args!("{BLOCKS} blocks of two mappings each, a limit of {LIMIT}: {most} mappings at most"));
}

/// A database with an array of ones, all of which is one mapping.
fn of_ones(blocks: usize) -> TestDb {
    let db = TestDb::new();
    db.commit(|txn| txn.create_with::<u8, _>("A", blocks * BLOCK, &small_blocks()).unwrap().view_mut().fill(1));
    db
}

/// All of it is one mapping, until a commit takes every second block out of it.
#[test]
fn a_commit_of_every_second_block_does_not_leave_a_mapping_each() {
    const LIMIT: usize = 500;
    const BLOCKS: usize = 1200;
    if !alone(this_test!(), |child| _ = child.env("BIGARRAY_MAX_MAPPINGS", LIMIT.to_string())) {
        return;
    }
    let db = of_ones(BLOCKS);
    for round in 1..=4 {
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        for block in (0..BLOCKS).step_by(2) {
            a.view_mut()[block * BLOCK + STORED] += 1;
        }
        assert!(mappings() <= LIMIT + SLACK, "{} mappings before commit {round}", mappings());
        drop(a);
        // In turns: what an abort takes out is the same.
        if round % 2 == 0 {
            txn.abort()
        } else {
            txn.commit().unwrap()
        }
        assert!(mappings() <= LIMIT + SLACK, "{} mappings after commit {round}", mappings());
        let a = db.array::<u8, Ix1>("A").unwrap();
        let sum: usize = a.view().iter().map(|&x| usize::from(x)).sum();
        assert_eq!(sum, BLOCKS * BLOCK + usize::div_ceil(round, 2) * BLOCKS / 2);
        assert!(mappings() <= LIMIT + SLACK, "{} mappings while read", mappings());
    }
}

/// Ranges that are handed out mutably again and again are prepared for the search for writes, which splits mappings.
#[test]
fn every_second_block_handed_out_mutably_does_not_become_a_mapping_each() {
    const LIMIT: usize = 500;
    const BLOCKS: usize = 1200;
    if !alone(this_test!(), |child| _ = child.env("BIGARRAY_MAX_MAPPINGS", LIMIT.to_string())) {
        return;
    }
    let db = of_ones(BLOCKS);
    for round in 1..=5 {
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        for block in (0..BLOCKS).step_by(2) {
            let rows = a.rows_mut(block * BLOCK..(block + 1) * BLOCK).unwrap();
            assert!(rows.iter().all(|&x| x == 1));
        }
        // Something is committed.
        a.rows_mut(BLOCK..BLOCK + 1).unwrap()[0] = round;
        drop(a);
        txn.commit().unwrap();
        assert!(mappings() <= LIMIT + SLACK, "{} mappings after commit {round}", mappings());
    }
}

/// Each of them on its own would have some left.
#[test]
fn the_databases_of_a_process_share_its_limit() {
    const DATABASES: usize = 6;
    const BLOCKS: usize = 600;
    if !are_few_mappings() || !alone(this_test!(), |_| ()) {
        return;
    }
    let mut databases = [(); DATABASES].map(|()| TestDb::new());
    for db in &mut databases {
        scatter(db, BLOCKS);
        db.close();
    }
    // From here on blocks are copied.
    let limit = most_mappings() / 5 * 4;
    let ballast = Ballast::up_to(limit - 1500);
    databases.iter_mut().for_each(TestDb::reopen);
    let arrays = databases.each_ref().map(|db| db.array::<u8, Ix1>("A").unwrap());
    for block in 0..BLOCKS {
        arrays.iter().for_each(|a| check_block(a, block, 0));
    }
    let now = mappings();
    say(format_args!("{now} mappings, of which {limit} are for arrays"));
    assert!(now <= limit + SLACK, "{now} mappings, of which {limit} are for arrays");
    start_threads();
    drop(ballast);
}

#[track_caller]
fn names_the_limit(error: &Error) {
    says(error, &["vm.max_map_count", &most_mappings().to_string()]);
}

#[test]
fn without_a_mapping_left_errors_name_the_limit_and_open_arrays_go_on() {
    const BLOCKS: usize = 40;
    if !are_few_mappings() || !alone(this_test!(), |_| ()) {
        return;
    }
    let mut db = TestDb::new();
    scatter(&db, BLOCKS);
    db.reopen();
    let before = db.array::<u8, Ix1>("A").unwrap();
    let txn = db.begin().unwrap();
    let a = txn.array::<u8, Ix1>("A").unwrap();
    check_block(&before, 0, 0);

    let ballast = Ballast::all();
    let error = Database::open(db.path()).unwrap_err();
    names_the_limit(&error);
    let other = db.begin().unwrap();
    let mut refused = other.array::<u8, Ix1>("A").unwrap();
    let error = refused.rows_mut(..).unwrap_err();
    assert!(error.is_too_large(), "{error:?}");
    names_the_limit(&error);
    drop(refused);
    // Those that have addresses load, write and commit.
    (0..BLOCKS).for_each(|block| check_block(&before, block, 0));
    drop(a);
    change_each_block(&txn, BLOCKS, || ());
    txn.commit().unwrap();
    (0..BLOCKS).for_each(|block| check_block(&before, block, 0));
    drop(ballast);

    change_each_block(&other, BLOCKS, || ());
    assert!(other.commit().unwrap_err().is_conflict());
    let after = Database::open(db.path()).unwrap().array::<u8, Ix1>("A").unwrap();
    (0..BLOCKS).for_each(|block| check_block(&after, block, 1));
    (0..BLOCKS).for_each(|block| check_block(&db.array("A").unwrap(), block, 1));
    start_threads();
}
