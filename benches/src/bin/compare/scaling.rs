//! What must not cost more because an array is large, or resident, or has many blocks.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;

use bigarray::ndarray::{Array1, Axis, Ix1};
use bigarray::{ArrayOptions, Database, Durability};
use fastrand::Rng;

use crate::Outcome;
use crate::child::seconds;
use crate::rounds::{Rounds, alone, timed};
use crate::row::{Bound, Row, Unit};
use crate::stored::{PAGE, Place, Stored};

const GIB: usize = 1 << 30;
const SMALL: usize = 8 << 20;

pub(crate) fn large_arrays(place: &Place) -> Outcome<Vec<Row>> {
    let mut rows = large(place)?;
    rows.push(append(place)?);
    rows.push(resize(place)?);
    rows.push(open_many_blocks(place)?);
    rows.push(snapshots(place)?);
    Ok(rows)
}

/// What is done to 8 GiB, where it is all resident and where nothing is yet.
fn large(place: &Place) -> Outcome<Vec<Row>> {
    let bytes = place.pick(8 * GIB, GIB);
    let large = Stored::at(place.path("large.bigarray"));
    large.fill(bytes / 8, Durability::NoPowerLossSafety)?;
    let mut rows = vec![scan(place, &large, bytes)?];
    rows.extend(resident(place, &large, bytes)?);
    Ok(rows)
}

/// The first scan of it, against a mapped file; and that ratio against the ratio of 512 MiB.
fn scan(place: &Place, large: &Stored, bytes: usize) -> Outcome<Row> {
    let (small, small_file) = (place.database(place.len())?, place.file(place.len())?);
    let large_file = place.file(bytes / 8)?;
    let ratio = |ours: &Stored, theirs: &Path| -> Outcome<f64> {
        Ok(seconds("scan", ours.path(), 0)? / seconds("scan-mapped", theirs, 0)?)
    };
    let mut figures = Vec::new();
    for _ in 0..place.pick(5, 3) {
        figures.push(ratio(large, &large_file)? / ratio(&small, &small_file)?);
    }
    std::fs::remove_file(large_file)?;
    Ok(Row {
        baseline: "that of 512 MiB",
        ..alone("first scan of 8 GiB: its ratio to memmap2", Unit::Ratio, Bound::Most(1.15), figures)
    })
}

/// One page changed where 8 GiB are resident, against 8 MiB.
fn resident(place: &Place, large: &Stored, bytes: usize) -> Outcome<Vec<Row>> {
    let small = Stored::at(place.path("small.bigarray"));
    small.fill(SMALL / 8, Durability::NoPowerLossSafety)?;
    let (large_db, small_db) = (large.open_unsynced()?, small.open_unsynced()?);
    let mut numbers = Rng::with_seed(19);
    let mut change = |db: &Database, whole: bool| -> Outcome<f64> {
        let (done, seconds) = timed(|| -> Outcome<()> {
            let txn = db.begin()?;
            let mut array = txn.array::<f64, Ix1>("a")?;
            let at = numbers.usize(..if whole { array.len() } else { SMALL / 8 });
            if whole {
                array.view_mut()[at] += 1.0;
            } else {
                array.rows_mut(at..at + 1)?[0] += 1.0;
            }
            drop(array);
            Ok(txn.commit()?)
        });
        done?;
        Ok(seconds)
    };
    for db in [&large_db, &small_db] {
        let txn = db.begin()?;
        black_box(txn.array::<f64, Ix1>("a")?.view().sum());
    }
    let change_rows = RefCell::new(|db: &Database| change(db, false));
    let n = place.pick(301, 51);
    let by_rows = Rounds::run(n, || (change_rows.borrow_mut())(&large_db), || (change_rows.borrow_mut())(&small_db))?;
    // The second time that all of it is handed out, it is prepared for the third and all that follow.
    for _ in 0..3 {
        change(&large_db, true)?;
    }
    let gibs = bytes as f64 / GIB as f64;
    let figures = (0..place.pick(51, 11)).map(|_| Ok(change(&large_db, true)? * 1000.0 / gibs));
    let by_view = figures.collect::<Outcome<Vec<f64>>>()?;
    Ok(vec![
        by_rows.row("change a page by rows_mut, commit, 8 GiB resident", "8 MiB resident", 1.5),
        alone("the same by view_mut of all, a resident GiB", Unit::MillisPerGib, Bound::Most(0.6), by_view),
    ])
}

