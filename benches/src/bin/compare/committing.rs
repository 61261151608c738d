//! What a durable commit costs beside the bare writes and syncs of a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use bigarray::Database;
use bigarray::ndarray::{Array1, Axis, Ix1};
use fastrand::Rng;

use crate::Outcome;
use crate::baseline::{map_mut, numbers_mut};
use crate::rounds::{Rounds, timed};
use crate::row::Row;
use crate::stored::{PAGE, PAGE_LEN, Place, change_one, number};

/// Numbers of a MiB.
const MIB_LEN: usize = (1 << 20) / 8;

/// Every commit here is on disk when it returns.
pub(crate) fn durable(place: &Place) -> Outcome<Vec<Row>> {
    let mut rows = vec![all_of_it(place)?];
    rows.extend(one_page(place)?);
    rows.push(append(place)?);
    Ok(rows)
}

/// All of a new array.
fn all_of_it(place: &Place) -> Outcome<Row> {
    let len = place.len();
    let db = Database::open(place.path("whole.bigarray"))?;
    let vec: Vec<f64> = (0..len).map(number).collect();
    let ours = || {
        let txn = db.begin()?;
        let mut array = txn.create::<f64, _>("a", len)?;
        array.view_mut().assign(&bigarray::ndarray::aview1(&vec));
        drop(array);
        let (committed, seconds) = timed(|| txn.commit());
        committed?;
        db.transact(|txn| txn.remove("a"))?;
        Ok(seconds)
    };
    let path = place.path("written");
    let theirs = || {
        let mut file = File::create(&path)?;
        let (written, seconds) = timed(|| file.write_all(bytemuck::cast_slice(&vec)).and_then(|()| file.sync_data()));
        written?;
        drop(file);
        std::fs::remove_file(&path)?;
        Ok(seconds)
    };
    Ok(Rounds::run(place.pick(7, 2), ours, theirs)?.row("commit 512 MiB", "write + fdatasync", 1.15))
}

/// One number of the array.
fn one_page(place: &Place) -> Outcome<Vec<Row>> {
    let len = place.len();
    let n = place.pick(200, 50);
    let stored = place.database(len)?;
    let path = place.file(len)?;
    let db = stored.open()?;
    let mut places = Rng::with_seed(3);
    let mut ours = || Ok(timed(|| change_one(&db, places.usize(..len))).1);

    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let mut places = Rng::with_seed(3);
    let page = vec![1u8; PAGE];
    let mut written = || {
        let at = places.usize(..len / PAGE_LEN) * PAGE;
        let (done, seconds) = timed(|| file.write_all_at(&page, at as u64).and_then(|()| file.sync_data()));
        done?;
        Ok(seconds)
    };
    let against_writes = Rounds::run(n, &mut ours, &mut written)?;

    let mut mapped = map_mut(&file)?;
    let mut places = Rng::with_seed(5);
    let mut flushed = || {
        let (done, seconds) = timed(|| {
            numbers_mut(&mut mapped)[places.usize(..len)] += 1.0;
            mapped.flush()
        });
        done?;
        Ok(seconds)
    };
    let against_flushes = Rounds::run(n, &mut ours, &mut flushed)?;
    Ok(vec![
        against_writes.row("change one element, commit", "pwrite + fdatasync of a page", 3.0),
        against_flushes.row("change one element, commit", "memmap2: change, flush", 0.7),
    ])
}

/// A MiB more.
fn append(place: &Place) -> Outcome<Row> {
    let len = place.len();
    let stored = place.database(len)?;
    let path = place.file(len)?;
    let db = stored.open()?;
    let new: Array1<f64> = (0..MIB_LEN).map(number).collect();
    let ours = || {
        let (done, seconds) = timed(|| -> Outcome<()> {
            let txn = db.begin()?;
            txn.array::<f64, Ix1>("a")?.append(Axis(0), new.view())?;
            Ok(txn.commit()?)
        });
        done?;
        Ok(seconds)
    };
    let mut end = len;
    let theirs = || {
        let (done, seconds) = timed(|| -> Outcome<()> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            file.set_len(((end + MIB_LEN) * 8) as u64)?;
            let mut mapped = map_mut(&file)?;
            numbers_mut(&mut mapped)[end..].copy_from_slice(new.as_slice().ok_or("contiguous")?);
            Ok(mapped.flush()?)
        });
        done?;
        end += MIB_LEN;
        Ok(seconds)
    };
    Ok(Rounds::run(place.pick(50, 15), ours, theirs)?.row("append 1 MiB, commit", "set_len, memmap2, copy, flush", 0.4))
}
