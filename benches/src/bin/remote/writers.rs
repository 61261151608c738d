//! Writers that share nothing but the server, each with blocks of its own.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::{Rounds, alone};
use bigarray_benches::row::{Bound, Row, Unit};

use crate::ground::{Ground, MIB, Place};

/// Writers at a time.
const WRITERS: usize = 4;

/// Numbers of a block, and of a chunk, which is the least that is stored.
const BLOCK_LEN: usize = (64 << 10) / 8;
const CHUNK_LEN: usize = MIB / 8;

/// Four of them, against one.
pub(crate) fn of_their_own_blocks(ground: &Ground) -> Outcome<Vec<Row>> {
    let options = ArrayOptions::new().block_size(BLOCK_LEN * 8);
    let place = ground.place()?;
    place.open()?.transact(|txn| txn.create_with::<f64, _>("a", WRITERS * CHUNK_LEN, &options).map(drop))?;
    let lasting = Duration::from_millis(ground.pick(4000, 1000) as u64);
    let totals = RefCell::new(Totals::default());
    let of = |writers: usize| -> Outcome<f64> {
        let begin = Instant::now();
        let done = at_once(&place, writers, lasting)?;
        let seconds = begin.elapsed().as_secs_f64();
        let commits = totals.borrow_mut().add(&done);
        Ok(seconds / commits as f64)
    };
    let rounds = Rounds::run(ground.rounds(), || of(WRITERS), || of(1))?;
    let totals = totals.into_inner();
    let lost = totals.lost(&place)?;
    if lost > 0 {
        return Err(format!("{lost} commits are lost, or there twice").into());
    }
    Ok(vec![
        rounds.speed("4 writers of blocks of their own, commits a second", "1 writer", 0.8),
        alone("the same: the slowest commit against the mean", Unit::Ratio, Bound::Most(4.0), totals.slowest),
        alone("the same: closures run again", Unit::Commits, Bound::Most(0.0), [(totals.runs - totals.commits) as f64]),
    ])
}

/// What one writer did.
struct Done {
    writer: usize,
    /// Seconds of each commit.
    seconds: Vec<f64>,
    /// Closures that were run.
    runs: usize,
}

/// What all did in all rounds.
#[derive(Default)]
struct Totals {
    commits: usize,
    runs: usize,
    of_writer: [usize; WRITERS],
    /// Of each round of several writers.
    slowest: Vec<f64>,
}

impl Totals {
    /// The number of commits that `done` are.
    fn add(&mut self, done: &[Done]) -> usize {
        let all: Vec<f64> = done.iter().flat_map(|done| done.seconds.iter().copied()).collect();
        if done.len() > 1 {
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            self.slowest.push(all.iter().copied().fold(0.0, f64::max) / mean);
        }
        for done in done {
            self.of_writer[done.writer] += done.seconds.len();
            self.runs += done.runs;
        }
        self.commits += all.len();
        all.len()
    }

    /// How many commits are not there that were made, or are there twice.
    fn lost(&self, place: &Place) -> Outcome<usize> {
        let db = place.open()?;
        let array = db.array::<f64, Ix1>("a")?;
        let view = array.view();
        let stored: f64 = (0..WRITERS).map(|writer| view[writer * CHUNK_LEN]).sum();
        // Beside them those that made the repository and the array.
        let in_log = db.log(self.commits + 10)?.len() - 2;
        Ok(self.commits.abs_diff(in_log).max(self.commits.abs_diff(stored as usize)))
    }
}

fn at_once(place: &Place, writers: usize, lasting: Duration) -> Outcome<Vec<Done>> {
    let databases = (0..writers).map(|_| place.open()).collect::<Outcome<Vec<_>>>()?;
    let end = Instant::now() + lasting;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..).zip(&databases).map(|(writer, db)| scope.spawn(move || until(db, writer, end))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a writer panicked")?).collect()
    })
}

/// Adds 1 to all of a block, until it is time to end.
fn until(db: &Database, writer: usize, end: Instant) -> Outcome<Done> {
    let mut done = Done { writer, seconds: Vec::new(), runs: 0 };
    while Instant::now() < end {
        let begin = Instant::now();
        db.transact(|txn| {
            done.runs += 1;
            let start = writer * CHUNK_LEN;
            txn.array::<f64, Ix1>("a")?.rows_mut(start..start + BLOCK_LEN)?.mapv_inplace(|x| x + 1.0);
            Ok(())
        })?;
        done.seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(done)
}
