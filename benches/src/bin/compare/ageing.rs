//! What becomes of a database that is used for long: bytes written, size, and speed afterwards.

use std::path::Path;

use bigarray::ndarray::{Array2, Axis, Ix1, Ix2};
use bigarray::{ArrayOptions, Database, Durability};
use fastrand::Rng;

use crate::Outcome;
use crate::child::{seconds, seconds_limited};
use crate::rounds::{Rounds, alone, timed};
use crate::row::{Bound, Row, Unit};
use crate::stored::{BLOCK, PAGE, Place, Stored, change_one, number};

/// One element somewhere in 512 MiB, 10,000 times.
pub(crate) fn by_small_commits(place: &Place) -> Outcome<Vec<Row>> {
    const FIRST: usize = 30;
    let len = place.len();
    // As many a block in a quick run.
    let commits = place.pick(10_000, 2_500);
    let (fresh, aged) = (place.database(len)?, place.database(len)?);
    let before = aged.disk_bytes()?;
    let mut pages = Vec::new();
    let db = aged.open_unsynced()?;
    let mut numbers = Rng::with_seed(11);
    for _ in 0..commits {
        let at = numbers.usize(..len);
        let written = bytes_written()?;
        change_one(&db, at)?;
        pages.push((bytes_written()? - written) as f64 / PAGE as f64);
    }
    drop(db);
    let first = pages[..FIRST].iter().sum::<f64>() / FIRST as f64;
    let average = pages.iter().sum::<f64>() / commits as f64;
    let growth = (aged.disk_bytes()? as f64 / before as f64 - 1.0) * 100.0;
    let scans = Rounds::run(place.rounds(), || scan(aged.path()), || scan(fresh.path()))?;
    Ok(vec![
        alone("pages written by a one-page commit: the first 30", Unit::Pages, Bound::Most(16.0), [first]),
        alone("pages written by a one-page commit: over 10,000", Unit::Pages, Bound::Most(64.0), [average]),
        alone("growth by 10,000 random one-page commits", Unit::Percent, Bound::Most(15.0), [growth]),
        scans.row("first scan after 10,000 one-page commits", "a fresh array", 4.0),
    ])
}

fn scan(path: &Path) -> Outcome<f64> {
    seconds("scan", path, 0)
}

/// Bytes that this process has handed to writing system calls.
fn bytes_written() -> Outcome<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:")).ok_or("no wchar in /proc/self/io")?;
    Ok(line.trim().parse()?)
}

/// Arrays that come, change and go, 20,000 times.
pub(crate) fn by_mixed_use(place: &Place) -> Outcome<Vec<Row>> {
    /// Whole blocks of the array whose commits are timed.
    const BLOCKS: usize = 16;
    let steps = place.pick(20_000, 2_000);
    let aged = Stored::at(place.path("mixed.bigarray"));
    {
        let db = Database::options().durability(Durability::NoPowerLossSafety).open(aged.path())?;
        let mut numbers = Rng::with_seed(13);
        for _ in 0..steps {
            mixed_step(&db, &mut numbers)?;
        }
    }
    let fresh = Stored::at(place.path("fresh.bigarray"));
    let commit = |db: &Database| -> Outcome<f64> {
        let txn = db.begin()?;
        let mut array = match txn.array::<f64, Ix1>("timed") {
            Err(error) if error.is_not_found() => txn.create::<f64, _>("timed", BLOCKS * BLOCK / 8)?,
            other => other?,
        };
        array.view_mut().iter_mut().for_each(|x| *x += 1.0);
        drop(array);
        let (committed, seconds) = timed(|| txn.commit());
        committed?;
        Ok(seconds)
    };
    let (old, new) = (aged.open()?, fresh.open()?);
    let rounds = Rounds::run(place.pick(21, 5), || commit(&old), || commit(&new))?;
    Ok(vec![rounds.row("commit of 2 MiB blocks after 20,000 mixed steps", "a new database", 1.3)])
}

