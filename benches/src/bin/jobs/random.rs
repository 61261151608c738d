//! Elements here and there of a compressed array, some far more often than others, with a budget for a small part of
//! it.

use bigarray::ndarray::Ix2;
use bigarray::{Access, ArrayOptions, BigArray, Codec};
use fastrand::Rng;

use crate::ground::{GIB, Ground, MIB, ensure, figure, timed};
use crate::memory::Watch;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 1] =
    [Part { name: "10⁶ zipf reads of 4 GiB, Zstandard, budget 128 MiB", cgroup: None, run }];

/// A row is a page, so a block of 64 KiB has 16.
const ROW: usize = 4096 / 4;
const BLOCK: usize = 64 << 10;

/// About a third of its size when compressed.
fn value(row: usize, column: usize) -> u32 {
    (((row * ROW + column) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53) as u32
}

fn run(ground: &Ground) -> Outcome<()> {
    let rows = ground.pick(4 * GIB, 512 * MIB) / 4 / ROW;
    let reads = ground.pick(1_000_000, 50_000);
    let budget = ground.pick(128 * MIB, 16 * MIB);
    let watch = Watch::begin();
    let db = ground.open(budget)?;
    let txn = db.begin()?;
    let options = ArrayOptions::new().codec(Codec::Zstd { level: 1, shuffle: true }).block_size(BLOCK);
    let mut array = txn.create_with::<u32, _>("a", (rows, ROW), &options)?;
    array.view_mut().indexed_iter_mut().for_each(|((row, column), x)| *x = value(row, column));
    drop(array);
    txn.commit()?;
    drop(db);

    let db = ground.open(budget)?;
    let ((), seconds) = timed(|| read(&db.array("a")?, reads))?;
    watch.end_within(budget)?;
    figure("reads", format_args!("{reads} in {seconds:.2} s, {:.2} µs each", seconds * 1e6 / reads as f64));
    let memory = db.memory_use();
    let loads = memory.blocks_copied;
    figure("hit rate", format_args!("{:.1} %, {loads} blocks were loaded", 100.0 - share(loads, reads)));
    ensure(memory.blocks_evicted > 0, || format!("nothing had to give way: {memory:?}"))?;
    drop(db);

    let db = ground.open(usize::MAX)?;
    let ((), unlimited) = timed(|| read(&db.array("a")?, reads))?;
    let loads = db.memory_use().blocks_copied;
    figure("the same without a budget", format_args!("{unlimited:.2} s, {:.1} % hits", 100.0 - share(loads, reads)));
    figure("ratio", format_args!("{:.2} ×", seconds / unlimited));
    Ok(())
}

fn share(part: u64, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// Reads `n` random elements and checks each.
fn read(array: &BigArray<u32, Ix2>, reads: usize) -> Outcome<()> {
    array.advise(Access::Random);
    let view = array.view();
    let rows = view.nrows();
    let mut random = Rng::with_seed(11);
    for _ in 0..reads {
        // The row of rank k is read about 1 / k as often as the first. Ranks are strewn over the array: the number of
        // rows is a power of two, the factor is odd.
        let rank = ((rows as f64).powf(random.f64()) as usize - 1).min(rows - 1);
        let row = rank.wrapping_mul(0x9e37_79b1) % rows;
        let column = random.usize(..ROW);
        ensure(view[[row, column]] == value(row, column), || format!("element [{row}, {column}] is wrong"))?;
    }
    Ok(())
}
