//! What becomes of a database by many small commits.

use std::time::Duration;

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Codec};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::{alone, timed};
use bigarray_benches::row::{Bound, Row, Unit};
use fastrand::Rng;

use crate::ground::Ground;

const BLOCK: usize = 64 << 10;
const BLOCKS: usize = 1024;

/// How often it is compacted while it ages.
const COMPACTED: usize = 5;

/// No transaction here lives for as long.
const KEEP: Duration = Duration::from_secs(1);

/// A page of a random block each.
pub(crate) fn by_small_commits(ground: &Ground) -> Outcome<Vec<Row>> {
    let place = ground.place()?;
    let db = place.open()?;
    // Compressed, so that it is the commits that take time and room, not their payload.
    let options = ArrayOptions::new().block_size(BLOCK).codec(Codec::Zstd { level: 1, shuffle: false });
    db.transact(|txn| txn.create_with::<u8, _>("a", BLOCKS * BLOCK, &options).map(drop))?;
    let mut rng = Rng::with_seed(12);
    let commits = ground.commits();
    let (mut seconds, mut megabytes) = (Vec::new(), Vec::new());
    for commit in 1..=commits {
        let start = rng.usize(..BLOCKS) * BLOCK;
        let mut change = || {
            db.transact(|txn| {
                let mut array = txn.array::<u8, Ix1>("a")?;
                array.rows_mut(start..start + 4096)?.iter_mut().for_each(|byte| *byte = rng.u8(..));
                Ok(())
            })
        };
        let (done, of_commit) = timed(&mut change);
        done?;
        seconds.push(of_commit);
        if commit % (commits / COMPACTED).max(1) == 0 {
            megabytes.push(place.metadata_bytes()? as f64 / 1e6);
            db.compact(KEEP)?;
        }
    }
    let some = 100.min(commits);
    let [first, last] = [&seconds[..some], &seconds[commits - some..]].map(|some| some.iter().sum::<f64>());
    let figure = alone("the last 100 of 5,000 small commits", Unit::Ratio, Bound::Most(1.5), [last / first]);
    let seconds = Some((last / some as f64, first / some as f64));
    let most = megabytes.into_iter().fold(0.0, f64::max);
    Ok(vec![
        Row { baseline: "the first 100", seconds, ..figure },
        alone("metadata before each compacting, at most", Unit::Megabytes, Bound::Most(30.0), [most]),
    ])
}
