//! Compressed arrays have the same elements as others, for each codec and each way in which blocks are loaded.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use bigarray::bytemuck::{Pod, Zeroable};
use bigarray::ndarray::parallel::prelude::*;
use bigarray::ndarray::{ArrayView1, ArrayViewMut1, Axis, Ix1};
use bigarray::{ArrayOptions, Codec, Database, Durability, Element, Pager};
use nix::libc;

use crate::support::arrays::says;
use crate::support::child::{command, role, this_test};
use crate::support::disk::damage;
use crate::support::random::Random;
use crate::support::{BLOCK, Faults, TestDb, check, faults, runs_if, small_blocks};

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Lz4 { shuffle: false },
    Codec::Lz4 { shuffle: true },
    Codec::Zstd { level: 1, shuffle: false },
    Codec::Zstd { level: 9, shuffle: true },
];
const COMPRESSING: [Codec; 2] = [CODECS[1], CODECS[4]];

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Tick {
    time: [u32; 2],
    price: f32,
}

bigarray::impl_element!(Tick { time: [u32; 2], price: f32 });

fn assert_same<T: Element + PartialEq>(view: ArrayView1<'_, T>, expected: &[T], what: &str) {
    assert_eq!(view.len(), expected.len(), "{what}");
    let wrong = view.iter().zip(expected).position(|(x, y)| x != y);
    assert!(wrong.is_none(), "{what}: element {} is wrong", wrong.unwrap());
}

/// Stores `expected`, reads it, changes it here and there, and reads that.
fn round_trip<T: Element + PartialEq>(mut expected: Vec<T>, other: T) {
    for codec in CODECS {
        for pager in [Pager::Map, Pager::Copy] {
            let what = format!("{codec}, {pager:?}, {}", std::any::type_name::<T>());
            let mut db = TestDb::with(Database::options().pager(pager).durability(Durability::NoPowerLossSafety));
            let open = |path: &Path| {
                Database::options().pager(pager).durability(Durability::NoPowerLossSafety).open(path).unwrap()
            };
            let path = db.path().to_owned();
            db.commit(|txn| {
                let mut a = txn.create_with::<T, _>("A", expected.len(), &small_blocks().codec(codec)).unwrap();
                assert_eq!(a.info().codec, codec);
                a.view_mut().assign(&ArrayView1::from(&expected));
                assert_same(a.view(), &expected, &what);
            });
            assert_same(db.array("A").unwrap().view(), &expected, &what);
            db.close();
            let cold = open(&path);
            let a = cold.array::<T, Ix1>("A").unwrap();
            assert_eq!(a.info().codec, codec);
            a.prefetch(a.len() / 2..).unwrap();
            assert_same(a.view(), &expected, &what);
            // By several threads, each page for the first time.
            let cold = open(&path);
            let a = cold.array::<T, Ix1>("A").unwrap();
            a.blocks().into_par_iter().for_each(|rows| {
                assert_same(a.rows(rows.clone()).unwrap(), &expected[rows], &what);
            });

            let mut changed = expected.clone();
            let mut random = Random::new(3);
            cold.transact(|txn| {
                let mut b = txn.array::<T, Ix1>("A")?;
                let mut view = b.view_mut();
                for _ in 0..20 {
                    let at = random.below(changed.len());
                    (view[at], changed[at]) = (other, other);
                }
                assert_same(view.view(), &changed, &what);
                Ok(())
            })
            .unwrap();
            assert_same(a.view(), &expected, &what);
            assert_same(open(&path).array("A").unwrap().view(), &changed, &what);
            // Shorter, longer, and more of it.
            cold.transact(|txn| {
                let mut b = txn.array::<T, Ix1>("A")?;
                b.resize(changed.len() / 3)?;
                b.resize(changed.len() / 2)?;
                b.append(Axis(0), ArrayView1::from(&expected))
            })
            .unwrap();
            changed.truncate(changed.len() / 3);
            changed.resize(expected.len() / 2, T::zeroed());
            changed.extend(&expected);
            assert_same(open(&path).array("A").unwrap().view(), &changed, &what);
        }
    }
    expected.clear();
}

