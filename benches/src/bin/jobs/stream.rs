//! One pass over an array, another of the same size written from it, in little memory.

use bigarray::ndarray::{Array1, Ix1};

use crate::ground::{GIB, Ground, MIB, ensure, figure, speed, timed};
use crate::memory::Watch;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 1] =
    [Part { name: "4 GiB read, 4 GiB written, in a cgroup of 512 MiB", cgroup: Some((512 * MIB, 192 * MIB)), run }];

const BLOCK: usize = 2 << 20;

fn value(n: usize) -> u8 {
    ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// What is stored in a block.
fn values(first: usize, len: usize) -> Array1<u8> {
    Array1::from_shape_fn(len, |n| value(first + n))
}

fn run(ground: &Ground) -> Outcome<()> {
    let bytes = ground.pick(4 * GIB, 512 * MIB);
    let budget = ground.pick(256 * MIB, 64 * MIB);
    let watch = Watch::begin();
    let db = ground.open(budget)?;
    let txn = db.begin()?;
    let mut a = txn.create::<u8, _>("a", bytes)?;
    for range in a.blocks() {
        let piece = values(range.start, range.len());
        a.rows_mut(range)?.assign(&piece);
    }
    drop(a);
    txn.commit()?;
    drop(db);

    let db = ground.open(budget)?;
    let ((), seconds) = timed(|| {
        let txn = db.begin()?;
        let a = db.array::<u8, Ix1>("a")?;
        let mut out = txn.create::<u8, _>("out", bytes)?;
        for (n, range) in a.blocks().enumerate() {
            let from = a.rows(range.clone())?;
            out.rows_mut(range)?.zip_mut_with(&from, |to, from| *to = from.wrapping_add(1));
            if n % 64 == 63 {
                out.flush()?;
            }
        }
        drop(out);
        Ok(txn.commit()?)
    })?;
    figure("read, written, committed", speed(2 * bytes, seconds));
    drop(db);

    let db = ground.open(budget)?;
    let (a, out) = (db.array::<u8, Ix1>("a")?, db.array::<u8, Ix1>("out")?);
    for range in a.blocks() {
        let expected = values(range.start, BLOCK.min(range.len()));
        ensure(a.rows(range.clone())? == expected, || format!("{range:?} of the input is wrong"))?;
        ensure(out.rows(range.clone())? == expected + 1, || format!("{range:?} of the output is wrong"))?;
    }
    watch.end_within(budget)
}