/// One of ten arrays of up to 16 MiB is created, changed here and there, rewritten in part, or removed.
fn mixed_step(db: &Database, numbers: &mut Rng) -> Outcome<()> {
    let name = format!("mixed-{}", numbers.usize(..10));
    let txn = db.begin()?;
    match txn.array::<f64, Ix1>(&name) {
        Err(error) if error.is_not_found() => {
            let len = 1 + numbers.usize(..8 * BLOCK / 8);
            txn.create::<f64, _>(&name, len)?.view_mut().fill(numbers.usize(..100) as f64 + 1.0);
        }
        Err(error) => return Err(error.into()),
        Ok(mut array) => {
            let len = array.len();
            let at = numbers.usize(..len);
            match numbers.usize(..100) {
                0..2 => {
                    drop(array);
                    txn.remove(&name)?;
                }
                2..10 => array.rows_mut(at..len.min(at + numbers.usize(..BLOCK / 8)))?.fill(7.0),
                _ => array.rows_mut(at..at + 1)?[0] += 1.0,
            }
        }
    }
    Ok(txn.commit()?)
}

/// Small blocks that came in any order, so that each is a mapping of its own, in a process that may have few of them.
pub(crate) fn past_the_limit_of_mappings(place: &Place) -> Outcome<Vec<Row>> {
    const SMALL_BLOCK: usize = 64 << 10;
    /// What the process has anyway, and some hundred blocks.
    const MOST_MAPPINGS: &str = "500";
    let len = place.len() / 4;
    let blocks = len * 8 / SMALL_BLOCK;
    let stored = Stored::at(place.path("scattered.bigarray"));
    let db = stored.open_unsynced()?;
    let options = ArrayOptions::new().block_size(SMALL_BLOCK);
    db.transact(|txn| txn.create_with::<f64, _>("a", len, &options).map(drop))?;
    let mut order: Vec<usize> = (0..blocks).collect();
    Rng::with_seed(23).shuffle(&mut order);
    // A commit of 16 stores them in ascending order, far apart from each other.
    for some in order.chunks(16) {
        db.transact(|txn| {
            let mut array = txn.array::<f64, Ix1>("a")?;
            for block in some {
                let start = block * SMALL_BLOCK / 8;
                let mut rows = array.rows_mut(start..start + SMALL_BLOCK / 8)?;
                (start..).zip(&mut rows).for_each(|(n, x)| *x = number(n));
            }
            Ok(())
        })?;
    }
    drop(db);
    let file = place.file(len)?;
    let limited = || seconds_limited("scan", stored.path(), MOST_MAPPINGS);
    let unlimited = || seconds("scan", stored.path(), 0);
    let theirs = || seconds("scan-mapped", &file, 0);
    let n = place.pick(5, 3);
    Ok(vec![
        Row {
            target: Bound::Any,
            ..Rounds::run(n, unlimited, theirs)?.row("first scan, scattered blocks of 64 KiB", "memmap2", 1.0)
        },
        Row {
            target: Bound::Any,
            ..Rounds::run(n, limited, theirs)?.row("the same, past the limit of mappings", "memmap2", 1.0)
        },
    ])
}

/// Rows that come a few at a time.
pub(crate) fn by_small_appends(place: &Place) -> Outcome<Vec<Row>> {
    const COLUMNS: usize = 8;
    const MOST_ROWS: usize = 50;
    let appends = place.pick(10_000, 2_500);
    let (piecemeal, bulk) = (Stored::at(place.path("piecemeal.bigarray")), Stored::at(place.path("bulk.bigarray")));
    let mut rows = 0;
    let mut pages = Vec::new();
    {
        let db = piecemeal.open_unsynced()?;
        db.transact(|txn| txn.create::<f64, _>("a", (0, COLUMNS)).map(drop))?;
        let mut numbers = Rng::with_seed(17);
        for _ in 0..appends {
            let new = Array2::from_elem((1 + numbers.usize(..MOST_ROWS), COLUMNS), 1.5);
            let written = bytes_written()?;
            db.transact(|txn| txn.array::<f64, Ix2>("a")?.append(Axis(0), new.view()))?;
            pages.push((bytes_written()? - written) as f64 / PAGE as f64);
            rows += new.nrows();
        }
    }
    bulk.open()?.transact(|txn| {
        txn.create::<f64, _>("a", (0, COLUMNS))?.append(Axis(0), Array2::from_elem((rows, COLUMNS), 1.5).view())
    })?;
    let scan = |path: &Path| seconds("scan-rows", path, 0);
    let scans = Rounds::run(place.rounds(), || scan(piecemeal.path()), || scan(bulk.path()))?;
    let average = pages.iter().sum::<f64>() / appends as f64;
    Ok(vec![
        alone("pages written by an append of 1 to 50 rows", Unit::Pages, Bound::Most(64.0), [average]),
        scans.row("first scan after 10,000 small appends", "one append", 1.3),
    ])
}
