//! What becomes of the data file under commits of every size: whether it settles, and at how much of what lives in it.

use std::os::unix::fs::MetadataExt;

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database, Durability};
use fastrand::Rng;

use crate::ground::{Ground, MIB, against, figure, timed};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 2] = [
    Part { name: "20,000 mixed commits to three arrays of 128 MiB", cgroup: None, run: mixed },
    Part { name: "5,000 transactions that change and flush an element", cgroup: None, run: flushed },
];

/// An array of each, in blocks of so many bytes.
const BLOCKS: [usize; 3] = [64 << 10, 256 << 10, 2 << 20];
const PAGE: usize = 4096;

fn name(n: usize) -> String {
    format!("in-blocks-of-{}", BLOCKS[n])
}

fn create(ground: &Ground, len: usize) -> Outcome<Database> {
    let options = Database::options().durability(Durability::NoPowerLossSafety);
    let db = options.open(ground.database())?;
    for (n, bytes) in BLOCKS.into_iter().enumerate() {
        let txn = db.begin()?;
        txn.create_with::<f64, _>(&name(n), len, &ArrayOptions::new().block_size(bytes))?.view_mut().fill(1.0);
        txn.commit()?;
    }
    Ok(db)
}

/// Bytes that the data file takes on disk.
fn data_bytes(ground: &Ground) -> Outcome<u64> {
    Ok(ground.database().join("data").metadata()?.blocks() * 512)
}

/// Bytes that this process has handed to writing system calls.
fn bytes_written() -> Outcome<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar:")).ok_or("no wchar in /proc/self/io")?;
    Ok(line.trim().parse()?)
}

/// Rewrites a block, or changes one element.
fn mixed(ground: &Ground) -> Outcome<()> {
    const EVERY: usize = 500;
    let commits = ground.pick(20_000, 3_000);
    let bytes = ground.pick(128 * MIB, 32 * MIB);
    let len = bytes / 8;
    let db = create(ground, len)?;
    let live = 3 * bytes as u64;
    let mut numbers = Rng::with_seed(31);
    let (mut seconds, mut most) = (Vec::with_capacity(commits), 0.0_f64);
    let before = bytes_written()?;
    for commit in 1..=commits {
        let array = numbers.usize(..3);
        let rows = if numbers.bool() {
            let of_block = BLOCKS[array] / 8;
            let first = numbers.usize(..len / of_block) * of_block;
            first..first + of_block
        } else {
            let at = numbers.usize(..len);
            at..at + 1
        };
        let txn = db.begin()?;
        let mut array = txn.array::<f64, Ix1>(&name(array))?;
        array.rows_mut(rows)?.mapv_inplace(|x| x + 1.0);
        drop(array);
        seconds.push(timed(|| Ok(txn.commit()?))?.1);
        if commit % EVERY == 0 {
            let part = data_bytes(ground)? as f64 / live as f64;
            most = most.max(part);
            if [1_000, 3_000, 6_000].contains(&commit) || commit % 5_000 == 0 {
                figure("file against live bytes", format_args!("{part:.2} × after {commit}"));
            }
        }
    }
    let pages = (bytes_written()? - before) as f64 / PAGE as f64 / commits as f64;
    against("file against live bytes, at most", most, " ×", 1.5, false);
    figure("pages written a commit", format_args!("{pages:.1}"));
    seconds.sort_by(f64::total_cmp);
    let at = |part: usize| seconds[seconds.len() * part / 100] * 1e3;
    figure("a commit", format_args!("median {:.3} ms, 99 % within {:.3} ms", at(50), at(99)));
    drop(db);
    report_scans(ground)
}

fn report_scans(ground: &Ground) -> Outcome<()> {
    for n in 0..BLOCKS.len() {
        let db = Database::open(ground.database())?;
        let (_, seconds) = timed(|| Ok(db.array::<f64, Ix1>(&name(n))?.view().sum()))?;
        figure("first scan", format_args!("{}: {:.1} ms", name(n), seconds * 1e3));
    }
    Ok(())
}

fn flushed(ground: &Ground) -> Outcome<()> {
    let commits = ground.pick(5_000, 500);
    let len = ground.pick(128 * MIB, 32 * MIB) / 8;
    let db = create(ground, len)?;
    let mut numbers = Rng::with_seed(37);
    let before = data_bytes(ground)?;
    for _ in 0..commits {
        let txn = db.begin()?;
        let mut array = txn.array::<f64, Ix1>(&name(2))?;
        let at = numbers.usize(..len);
        array.rows_mut(at..at + 1)?[0] += 1.0;
        array.flush()?;
        drop(array);
        txn.commit()?;
    }
    against("file after against before", data_bytes(ground)? as f64 / before as f64, " ×", 1.5, false);
    Ok(())
}
