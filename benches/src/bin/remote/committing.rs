//! What commits cost: of much, of one block, and of one block of a million.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::{Rounds, alone, timed};
use bigarray_benches::row::{Bound, Row, Unit};
use bytes::Bytes;
use fastrand::Rng;

use crate::ground::{AWAY, Ground, MIB, Place, number};
use crate::{plain, references};

/// Numbers of a default block.
const BLOCK_LEN: usize = 2 * MIB / 8;

/// A commit of much, and how often one of little waits for the server.
pub(crate) fn much_and_little(ground: &Ground) -> Outcome<Vec<Row>> {
    let mut rows = vec![much(ground)?];
    rows.extend(round_trips(ground)?);
    Ok(rows)
}

/// All of a new array.
fn much(ground: &Ground) -> Outcome<Row> {
    let len = ground.pick(128, 32) * MIB / 8;
    let place = ground.place()?;
    let db = place.open()?;
    let next = Cell::new(0);
    let ours = || -> Outcome<f64> {
        next.set(next.get() + 1);
        let txn = db.begin()?;
        let mut array = txn.create::<f64, _>(&format!("a{}", next.get()), len)?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = number(n));
        drop(array);
        let (committed, seconds) = timed(|| txn.commit());
        committed?;
        Ok(seconds)
    };
    ours()?;
    let numbers: Vec<f64> = (0..len).map(number).collect();
    let numbers = Bytes::copy_from_slice(bytemuck::cast_slice(&numbers));
    let size = place.chunks()?.iter().map(|object| object.size as usize).max().ok_or("a commit without chunks")?;
    let objects: Vec<_> =
        (0..numbers.len()).step_by(size).map(|at| numbers.slice(at..numbers.len().min(at + size))).collect();
    let other = ground.place()?;
    let theirs = || plain::put(ground, &other, &objects);
    Ok(Rounds::run(ground.rounds(), ours, theirs)?.speed("commit 128 MiB", "object_store: put as many objects", 0.85))
}

/// A commit of one block, 20 ms away.
fn round_trips(ground: &Ground) -> Outcome<Option<Row>> {
    let case = "commit one block, beyond its chunk";
    let Some(proxy) = ground.proxy(AWAY, case) else { return Ok(None) };
    let place = ground.filled(256 * BLOCK_LEN, &ArrayOptions::new())?;
    let db = place.open_through(&proxy)?;
    let mut figures = Vec::new();
    for n in 0..ground.pick(11, 5) {
        let (begin, _) = change(&db, n)?;
        figures.push(proxy.round_trips_since(begin) as f64 - 1.0);
    }
    Ok(Some(alone(case, Unit::RoundTrips, Bound::Most(9.0), figures.split_off(1))))
}

/// Changes all of one block, and commits. When the commit began, and the seconds that it took.
fn change(db: &Database, block: usize) -> Outcome<(Instant, f64)> {
    let txn = db.begin()?;
    let mut array = txn.array::<f64, Ix1>("a")?;
    let mut rows = array.rows_mut(block * BLOCK_LEN..(block + 1) * BLOCK_LEN)?;
    let next = rows[0] + 1.0;
    rows.fill(next);
    drop(array);
    let begin = Instant::now();
    let (committed, seconds) = timed(|| txn.commit());
    committed?;
    Ok((begin, seconds))
}

/// A commit of one block, where each of a million is stored.
pub(crate) fn many_blocks(ground: &Ground) -> Outcome<Vec<Row>> {
    let database = |blocks: usize| -> Outcome<_> {
        let place = ground.place()?;
        place.open()?.transact(|txn| {
            let mut array = txn.create::<f64, _>("a", blocks * BLOCK_LEN)?;
            array.rows_mut(..BLOCK_LEN)?.fill(1.0);
            Ok(())
        })?;
        references::repeat_the_first(ground, &place, blocks)?;
        Ok((place.open()?, place, blocks))
    };
    let many = database(ground.pick(1_000_000, 100_000))?;
    let few = database(256)?;
    let rng = RefCell::new(Rng::with_seed(7));
    let commit = |(db, _, blocks): &(Database, Place, usize)| Ok(change(db, rng.borrow_mut().usize(..*blocks))?.1);
    let rounds = Rounds::run(ground.pick(31, 11), || commit(&many), || commit(&few))?;
    Ok(vec![rounds.row("commit one block of 10⁶", "of 256", 1.5)])
}
