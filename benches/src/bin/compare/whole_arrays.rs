//! What is done with all of an array: reductions, copies of another order, arrays filled from an iterator.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;

use bigarray::ndarray::{Array1, Axis, Ix1, Ix2, Order};
use bigarray::{ArrayOptions, Database};
use rayon::prelude::*;

use crate::Outcome;
use crate::baseline::map;
use crate::rounds::{Rounds, timed};
use crate::row::Row;
use crate::stored::{BLOCK, Place};

const MIB: usize = 1 << 20;

/// Numbers of 32 bits near a million: their mean is wrong in the third digit if they are added up in 32 bits.
fn near_a_million(n: usize) -> f32 {
    1e6 + (n % 256) as f32 / 16.0
}

/// Mean and standard deviation, warm.
pub(crate) fn reductions(place: &Place) -> Outcome<Vec<Row>> {
    let len = place.pick(2048, 256) * MIB / 4;
    let (path, file) = (place.path("reductions.bigarray"), place.path("numbers"));
    let db = Database::open(&path)?;
    db.transact(|txn| {
        let mut array = txn.create::<f32, _>("a", len)?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = near_a_million(n));
        Ok(())
    })?;
    let array = db.array::<f32, Ix1>("a")?;
    array.write_to(&mut File::create(&file)?)?;
    let mapped = map(&file)?;
    let numbers: &[f32] = bytemuck::cast_slice(&mapped);
    let plain = || {
        let sum = || numbers.par_chunks(BLOCK / 4).map(|part| part.iter().map(|x| f64::from(*x)).sum::<f64>()).sum();
        let (sum, seconds): (f64, f64) = timed(sum);
        black_box(sum);
        Ok(seconds)
    };
    // Of 0 to 255 sixteenths, all as often as the others.
    let (mean, std) = (1e6 + 255.0 / 32.0, (65_535.0_f64 / 12.0).sqrt() / 16.0);
    let is_right = |ours: f64, right: f64, what: &str| match (ours / right - 1.0).abs() <= 1e-6 {
        true => Ok(()),
        false => Err(format!("{what} of {len} numbers is {ours}, not {right}")),
    };
    let our_mean = || {
        let (ours, seconds) = timed(|| array.mean());
        is_right(ours?.unwrap_or(f64::NAN), mean, "mean")?;
        Ok(seconds)
    };
    let our_std = || {
        let (ours, seconds) = timed(|| array.std(0.0));
        is_right(ours?, std, "std")?;
        Ok(seconds)
    };
    let baseline = "memmap2, a sum in f64 by as many threads";
    Ok(vec![
        Rounds::run(place.rounds(), our_mean, plain)?.row("mean of 2 GiB of f32", baseline, 1.1),
        Rounds::run(place.rounds(), our_std, plain)?.row("std of 2 GiB of f32", baseline, 1.1),
    ])
}

/// A matrix copied to the other order, and to the same.
pub(crate) fn copies(place: &Place) -> Outcome<Vec<Row>> {
    let side = place.pick(16_384, 4096);
    let path = place.path("copies.bigarray");
    let db = Database::options().memory_budget(64 * MIB).open(&path)?;
    db.transact(|txn| {
        let mut array = txn.create::<f32, _>("a", (side, side))?;
        for rows in array.blocks() {
            let first = rows.start;
            array
                .rows_mut(rows)?
                .indexed_iter_mut()
                .for_each(|((i, j), x)| *x = near_a_million((first + i) * side + j));
        }
        Ok(())
    })?;
    let array = db.array::<f32, Ix2>("a")?;
    let copy = |order| -> Outcome<f64> {
        let options = ArrayOptions::new().order(order);
        let (copied, seconds) = timed(|| -> Outcome<()> {
            let txn = db.begin()?;
            drop(array.copy_to(&txn, "copy", &options, |_| {})?);
            Ok(txn.commit()?)
        });
        copied?;
        let copy = db.array::<f32, Ix2>("copy")?;
        if copy.view()[[side / 2, side - 1]] != near_a_million(side / 2 * side + side - 1) {
            return Err("the copy is another".into());
        }
        drop(copy);
        db.transact(|txn| txn.remove("copy"))?;
        Ok(seconds)
    };
    let rounds = Rounds::run(place.pick(5, 2), || copy(Order::ColumnMajor), || copy(Order::RowMajor))?;
    Ok(vec![rounds.row("copy a GiB to the other order, 64 MiB of memory", "a copy in order", 4.0)])
}

/// An array filled from an iterator and committed.
pub(crate) fn from_iterators(place: &Place) -> Outcome<Vec<Row>> {
    let chunks = place.pick(64, 16);
    let chunk = Array1::from_iter((0..8 * MIB / 4).map(near_a_million));
    let db = Database::open(place.path("iterators.bigarray"))?;
    let ours = || {
        let (appended, seconds) = timed(|| -> Outcome<()> {
            let txn = db.begin()?;
            let mut array = txn.create::<f32, _>("a", 0)?;
            array.append_from(Axis(0), (0..chunks).map(|_| chunk.view()), |_| {})?;
            drop(array);
            Ok(txn.commit()?)
        });
        appended?;
        db.transact(|txn| txn.remove("a"))?;
        Ok(seconds)
    };
    let path = place.path("written");
    let bytes: &[u8] = bytemuck::cast_slice(chunk.as_slice().ok_or("contiguous")?);
    let theirs = || {
        let mut file = File::create(&path)?;
        let (written, seconds) =
            timed(|| (0..chunks).try_for_each(|_| file.write_all(bytes)).and_then(|()| file.sync_data()));
        written?;
        drop(file);
        std::fs::remove_file(&path)?;
        Ok(seconds)
    };
    let rounds = Rounds::run(place.pick(7, 2), ours, theirs)?;
    Ok(vec![rounds.row("append 512 MiB from an iterator, commit", "write + fdatasync", 1.1)])
}
