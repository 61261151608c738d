//! Every third row of a matrix into another array, in batches.

use bigarray::ndarray::{Axis, Ix2, s};

use crate::ground::{Ground, MIB, ensure, figure, speed, timed};
use crate::memory::Watch;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 1] = [Part {
    name: "every third row of f32 (200 000, 1 000), in a cgroup of 256 MiB",
    cgroup: Some((256 * MIB, 128 * MIB)),
    run,
}];

const COLUMNS: usize = 1000;
/// Rows appended at a time.
const BATCH: usize = 4096;

fn value(row: usize, column: usize) -> f32 {
    (row * 7 + column) as f32
}

fn run(ground: &Ground) -> Outcome<()> {
    let rows = ground.pick(200_000, 50_000);
    let budget = ground.pick(64 * MIB, 32 * MIB);
    let bytes = rows * COLUMNS * 4;
    let watch = Watch::begin();
    let db = ground.open(budget)?;
    let txn = db.begin()?;
    let mut a = txn.create::<f32, _>("all", (rows, COLUMNS))?;
    a.view_mut().indexed_iter_mut().for_each(|((row, column), x)| *x = value(row, column));
    drop(a);
    txn.commit()?;
    drop(db);

    let db = ground.open(budget)?;
    let ((), seconds) = timed(|| {
        let txn = db.begin()?;
        let all = txn.array::<f32, Ix2>("all")?;
        let mut thirds = txn.create::<f32, _>("thirds", (0, COLUMNS))?;
        for start in (0..rows).step_by(3 * BATCH) {
            let window = all.rows(start..rows.min(start + 3 * BATCH))?;
            thirds.append(Axis(0), window.slice(s![..;3, ..]))?;
        }
        drop((all, thirds));
        Ok(txn.commit()?)
    })?;
    figure("filtered, committed", speed(bytes, seconds));
    drop(db);

    let db = ground.open(budget)?;
    let thirds = db.array::<f32, Ix2>("thirds")?;
    ensure(thirds.shape() == [rows.div_ceil(3), COLUMNS], || format!("it has shape {:?}", thirds.shape()))?;
    let view = thirds.view();
    let wrong = view.indexed_iter().find(|((row, column), x)| **x != value(3 * row, *column));
    ensure(wrong.is_none(), || format!("an element is wrong: {wrong:?}"))?;
    watch.end_within(budget)
}
