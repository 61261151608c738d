//! The memory budget holds for codecs that take much memory too.

#![cfg(feature = "zstd")]

use std::thread;

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Codec, Database};

use crate::support::child::{alone, say, this_test};
use crate::support::memory::Watch;
use crate::support::{Faults, TestDb, faults, runs_if};

const MIB: usize = 1 << 20;
const BUDGET: usize = 32 * MIB;

/// Elements of four times the budget.
const LEN: usize = 4 * BUDGET / 8;

/// Threads that use the array at once, each at a place of its own, so that several make room.
const THREADS: usize = 8;

fn number(n: usize) -> u64 {
    (n as u64 / 3).wrapping_mul(0x9e37_79b9) % 1009
}

fn fill(view: &mut [u64]) {
    thread::scope(|scope| {
        for (at, part) in view.chunks_mut(LEN / THREADS).enumerate() {
            let first = at * (LEN / THREADS);
            scope.spawn(move || part.iter_mut().zip(first..).for_each(|(x, n)| *x = number(n)));
        }
    });
}

fn assert_filled(view: &[u64]) {
    thread::scope(|scope| {
        for (at, part) in view.chunks(LEN / THREADS).enumerate() {
            let first = at * (LEN / THREADS);
            scope.spawn(move || assert!(part.iter().zip(first..).all(|(&x, n)| x == number(n)), "after {first}"));
        }
    });
}

/// Fills an array, looks at it and commits it, with so many threads that make room.
fn stays_within_its_budget(test: &str, level: i32, resolvers: usize) {
    if !runs_if(faults() != Faults::None, "without faults nothing leaves memory while a view lives")
        || !alone(test, |_| ())
    {
        return;
    }
    let watch = Watch::begin();
    let db = TestDb::with(Database::options().memory_budget(BUDGET).resolvers(resolvers));
    let options = ArrayOptions::new().codec(Codec::Zstd { level, shuffle: true });
    let txn = db.begin().unwrap();
    let mut a = txn.create_with::<u64, _>("A", LEN, &options).unwrap();
    assert_eq!(a.info().block_size, 2 * MIB);
    fill(a.view_mut().as_slice_mut().unwrap());
    say(format_args!("{} MiB filling", watch.peak_bytes() >> 20));
    assert_filled(a.view().as_slice().unwrap());
    say(format_args!("{} MiB reading", watch.peak_bytes() >> 20));
    drop(a);
    txn.commit().unwrap();
    say(format_args!("{} MiB committing", watch.peak_bytes() >> 20));
    assert_filled(db.array::<u64, Ix1>("A").unwrap().view().as_slice().unwrap());
    watch.stayed_within(BUDGET);
}

/// A thread that compresses blocks of 2 MiB needs 40 MiB for it, whether they leave memory or are committed.
#[test]
fn spilling_and_committing_at_level_19_stays_within_the_budget() {
    stays_within_its_budget(this_test!(), 19, 2);
}

#[test]
fn spilling_and_committing_at_level_12_stays_within_the_budget() {
    stays_within_its_budget(this_test!(), 12, 2);
}

#[test]
fn several_threads_that_spill_at_level_3_stay_within_the_budget() {
    stays_within_its_budget(this_test!(), 3, 4);
}
