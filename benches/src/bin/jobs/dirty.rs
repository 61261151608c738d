//! A transaction that writes many times the memory there is, and one that is killed half way.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use bigarray::Database;
use bigarray::ndarray::Ix1;

use crate::ground::{GIB, Ground, MIB, ensure, figure, speed, timed};
use crate::memory::Watch;
use crate::numbers::{BLOCK_LEN, fill, verify};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 3] = [
    Part { name: "2 GiB of 4 GiB, never flushed, in a cgroup of 256 MiB", cgroup: CGROUP, run: |g| run(g, None) },
    Part { name: "the same, flushed now and then", cgroup: CGROUP, run: |g| run(g, Some(32)) },
    Part { name: "killed half way, in a cgroup of 256 MiB", cgroup: CGROUP, run: killed },
];

const CGROUP: Option<(usize, usize)> = Some((256 * MIB, 128 * MIB));

fn bytes(quick: bool) -> usize {
    if quick { 512 * MIB } else { 4 * GIB }
}

fn budget(quick: bool) -> usize {
    if quick { 32 * MIB } else { 64 * MIB }
}

/// Every other block is written to.
fn is_written(n: usize) -> bool {
    n / BLOCK_LEN % 2 == 1
}

/// An array of numbers, half of which are then changed by 1, by windows; flushed after a number of blocks, if ever.
fn run(ground: &Ground, flush_each: Option<usize>) -> Outcome<()> {
    let bytes = bytes(ground.quick);
    let watch = Watch::begin();
    let db = ground.open(budget(ground.quick))?;
    create(&db, bytes)?;
    drop(db);

    let db = ground.open(budget(ground.quick))?;
    let ((), seconds) = timed(|| {
        let txn = db.begin()?;
        let mut array = txn.array::<u64, Ix1>("a")?;
        for (n, range) in array.blocks().filter(|range| is_written(range.start)).enumerate() {
            array.rows_mut(range)?.mapv_inplace(|x| x.wrapping_add(1));
            if flush_each.is_some_and(|each| n % each == each - 1) {
                array.flush()?;
            }
        }
        drop(array);
        Ok(txn.commit()?)
    })?;
    figure("changed, committed", speed(bytes / 2, seconds));
    drop(db);
    let db = ground.open(budget(ground.quick))?;
    verify(&db.array::<u64, Ix1>("a")?, |n| u64::from(is_written(n)))?;
    watch.end_within(budget(ground.quick))
}

fn create(db: &Database, bytes: usize) -> Outcome<()> {
    let txn = db.begin()?;
    let mut array = txn.create::<u64, _>("a", bytes / 8)?;
    fill(&mut array.view_mut(), 0);
    drop(array);
    Ok(txn.commit()?)
}

fn killed(ground: &Ground) -> Outcome<()> {
    let bytes = bytes(ground.quick);
    let path = ground.database();
    let watch = Watch::begin();
    create(&ground.open(budget(ground.quick))?, bytes)?;
    let before = std::fs::metadata(path.join("data"))?.len();

    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--victim").arg(&path).args(ground.quick.then_some("--quick")).stdout(Stdio::piped());
    let mut victim = command.spawn()?;
    let mut said = String::new();
    BufReader::new(victim.stdout.take().ok_or("no pipe")?).read_line(&mut said)?;
    victim.kill()?; // by SIGKILL
    victim.wait()?;
    ensure(said.trim() == "half way", || format!("the process to be killed ended by itself: {said}"))?;
    let after = std::fs::metadata(path.join("data"))?.len();
    ensure(after > before, || "nothing had been spilled".to_owned())?;
    let mib = |bytes: u64| bytes / MIB as u64;
    figure("data file before, when killed", format_args!("{} MiB, {} MiB", mib(before), mib(after)));

    let db = ground.open(budget(ground.quick))?;
    verify(&db.array::<u64, Ix1>("a")?, |_| 0)?;
    // The same again: it needs no more room than the one that was killed would have, which wrote a quarter of all.
    let txn = db.begin()?;
    let mut array = txn.create::<u64, _>("b", bytes / 8 / 4)?;
    fill(&mut array.view_mut(), 0);
    drop(array);
    txn.commit()?;
    verify(&db.array::<u64, Ix1>("b")?, |_| 0)?;
    let again = std::fs::metadata(path.join("data"))?.len();
    figure("data file after as much was written once more", format_args!("{} MiB", mib(again)));
    ensure(again <= after + 64 * MIB as u64, || "what it had spilled is not used again".to_owned())?;
    watch.end_within(budget(ground.quick))
}

/// Changes half of what [`run`] does, says so, and goes on until it is killed; never commits.
pub(crate) fn until_killed(path: &Path, quick: bool) -> Outcome<()> {
    let db = Database::options().memory_budget(budget(quick)).open(path)?;
    let txn = db.begin()?;
    let mut array = txn.array::<u64, Ix1>("a")?;
    let half = array.len() / 2;
    for range in array.blocks().filter(|range| is_written(range.start)) {
        if range.start > half {
            break;
        }
        array.rows_mut(range)?.mapv_inplace(|x| x.wrapping_add(1));
    }
    array.flush()?;
    println!("half way");
    loop {
        array.rows_mut(..)?.mapv_inplace(|x| x.wrapping_add(1));
    }
}