#[test]
fn smooth_numbers_come_back() {
    round_trip((0..70_000).map(|n| (n as f32 * 1e-3).sin()).collect(), 7.5f32);
}

#[test]
fn bytes_without_any_pattern_come_back() {
    round_trip(Random::new(1).bytes(5 * BLOCK + 77), 9u8);
}

#[test]
fn holes_and_patterns_in_turns_come_back() {
    let mut random = Random::new(2);
    let number = |n: usize| match n / 3000 % 4 {
        0 => 0,
        1 => n as u64 / 100,
        2 => 7,
        _ => random.next(),
    };
    round_trip((0..60_000).map(number).collect(), 1 << 60);
}

/// 12 bytes each, so that some of them are in two blocks, and two pages.
#[test]
fn elements_that_fit_no_block_come_back() {
    let tick = |n: u32| Tick { time: [n / 7, n / 1000], price: 100.0 + (n / 50) as f32 };
    round_trip((0..40_000).map(tick).collect(), tick(123_456_789));
}

#[test]
fn a_large_block_comes_back() {
    round_trip((0..300_000).map(|n| n as u64 / 3).collect(), 5);
}

fn fill_smooth(view: &mut ArrayViewMut1<'_, u64>) {
    view.iter_mut().enumerate().for_each(|(n, x)| *x = 1_000_000 + n as u64 / 16);
}

/// Three blocks of smooth numbers, of which nothing is stored plain.
fn smooth(codec: Codec, pager: Pager) -> TestDb {
    let db = TestDb::with(Database::options().pager(pager));
    db.commit(|txn| {
        let mut a = txn.create_with::<u64, _>("A", 3 * BLOCK / 8, &small_blocks().codec(codec)).unwrap();
        fill_smooth(&mut a.view_mut());
    });
    db
}

#[test]
fn a_damaged_block_is_an_error_of_prefetch() {
    for codec in COMPRESSING {
        for pager in [Pager::Map, Pager::Copy] {
            let mut db = smooth(codec, pager);
            db.close();
            damage(db.path());
            let cold = Database::options().pager(pager).open(db.path()).unwrap();
            let txn = cold.begin().unwrap();
            // Where all is loaded when it is opened, it is that which says so.
            let prefetch = |rows: std::ops::Range<usize>| match cold.array::<u64, Ix1>("A") {
                Ok(a) => a.prefetch(rows),
                Err(error) => Err(error),
            };
            for rows in [0..1, 2 * BLOCK / 8..3 * BLOCK / 8] {
                let error = prefetch(rows).unwrap_err();
                assert!(error.is_corrupt(), "{codec}, {pager:?}: {error:?}");
                says(&error, &["block"]);
            }
            let error = txn.array::<u64, Ix1>("A").and_then(|a| a.prefetch(..)).unwrap_err();
            assert!(error.is_corrupt(), "{codec}, {pager:?}: {error:?}");
            drop((txn, cold));
            damage(db.path());
            db.reopen();
            let a = db.array::<u64, Ix1>("A").unwrap();
            a.prefetch(..).unwrap();
            assert_eq!(a.view()[16 * 1000], 1_001_000);
        }
    }
}

/// A loaded block is compared with the stored one to find its changes. The stored one is damaged meanwhile.
#[test]
fn a_damaged_block_is_an_error_of_commit() {
    if !runs_if(faults() != Faults::None, "blocks that are loaded at once are not compared") {
        return;
    }
    for codec in COMPRESSING {
        for pager in [Pager::Map, Pager::Copy] {
            let db = smooth(codec, pager);
            let txn = Database::options().pager(pager).open(db.path()).unwrap().begin().unwrap();
            let mut a = txn.array::<u64, Ix1>("A").unwrap();
            a.view_mut()[7] = 1;
            damage(db.path());
            drop(a);
            let error = txn.commit().unwrap_err();
            assert!(error.is_corrupt(), "{codec}, {pager:?}: {error:?}");
            says(&error, &["\"A\"", "block"]);
            damage(db.path());
            assert_eq!(db.array::<u64, Ix1>("A").unwrap().view()[7], 1_000_000);
        }
    }
}

