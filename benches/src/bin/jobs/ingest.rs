//! An array many times the budget, created and filled front to back through one view in one transaction.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use bigarray::ndarray::Ix1;

use crate::ground::{GIB, Ground, MIB, against, figure, speed, timed};
use crate::memory::Watch;
use crate::numbers::{BLOCK_LEN, fill, number, verify};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 2] = [
    Part { name: "6 GiB through one view, budget 256 MiB", cgroup: None, run },
    Part { name: "the same in a cgroup of 512 MiB", cgroup: Some((512 * MIB, 192 * MIB)), run },
];

fn run(ground: &Ground) -> Outcome<()> {
    let bytes = ground.pick(6 * GIB, GIB);
    let budget = ground.pick(256 * MIB, 64 * MIB);
    // The disk is faster at one time than at another: measured before and after.
    let before = write_file(&ground.path("before"), bytes)?;
    let watch = Watch::begin();
    let db = ground.open(budget)?;
    let (filled, seconds) = timed(|| {
        let txn = db.begin()?;
        let mut array = txn.create::<u64, _>("a", bytes / 8)?;
        let ((), filled) = timed(|| {
            fill(&mut array.view_mut(), 0);
            Ok(())
        })?;
        drop(array);
        txn.commit()?;
        Ok(filled)
    })?;
    drop(db);
    let db = ground.open(budget)?;
    verify(&db.array::<u64, Ix1>("a")?, |_| 0)?;
    watch.end_within(budget)?;
    drop(db);
    std::fs::remove_dir_all(ground.database())?;
    let after = write_file(&ground.path("after"), bytes)?;
    figure("filled, committed", speed(bytes, seconds));
    figure("of which filling", format_args!("{filled:.2} s"));
    figure("write + fdatasync of the same bytes, before", speed(bytes, before));
    figure("write + fdatasync of the same bytes, after", speed(bytes, after));
    against("ratio to their mean", seconds / ((before + after) / 2.0), " ×", 1.5, false);
    Ok(())
}

/// The same numbers by hand, on disk when it returns; the file goes.
fn write_file(path: &Path, bytes: usize) -> Outcome<f64> {
    let ((), seconds) = timed(|| {
        let mut file = File::create(path)?;
        let mut buffer = vec![0u64; BLOCK_LEN];
        for first in (0..bytes / 8).step_by(BLOCK_LEN) {
            buffer.iter_mut().enumerate().for_each(|(n, x)| *x = number(first + n));
            file.write_all(bytemuck::cast_slice(&buffer))?;
        }
        Ok(file.sync_data()?)
    })?;
    std::fs::remove_file(path)?;
    Ok(seconds)
}
