//! A log that is appended to and loses what is old: how much disk it takes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use bigarray::ndarray::{Array1, Axis, Ix1, aview1};
use bigarray::{Codec, Database, Durability};

use crate::support::child::{Child, command, role, this_test};
use crate::support::{BLOCK, TestDb, small_blocks};

/// Rows that a commit appends, of 8 bytes: some blocks, and a part of one.
const STEP: usize = 5 * BLOCK / 8 + 100;

/// Rows that are kept, or some more.
const KEPT: usize = 4 * STEP;

fn rows(from: usize) -> Array1<u64> {
    // Does not compress to nothing.
    (from..from + STEP).map(|n| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).collect()
}

fn append_and_drop(db: &Database, step: usize, codec: Codec) {
    db.transact(|txn| {
        let mut log = txn.open_or_create_with::<u64, _>("log", 0, &small_blocks().codec(codec))?;
        log.append(Axis(0), rows(step * STEP).view())?;
        let old = log.len().saturating_sub(KEPT);
        log.drop_front(old)?;
        log.set_attr("first", ((step + 1) * STEP - log.len()).into())
    })
    .unwrap();
}

#[test]
fn a_log_that_loses_what_is_old_takes_no_more_disk_than_what_it_keeps() {
    for codec in [Codec::None, Codec::Lz4 { shuffle: true }] {
        let db = TestDb::with(Database::options().durability(Durability::NoPowerLossSafety));
        let bytes = || -> u64 {
            let files = fs::read_dir(db.path()).unwrap();
            files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
        };
        let mut settled = 0;
        for step in 0..150 {
            append_and_drop(&db, step, codec);
            if step == 30 {
                settled = bytes();
            }
        }
        // 150 steps are some 50 MB.
        let (now, kept) = (bytes(), (KEPT * 8) as u64);
        assert!(now <= settled + (2 << 20) && now <= kept + (16 << 20), "{codec}: {settled} bytes became {now}");
        let log = db.array::<u64, Ix1>("log").unwrap();
        assert_eq!(log.len(), KEPT);
        for (number, part) in log.view().exact_chunks(STEP).into_iter().enumerate() {
            assert_eq!(part, rows((146 + number) * STEP));
        }
    }
}

/// Each snapshot of the follower shows rows that are whole and follow each other, whatever was dropped meanwhile, also
/// long after; and its handles share spans from one to the next.
#[test]
fn a_follower_sees_whole_states_of_a_log_that_another_process_appends_to_and_drops_from() {
    const STEPS: usize = 60;
    if role().is_some() {
        let db = Database::open(std::env::var_os("DB").unwrap()).unwrap();
        (0..STEPS).for_each(|step| append_and_drop(&db, step, Codec::None));
        return;
    }
    let db = TestDb::new();
    let mut command = command(this_test!(), "appends");
    command.env("DB", db.path());
    let seen_at_first = db.snapshot().unwrap().version();
    let child = Child::start(command);
    let (mut version, mut kept) = (seen_at_first, Vec::new());
    loop {
        let snapshot = db.wait_for_commit(version, std::time::Duration::from_secs(600)).unwrap().expect("a commit");
        version = snapshot.version();
        let log = snapshot.array::<u64, Ix1>("log").unwrap();
        let first = log.attrs()["first"].as_u64().unwrap() as usize;
        let is_right = |log: &bigarray::BigArray<u64, Ix1>, first: usize| {
            let all: Vec<u64> =
                (0..log.len()).map(|n| ((first + n) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20).collect();
            assert!(log.view() == aview1(&all), "rows from {first} on");
        };
        is_right(&log, first);
        let is_last = first + log.len() == STEPS * STEP;
        kept.push((log, first));
        if kept.len() > 5 {
            let (log, first) = kept.swap_remove(first % 5);
            is_right(&log, first);
        }
        if is_last {
            break;
        }
    }
    child.finish();
}