/// There is no value to return an error in: the process ends, and says why.
#[test]
fn a_damaged_block_ends_a_process_that_touches_it() {
    if let Some(path) = role() {
        let db = Database::open(path).unwrap();
        let a = db.array::<u64, Ix1>("A").unwrap();
        println!("it is {}", a.view()[BLOCK / 8 + 5]);
        return;
    }
    for codec in COMPRESSING {
        let mut db = smooth(codec, Pager::Map);
        db.close();
        damage(db.path());
        let output = command(this_test!(), db.path().to_str().unwrap()).output().unwrap();
        let (out, message) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!out.contains("it is"), "{codec}: {out}");
        assert!(message.contains("\"A\"") && message.contains("block"), "{codec}: {message:?}");
        if faults() == Faults::None {
            assert!(!output.status.success(), "{codec}: it was loaded when it was opened");
        } else {
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{codec}: {message}");
        }
        damage(db.path());
        check(db.path());
    }
}

#[test]
fn compressed_arrays_many_times_the_budget_are_written_read_and_rewritten() {
    if !runs_if(faults() != Faults::None, "without faults compressed arrays are held in memory") {
        return;
    }
    let len = 8 * 48 * BLOCK / 8;
    for codec in COMPRESSING {
        for pager in [Pager::Map, Pager::Copy] {
            let db = TestDb::with(Database::options().memory_budget(4 << 20).pager(pager));
            db.commit(|txn| {
                let mut a = txn.create_with::<u64, _>("A", len, &small_blocks().codec(codec)).unwrap();
                fill_smooth(&mut a.view_mut());
            });
            let right = |a: ArrayView1<'_, u64>, change: u64| {
                a.iter().enumerate().all(|(n, &x)| x == 1_000_000 + n as u64 / 16 + change)
            };
            assert!(right(db.array("A").unwrap().view(), 0), "{codec}, {pager:?}");
            db.commit(|txn| {
                let mut a = txn.array::<u64, Ix1>("A").unwrap();
                for rows in a.blocks() {
                    a.rows_mut(rows).unwrap().mapv_inplace(|x| x + 1);
                }
                assert!(right(a.view(), 1), "{codec}, {pager:?}");
                a.view_mut().mapv_inplace(|x| x + 1);
            });
            assert!(right(db.array("A").unwrap().view(), 2), "{codec}, {pager:?}");
        }
    }
}

#[test]
fn a_database_that_is_closed_while_blocks_are_loaded_ahead_can_be_opened_in_another_way_at_once() {
    let mut db = TestDb::new();
    let len = 12 << 18;
    let options = ArrayOptions::new().block_size(2 << 20).codec(Codec::Zstd { level: 1, shuffle: false });
    db.commit(|txn| {
        let mut a = txn.create_with::<u64, _>("A", len, &options).unwrap();
        a.view_mut().indexed_iter_mut().for_each(|(at, x)| *x = at as u64 / 3);
    });
    db.close();
    for n in 0..40 {
        let durability = if n % 2 == 0 { Durability::NoPowerLossSafety } else { Durability::Full };
        let db = Database::options().durability(durability).open(db.path()).unwrap();
        let a = db.array::<u64, Ix1>("A").unwrap();
        // Two blocks in order, and a wait for the second.
        assert_eq!(a.view()[5], 1);
        let second = (2 << 20) / 8 + 2;
        assert_eq!(a.view()[second], second as u64 / 3);
    }
}

/// The error names the array, wherever the damage is met first.
#[test]
fn the_error_of_a_damaged_block_names_its_array() {
    for codec in COMPRESSING {
        let mut db = smooth(codec, Pager::Map);
        db.close();
        damage(db.path());
        let own = Database::open(db.path()).unwrap();
        let met = own.array::<u64, Ix1>("A").and_then(|a| a.prefetch(..));
        says(&met.unwrap_err(), &["\"A\"", "block"]);
        let txn = own.begin().unwrap();
        // The array then ends in the damaged block, whose tail has to be cleared.
        let met = txn.array::<u64, Ix1>("A").and_then(|mut a| {
            let len = a.len();
            (1..len / (BLOCK / 8)).try_for_each(|n| a.resize(len - n * (BLOCK / 8) - 5))
        });
        says(&met.unwrap_err(), &["\"A\"", "block"]);
        damage(db.path());
    }
}
