//! Reading: what is in memory already, the first scan, the scan that waits for the disk, access here and there.

use std::hint::black_box;
use std::path::Path;

use bigarray::ndarray::{Array1, ArrayView1, Ix1};

use crate::Outcome;
use crate::baseline::drop_cache;
use crate::child::{measure, seconds, touch};
use crate::rounds::{Rounds, alone, timed};
use crate::row::{Bound, Row, Unit};
use crate::stored::{Place, number};

/// Numbers touched in a cold mapping.
const TOUCHES: usize = 50_000;

/// A view whose pages are all there is memory like any other.
pub(crate) fn in_memory(place: &Place) -> Outcome<Vec<Row>> {
    const RANDOM_READS: usize = 1_000_000;
    let stored = place.database(place.len())?;
    let array = stored.open()?.array::<f64, Ix1>("a")?;
    let vec: Array1<f64> = (0..place.len()).map(number).collect();
    let scan = |view: ArrayView1<'_, f64>| Ok(timed(|| black_box(view.sum())).1);
    let random = |view: ArrayView1<'_, f64>| Ok(timed(|| touch(view, RANDOM_READS)).1);
    let n = place.rounds();
    Ok(vec![
        Rounds::run(n, || scan(array.view()), || scan(vec.view()))?.row("scan again", "Vec", 1.03),
        Rounds::run(n, || random(array.view()), || random(vec.view()))?.row("10⁶ random reads again", "Vec", 1.03),
    ])
}

/// Each scan in a process of its own.
pub(crate) fn first_scan(place: &Place) -> Outcome<Vec<Row>> {
    let (stored, file) = (place.database(place.len())?, place.file(place.len())?);
    let in_transaction = || seconds("scan-in-transaction", stored.path(), 0);
    let n = place.rounds();
    let first = Rounds::run(n, || seconds("scan", stored.path(), 0), || seconds("scan-mapped", &file, 0))?;
    let mut rows = vec![
        first.row("first scan, new process", "memmap2", 1.10),
        Rounds::run(n, in_transaction, || seconds("scan-mapped", &file, 0))?.row(
            "first scan in a transaction",
            "memmap2",
            1.15,
        ),
    ];
    let memory = measure("anonymous-memory", stored.path(), 0)?;
    let share = memory[0] / memory[1] * 100.0;
    rows.push(alone("memory a first scan adds, of the bytes read", Unit::Percent, Bound::Most(2.0), [share]));
    Ok(rows)
}

/// The same with nothing in the page cache.
pub(crate) fn from_disk(place: &Place) -> Outcome<Vec<Row>> {
    let (stored, file) = (place.database(place.len())?, place.file(place.len())?);
    let ours = || {
        drop_cache(&stored.data())?;
        seconds("scan", stored.path(), 0)
    };
    let theirs = || {
        drop_cache(&file)?;
        seconds("scan-mapped", &file, 0)
    };
    Ok(vec![Rounds::run(place.pick(5, 2), ours, theirs)?.row("scan, page cache dropped", "memmap2", 0.6)])
}

/// Access here and there, and by two threads.
pub(crate) fn touches_and_threads(place: &Place) -> Outcome<Vec<Row>> {
    let (stored, file) = (place.database(place.len())?, place.file(place.len())?);
    let n = place.rounds();
    let touches =
        Rounds::run(n, || seconds("touch", stored.path(), TOUCHES), || seconds("touch-mapped", &file, TOUCHES))?;
    let speed_up = |job: &str, path: &Path| -> Outcome<f64> { Ok(seconds(job, path, 1)? / seconds(job, path, 2)?) };
    let mut shares = Vec::new();
    for _ in 0..n {
        shares.push(speed_up("threads", stored.path())? / speed_up("threads-mapped", &file)?);
    }
    Ok(vec![
        touches.row("50,000 random touches, cold mapping", "memmap2", 1.3),
        Row {
            baseline: "memmap2's speed-up",
            ..alone("first scan: speed-up by a second thread", Unit::Ratio, Bound::Least(0.9), shares)
        },
    ])
}
