//! Blocks of 64 KiB: they come and go in larger objects.

use bigarray::ArrayOptions;
use bigarray::ndarray::{Array1, Axis, Ix1};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::{Rounds, timed};
use bigarray_benches::row::Row;
use bytes::Bytes;

use crate::ground::{Ground, MIB, number, scan};
use crate::plain;

/// Bytes of the blocks, and of the objects beside.
const BLOCK: usize = 64 << 10;

/// Appending to an array of small blocks, and the first scan of one.
pub(crate) fn appended_and_scanned(ground: &Ground) -> Outcome<Vec<Row>> {
    let len = ground.pick(64, 16) * MIB / 8;
    let options = ArrayOptions::new().block_size(BLOCK);
    let numbers: Array1<f64> = (0..len).map(number).collect();
    let bytes = Bytes::copy_from_slice(bytemuck::cast_slice(numbers.as_slice().ok_or("numbers that are apart")?));
    let objects: Vec<_> = (0..bytes.len()).step_by(BLOCK).map(|at| bytes.slice(at..at + BLOCK)).collect();
    let other = ground.place()?;

    let growing = ground.filled(len, &options)?;
    let db = growing.open()?;
    let ours = || {
        let append = || db.transact(|txn| txn.array::<f64, Ix1>("a")?.append(Axis(0), numbers.view()));
        let (done, seconds) = timed(append);
        done?;
        Ok(seconds)
    };
    let theirs = || plain::put(ground, &other, &objects);
    let appends = Rounds::run(ground.rounds(), ours, theirs)?;

    let place = ground.filled(len, &options)?;
    let paths = plain::paths(&other, &objects);
    let ours = || scan(&place.open()?);
    let theirs = || plain::scan(ground, &other, &paths);
    let scans = Rounds::run(ground.rounds(), ours, theirs)?;
    Ok(vec![
        appends.speed("append 64 MiB in blocks of 64 KiB, commit", "object_store: put an object each", 3.0),
        scans.speed("first scan of blocks of 64 KiB", "object_store: get an object each, sum", 5.0),
    ])
}
