//! Arrays many times the memory budget: every byte is right, and memory stays within the budget.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{Array1, ArrayViewMut1, Axis, Ix1, s};
use bigarray::{BigArray, Database, Pager, Result};

use crate::support::child::{alone, this_test};
use crate::support::disk::small_disk;
use crate::support::memory::Watch;
use crate::support::random::Random;
use crate::support::{Faults, TestDb, check, faults, is_root, runs_if, small_blocks};

const MIB: usize = 1 << 20;

/// Four blocks: little enough that every few accesses something must go.
const BUDGET: usize = 8 * MIB;

/// Elements of arrays that are many times that: 160 MiB, so that even what may be had beyond the budget is not enough.
const LEN: usize = 160 * MIB / 8;

fn number(n: usize) -> u64 {
    (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(view: &mut ArrayViewMut1<'_, u64>) {
    view.iter_mut().enumerate().for_each(|(n, x)| *x = number(n));
}

fn tight(pager: Pager) -> TestDb {
    TestDb::with(Database::options().memory_budget(BUDGET).pager(pager))
}

#[track_caller]
fn assert_numbers(a: &BigArray<u64, Ix1>, change: impl Fn(usize) -> u64) {
    let view = a.view();
    let wrong = view.iter().enumerate().find(|(n, x)| **x != number(*n).wrapping_add(change(*n)));
    assert!(wrong.is_none(), "{wrong:?}");
}

/// Whether memory can be taken back while views live.
fn takes_back() -> bool {
    runs_if(faults() != Faults::None, "without faults nothing leaves memory while a view lives")
}

#[test]
fn a_new_array_is_filled_and_changed_twice_through_one_view() {
    if !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    for pager in [Pager::Map, Pager::Copy] {
        let watch = Watch::begin();
        let db = tight(pager);
        let txn = db.begin().unwrap();
        let mut a = txn.create::<u64, _>("A", LEN).unwrap();
        let mut view = a.view_mut();
        fill(&mut view);
        view.mapv_inplace(|x| x.wrapping_add(1));
        view.mapv_inplace(|x| x.wrapping_add(1));
        assert!(view.iter().enumerate().all(|(n, &x)| x == number(n).wrapping_add(2)));
        drop(a);
        txn.commit().unwrap();
        watch.stayed_within(BUDGET);
        assert_numbers(&db.array("A").unwrap(), |_| 2);
        watch.stayed_within(BUDGET);
    }
}

#[test]
fn every_stored_element_is_changed_through_one_view_of_copied_blocks() {
    if !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    let watch = Watch::begin();
    let db = tight(Pager::Copy);
    db.commit(|txn| fill(&mut txn.create::<u64, _>("A", LEN).unwrap().view_mut()));
    for commits in [false, true] {
        let txn = db.begin().unwrap();
        txn.array::<u64, Ix1>("A").unwrap().view_mut().mapv_inplace(|x| x.wrapping_add(1));
        assert_numbers(&db.array("A").unwrap(), |_| 0);
        if commits {
            txn.commit().unwrap();
        } else {
            txn.abort();
        }
        assert_numbers(&db.array("A").unwrap(), |_| u64::from(commits));
    }
    watch.stayed_within(BUDGET);
}

#[test]
fn every_stored_element_is_changed_by_windows_in_any_order() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    for pager in [Pager::Map, Pager::Copy] {
        let watch = Watch::begin();
        let db = tight(pager);
        db.commit(|txn| {
            let mut a = txn.create::<u64, _>("A", LEN).unwrap();
            for rows in a.blocks() {
                let piece = Array1::from_iter(rows.clone().map(number));
                a.rows_mut(rows).unwrap().assign(&piece);
            }
        });
        let mut blocks: Vec<_> = db.array::<u64, Ix1>("A").unwrap().blocks().collect();
        db.commit(|txn| {
            let mut a = txn.array::<u64, Ix1>("A").unwrap();
            for round in 0..3 {
                Random::new(round).shuffle(&mut blocks);
                for rows in &blocks {
                    a.rows_mut(rows.clone()).unwrap().mapv_inplace(|x| x.wrapping_add(1));
                }
            }
            watch.stayed_within(BUDGET);
        });
        assert_numbers(&db.array("A").unwrap(), |_| 3);
        watch.stayed_within(BUDGET);
    }
}

/// Memory that is never touched counts for nothing.
#[test]
fn sparse_changes_of_a_large_array_survive() {
    for pager in [Pager::Map, Pager::Copy] {
        let mut db = tight(pager);
        let mut expected = std::collections::BTreeMap::new();
        let mut random = Random::new(5);
        for round in 1..=3u64 {
            db.commit(|txn| {
                let mut a = match round {
                    1 => txn.create_with::<u64, _>("A", 1 << 33, &small_blocks()).unwrap(),
                    _ => txn.array::<u64, Ix1>("A").unwrap(),
                };
                let mut view = a.view_mut();
                for _ in 0..500 {
                    let at = random.below(1 << 33);
                    assert_eq!(view[at], expected.get(&at).copied().unwrap_or(0));
                    view[at] = round << 40 | at as u64;
                    expected.insert(at, view[at]);
                }
                assert!(expected.iter().all(|(&at, &x)| view[at] == x));
            });
        }
        db.reopen();
        let a = db.array::<u64, Ix1>("A").unwrap();
        assert!(expected.iter().all(|(&at, &x)| a.view()[at] == x));
    }
}

#[test]
fn threads_read_and_write_far_more_than_fits() {
    if !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    for pager in [Pager::Map, Pager::Copy] {
        let watch = Watch::begin();
        let db = tight(pager);
        db.commit(|txn| {
            let mut a = txn.create_with::<u64, _>("A", LEN, &small_blocks()).unwrap();
            let mut view = a.view_mut();
            // Pieces that share blocks and pages with their neighbours.
            view.axis_chunks_iter_mut(Axis(0), 12_345).into_par_iter().enumerate().for_each(|(i, mut piece)| {
                piece.iter_mut().enumerate().for_each(|(n, x)| *x = number(i * 12_345 + n));
            });
            view.axis_chunks_iter_mut(Axis(0), 12_345).into_par_iter().for_each(|mut piece| {
                piece.mapv_inplace(|x| x.wrapping_add(1));
            });
        });
        let a = db.array::<u64, Ix1>("A").unwrap();
        let right = a.blocks().into_par_iter().all(|rows| {
            let first = rows.start;
            let window = a.rows(rows).unwrap();
            window.iter().enumerate().all(|(n, &x)| x == number(first + n).wrapping_add(1))
        });
        assert!(right);
        watch.stayed_within(BUDGET);
    }
}

/// Additions by many threads to elements they share, while the blocks around them come and go: none is lost.
#[test]
fn no_addition_is_lost_while_blocks_are_evicted_and_loaded() {
    if !takes_back() {
        return;
    }
    const CELLS: usize = 512;
    for pager in [Pager::Map, Pager::Copy] {
        for stored in [false, true] {
            let db = tight(pager);
            let len = 24 * MIB / 8;
            if stored {
                db.commit(|txn| txn.create_with::<u64, _>("A", len, &small_blocks()).unwrap().view_mut().fill(0));
                db.commit(|txn| txn.array::<u64, Ix1>("A").unwrap().view_mut().slice_mut(s![..;4096]).fill(1));
            }
            let txn = db.begin().unwrap();
            let mut a = match stored {
                true => txn.array::<u64, Ix1>("A").unwrap(),
                false => txn.create_with::<u64, _>("A", len, &small_blocks()).unwrap(),
            };
            let mut view = a.view_mut();
            let before = view.sum();
            let elements = view.as_slice_mut().unwrap();
            // SAFETY: exclusively borrowed memory seen as atomics of the same size and alignment, as
            // `AtomicU64::from_mut` does.
            let cells = unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<AtomicU64>(), elements.len()) };
            let additions: u64 = (0..4u64)
                .into_par_iter()
                .map(|thread| {
                    let mut random = Random::new(thread);
                    for _ in 0..2_500 {
                        let cell = random.below(CELLS) * (len / CELLS) + random.below(3);
                        cells[cell].fetch_add(1, Ordering::Relaxed);
                    }
                    2_500
                })
                .sum();
            assert_eq!(view.sum(), before + additions);
            drop(a);
            txn.commit().unwrap();
            assert_eq!(db.array::<u64, Ix1>("A").unwrap().view().sum(), before + additions, "{pager:?}, {stored}");
        }
    }
}

