//! Blocks that have to be copied into memory.

use std::hint::black_box;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Pager};

use crate::Outcome;
use crate::baseline::map;
use crate::rounds::{Rounds, timed};
use crate::row::Row;
use crate::stored::{BLOCK, Place};

/// A fault that copies a block, against a copy of as much.
pub(crate) fn faults(place: &Place) -> Outcome<Vec<Row>> {
    let len = place.len();
    let blocks = len * 8 / BLOCK;
    let (stored, file) = (place.database(len)?, place.file(len)?);
    let ours = || {
        let array = Database::options().pager(Pager::Copy).open(stored.path())?.array::<f64, Ix1>("a")?;
        let view = array.view();
        let (_, seconds) = timed(|| {
            (0..blocks).for_each(|block| {
                black_box(view[block * BLOCK / 8]);
            })
        });
        Ok(seconds / blocks as f64)
    };
    let mapped = map(&file)?;
    let mut target = vec![1u8; mapped.len()];
    let theirs = || {
        let (_, seconds) = timed(|| {
            for (to, from) in target.chunks_mut(BLOCK).zip(mapped.chunks(BLOCK)) {
                to.copy_from_slice(from);
            }
        });
        black_box(&target);
        Ok(seconds / blocks as f64)
    };
    Ok(vec![Rounds::run(place.rounds(), ours, theirs)?.row("a fault that copies 2 MiB", "memcpy of 2 MiB", 3.0)])
}