/// A MiB appended to much and to little.
fn append(place: &Place) -> Outcome<Row> {
    let stored = Stored::at(place.path("append.bigarray"));
    let db = stored.open_unsynced()?;
    db.transact(|txn| {
        txn.create::<f64, _>("large", (1usize << 40) / 8)?;
        txn.create::<f64, _>("small", 1024).map(drop)
    })?;
    let new = Array1::from_elem((1 << 20) / 8, 1.5);
    let append = |name: &str| {
        let (done, seconds) = timed(|| db.transact(|txn| txn.array::<f64, Ix1>(name)?.append(Axis(0), new.view())));
        done?;
        Ok(seconds)
    };
    Ok(Rounds::run(place.pick(101, 31), || append("large"), || append("small"))?.row(
        "append 1 MiB to 1 TiB, commit",
        "to 8 KiB",
        1.2,
    ))
}

/// Longer by far, and back.
fn resize(place: &Place) -> Outcome<Row> {
    let stored = Stored::at(place.path("resize.bigarray"));
    let db = stored.open_unsynced()?;
    db.transact(|txn| txn.create::<f64, _>("a", 1024)?.rows_mut(0..1024).map(|mut rows| rows.fill(1.0)))?;
    let txn = db.begin()?;
    let mut array = txn.array::<f64, Ix1>("a")?;
    let mut figures = Vec::new();
    for _ in 0..place.pick(101, 31) {
        for len in [1 << 40, 1024] {
            let (done, seconds) = timed(|| array.resize(len));
            done?;
            figures.push(seconds * 1e6);
        }
    }
    Ok(alone("resize to 2⁴⁰ elements, or back", Unit::Micros, Bound::Most(100.0), figures))
}

/// An array of a million blocks, each with something in it.
fn open_many_blocks(place: &Place) -> Outcome<Row> {
    const SMALL_BLOCK: usize = 64 << 10;
    let blocks = place.pick(1_000_000, 100_000);
    let a_commit = 100_000;
    let stored = Stored::at(place.path("blocks.bigarray"));
    let db = stored.open_unsynced()?;
    let options = ArrayOptions::new().block_size(SMALL_BLOCK);
    db.transact(|txn| txn.create_with::<u8, _>("a", blocks * SMALL_BLOCK, &options).map(drop))?;
    for start in (0..blocks).step_by(a_commit) {
        let txn = db.begin()?;
        let mut array = txn.array::<u8, Ix1>("a")?;
        let mut rows = array.rows_mut(start * SMALL_BLOCK..(start + a_commit) * SMALL_BLOCK)?;
        (0..a_commit).for_each(|block| rows[block * SMALL_BLOCK + block % PAGE] = 1);
        drop(array);
        txn.commit()?;
    }
    drop(db);
    let mut figures = Vec::new();
    for _ in 0..place.pick(21, 5) {
        // Opened anew each time: no span idles that could be taken.
        let db = stored.open_unsynced()?;
        let (array, seconds) = timed(|| db.array::<u8, Ix1>("a"));
        array?;
        figures.push(seconds * 1e6);
    }
    Ok(alone("open an array of 10⁶ blocks", Unit::Micros, Bound::Most(100.0), figures))
}

/// What a reader pays that looks in for one number.
fn snapshots(place: &Place) -> Outcome<Row> {
    const LOOKS: usize = 10_000;
    let stored = place.database(SMALL / 8)?;
    let db = stored.open()?;
    let look = |n: usize| -> Outcome<f64> {
        let snapshot = db.snapshot()?;
        let array = snapshot.array::<f64, Ix1>("a")?;
        let view = array.view();
        Ok(view[n % view.len()])
    };
    let mut figures = Vec::new();
    for _ in 0..place.rounds() {
        let (sum, seconds) = timed(|| (0..LOOKS).try_fold(0.0, |sum, n| look(n).map(|x| sum + x)));
        black_box(sum?);
        figures.push(seconds * 1e6 / LOOKS as f64);
    }
    Ok(alone("snapshot, open an array, read an element, drop", Unit::Micros, Bound::Most(10.0), figures))
}
