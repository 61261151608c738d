//! How fast a whole database is verified, against reading its data file by `read(2)`; and in how much memory.

use std::fs::File;
use std::io::Read as _;

use bigarray::ArrayOptions;

use crate::ground::{GIB, Ground, MIB, against, ensure, figure, speed, timed};
use crate::memory::Watch;
use crate::numbers::fill;
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 2] = [
    Part { name: "blocks of 2 MiB, against read(2) in pieces of 2 MiB", cgroup: None, run: |g| run(g, 2 * MIB) },
    Part { name: "blocks of 64 KiB, against read(2) in pieces of 2 MiB", cgroup: None, run: |g| run(g, 64 << 10) },
];

const ROUNDS: usize = 5;
/// How fast it is to be, of what reading does.
const PART_OF_READING: f64 = 0.7;

fn run(ground: &Ground, block_bytes: usize) -> Outcome<()> {
    let bytes = ground.pick(2 * GIB, 256 * MIB);
    let db = ground.open(64 * MIB)?;
    let options = ArrayOptions::new().block_size(block_bytes);
    db.transact(|txn| {
        let mut array = txn.create_with::<u64, _>("a", bytes / 8, &options)?;
        for range in array.blocks() {
            fill(&mut array.rows_mut(range.clone())?, range.start);
        }
        Ok(())
    })?;
    let data = ground.database().join("data");
    let read = || {
        let mut file = File::open(&data)?;
        let mut buffer = vec![0; 2 * MIB];
        let mut all = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(all),
                read => all += read,
            }
        }
    };
    let (mut reading, mut verifying) = (Vec::new(), Vec::new());
    let mut read_bytes = read()?; // the cache is warm from here on
    let watch = Watch::begin();
    for _ in 0..ROUNDS {
        let (all, seconds) = timed(read)?;
        read_bytes = all;
        reading.push(seconds / all as f64);
        let mut told = 0;
        let (report, seconds) = timed(|| Ok(db.verify(|_| told += 1)?))?;
        ensure(report.is_sound() && report.verified_bytes() == bytes as u64, || format!("{report:?}"))?;
        ensure(told > 1, || "progress was not told".to_owned())?;
        verifying.push(seconds / bytes as f64);
    }
    watch.end_within(0)?;
    let median = |seconds: &mut Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds[ROUNDS / 2]
    };
    let (reading, verifying) = (median(&mut reading), median(&mut verifying));
    figure("read(2) of the data file", speed(read_bytes, reading * read_bytes as f64));
    figure("verified", speed(bytes, verifying * bytes as f64));
    against("of which of the speed of reading", reading / verifying, "", PART_OF_READING, true);
    Ok(())
}