/// `read(2)` straight into a view, where the kernel itself may fault.
#[test]
fn a_file_is_read_into_a_view_that_is_many_times_the_budget() {
    if !runs_if(faults() == Faults::All, "needs the kernel's own faults") || !takes_back() {
        return;
    }
    let db = tight(Pager::Map);
    let content = Random::new(9).bytes(64 * MIB);
    let path = db.path().with_extension("file");
    File::create(&path).unwrap().write_all(&content).unwrap();
    db.commit(|txn| {
        let mut a = txn.create::<u8, _>("A", content.len()).unwrap();
        let mut view = a.view_mut();
        File::open(&path).unwrap().read_exact(view.as_slice_mut().unwrap()).unwrap();
        assert!(view.as_slice().unwrap() == content);
    });
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert!(a.view().as_slice().unwrap() == content);
    let mut out = Vec::new();
    a.write_to(&mut out).unwrap();
    assert!(out == content);
    fs::remove_file(path).unwrap();
}

#[test]
fn spilled_blocks_are_invisible_until_the_commit_and_gone_after_an_abort() {
    let db = tight(Pager::Map);
    db.commit(|txn| txn.create::<u64, _>("A", LEN / 4).unwrap().view_mut().fill(1));
    let used = |db: &TestDb| fs::metadata(db.path().join("data")).unwrap().len();
    let mut longest = 0;
    for round in 0..4 {
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u64, Ix1>("A").unwrap();
        a.view_mut().fill(2);
        a.flush().unwrap();
        fill(&mut txn.create::<u64, _>("B", LEN / 4).unwrap().view_mut());
        let snapshot = db.snapshot().unwrap();
        assert_eq!(snapshot.arrays().unwrap().len(), 1);
        assert!(snapshot.array::<u64, Ix1>("A").unwrap().view().iter().all(|&x| x == 1));
        assert_eq!(a.view().sum(), LEN as u64 / 4 * 2);
        drop(a);
        txn.abort();
        if round == 0 {
            longest = used(&db);
        }
    }
    assert!(used(&db) <= longest + (8 << 20), "{} MiB after {} MiB", used(&db) >> 20, longest >> 20);
    assert_eq!(db.array::<u64, Ix1>("A").unwrap().view().sum(), LEN as u64 / 4);
}

