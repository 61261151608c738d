//! What a first scan costs, near and far.

use std::time::Duration;

use bigarray::{ArrayOptions, Database};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::Rounds;
use bigarray_benches::row::Row;

use crate::ground::{AWAY, Ground, MIB, Place, fill, scan};
use crate::plain;

/// Of a database that nothing is in memory of.
pub(crate) fn cold(ground: &Ground) -> Outcome<Vec<Row>> {
    let len = ground.pick(512, 64) * MIB / 8;
    let place = ground.filled(len, &ArrayOptions::new())?;
    let paths: Vec<_> = place.chunks()?.into_iter().map(|object| object.location).collect();
    let ours = || scan(&place.open()?);
    let theirs = || plain::scan(ground, &place, &paths);
    let scans = Rounds::run(ground.rounds(), ours, theirs)?;
    let mut rows = vec![scans.speed("first scan of 512 MiB", "object_store: get the same objects, sum", 0.95)];
    let case = "the same, 20 ms away";
    if let (Some(far), Some(near)) = (ground.proxy(AWAY, case), ground.proxy(Duration::ZERO, case)) {
        let ours = || scan(&place.open_through(&far)?);
        let theirs = || scan(&place.open_through(&near)?);
        rows.push(Rounds::run(ground.rounds(), ours, theirs)?.speed(case, "0 ms away", 0.9));
    }
    rows.push(on_disk(ground, &place, len)?);
    Ok(rows)
}

/// By a new process, where the disk cache has all of it.
fn on_disk(ground: &Ground, place: &Place, len: usize) -> Outcome<Row> {
    let (cache, local) = (ground.path("cache"), ground.path("local.bigarray"));
    fill(&Database::open(&local)?, len, &ArrayOptions::new())?;
    scan(&place.open_cached(&cache)?)?;
    let ours = || scan(&place.open_cached(&cache)?);
    let theirs = || scan(&Database::open(&local)?);
    Ok(Rounds::run(ground.rounds(), ours, theirs)?.row("first scan from a disk cache", "a directory, mapped", 1.3))
}