#[test]
fn without_spilling_under_views_memory_is_given_back_where_no_view_lives() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let watch = Watch::begin();
    let db = TestDb::with(Database::options().memory_budget(BUDGET).spill_under_views(false));
    db.commit(|txn| {
        let mut a = txn.create::<u64, _>("A", LEN).unwrap();
        for rows in a.blocks() {
            let first = rows.start;
            a.rows_mut(rows).unwrap().iter_mut().enumerate().for_each(|(n, x)| *x = number(first + n));
        }
        let mut b = txn.create::<u64, _>("B", 0).unwrap();
        for first in (0..LEN).step_by(LEN / 64) {
            b.append(Axis(0), Array1::from_iter((first..first + LEN / 64).map(number)).view()).unwrap();
        }
        watch.stayed_within(BUDGET);
    });
    assert_numbers(&db.array("A").unwrap(), |_| 0);
    assert_numbers(&db.array("B").unwrap(), |_| 0);
    watch.stayed_within(BUDGET);
}

#[test]
fn three_arrays_share_the_budget() {
    if !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    let watch = Watch::begin();
    let db = TestDb::with(Database::options().memory_budget(2 * BUDGET).pager(Pager::Copy));
    db.commit(|txn| {
        let mut a = txn.create::<u64, _>("A", LEN / 2).unwrap();
        let mut b = txn.create::<u64, _>("B", LEN / 2).unwrap();
        fill(&mut a.view_mut());
        b.view_mut().zip_mut_with(&a.view(), |b, a| *b = a.wrapping_add(1));
        let mut c = txn.create::<u64, _>("C", LEN / 2).unwrap();
        let (a, b) = (a.view(), b.view());
        c.view_mut().iter_mut().zip(&a).zip(b.iter().rev()).for_each(|((c, a), b)| *c = a.wrapping_add(*b));
    });
    assert_numbers(&db.array("A").unwrap(), |_| 0);
    assert_numbers(&db.array("B").unwrap(), |_| 1);
    assert_numbers(&db.array("C").unwrap(), |n| number(LEN / 2 - 1 - n).wrapping_add(1));
    watch.stayed_within(2 * BUDGET);
}

/// The transaction has failed, but its view lives on, and so does the process.
#[test]
fn memory_is_bounded_again_once_a_full_disk_has_space() {
    if !is_root() || !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 256);
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1; 244 * MIB]).unwrap();
    let watch = Watch::begin();
    let db = Database::options().memory_budget(BUDGET).open(dir.path().join("a.bigarray")).unwrap();
    let txn = db.begin().unwrap();
    let mut a = txn.create::<u64, _>("A", LEN).unwrap();
    let mut view = a.view_mut();
    for (n, x) in view.iter_mut().enumerate() {
        if n == 50 * MIB / 8 {
            fs::remove_file(&ballast).unwrap();
        }
        *x = number(n);
    }
    assert!(view.iter().enumerate().all(|(n, &x)| x == number(n)));
    watch.stayed_within(BUDGET);
    drop(a);
    assert!(txn.commit().unwrap_err().is_store_full());
}

/// Each of them takes little, and none is used again.
#[test]
fn many_arrays_made_and_changed_one_after_the_other_in_one_transaction_share_the_budget() {
    if !alone(this_test!(), |_| ()) {
        return;
    }
    let names: Vec<String> = (0..60).map(|n| format!("column {n}")).collect();
    let len = BUDGET / 4 / 8;
    for pager in [Pager::Map, Pager::Copy] {
        let watch = Watch::begin();
        let db = tight(pager);
        db.commit(|txn| names.iter().for_each(|name| fill(&mut txn.create(name, len).unwrap().view_mut())));
        watch.stayed_within(BUDGET);
        db.commit(|txn| {
            for name in &names {
                txn.array::<u64, Ix1>(name).unwrap().view_mut().mapv_inplace(|x| x.wrapping_add(1));
            }
        });
        watch.stayed_within(BUDGET);
        names.iter().for_each(|name| assert_numbers(&db.array(name).unwrap(), |_| 1));
    }
}

/// The disk is full while memory is short: the transaction is lost, and nothing else.
#[test]
fn a_disk_that_is_full_while_spilling_fails_the_transaction_alone() {
    if !is_root() || !takes_back() || !alone(this_test!(), |_| ()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), 48);
    for step in ["view", "flush", "savepoint", "append"] {
        let path = dir.path().join("a.bigarray");
        let db = Database::options().memory_budget(BUDGET).open(&path).unwrap();
        db.transact(|txn| txn.create::<u64, _>("A", MIB / 8).map(|mut a| a.view_mut().fill(7))).unwrap();
        let attempt = || -> Result<()> {
            let mut txn = db.begin()?;
            let mut b = txn.create::<u64, _>("B", 0)?;
            if step == "append" {
                for first in (0..LEN).step_by(LEN / 64) {
                    b.append(Axis(0), Array1::from_iter((first..first + LEN / 64).map(number)).view())?;
                }
            } else {
                b.resize(LEN)?;
                let mut view = b.view_mut();
                fill(&mut view);
                // Pages that did not leave memory are still there.
                assert!(view.iter().enumerate().all(|(n, &x)| x == number(n)), "{step}");
            }
            if step == "flush" {
                b.flush()?;
            }
            drop(b);
            if step == "savepoint" {
                let _ = txn.savepoint()?;
            }
            txn.commit()
        };
        let error = attempt().unwrap_err();
        assert!(error.is_store_full(), "{step}: {error:?}");
        let snapshot = db.snapshot().unwrap();
        assert_eq!(snapshot.arrays().unwrap().len(), 1);
        assert!(snapshot.array::<u64, Ix1>("A").unwrap().view().iter().all(|&x| x == 7));
        drop(snapshot);
        // The database is as usable as before: spilled pages are free, also for the index, and far more than
        // the budget is stored and removed again.
        let len = 20 * MIB / 8;
        db.transact(|txn| txn.create::<u64, _>("C", len).map(|mut c| fill(&mut c.view_mut()))).unwrap();
        assert_numbers(&db.array("C").unwrap(), |_| 0);
        db.transact(|txn| txn.remove("C")).unwrap();
        drop(db);
        check(&path);
        fs::remove_dir_all(&path).unwrap();
    }
}
