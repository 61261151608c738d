//! What a first scan costs, near and far.

use std::time::Duration;

use bigarray::ArrayOptions;
use bigarray_benches::Outcome;
use bigarray_benches::rounds::Rounds;
use bigarray_benches::row::Row;

use crate::ground::{AWAY, Ground, MIB};
use crate::plain;

/// Of a database that nothing is in memory of. One on a local disk cache is to be measured here, too, once there is one.
pub(crate) fn cold(ground: &Ground) -> Outcome<Vec<Row>> {
    let place = ground.filled(ground.pick(512, 64) * MIB / 8, &ArrayOptions::new())?;
    let paths: Vec<_> = place.chunks()?.into_iter().map(|object| object.location).collect();
    let ours = || place.scan(&place.open()?);
    let theirs = || plain::scan(ground, &place, &paths);
    let scans = Rounds::run(ground.rounds(), ours, theirs)?;
    let mut rows = vec![scans.speed("first scan of 512 MiB", "object_store: get the same objects, sum", 0.95)];
    let case = "the same, 20 ms away";
    if let (Some(far), Some(near)) = (ground.proxy(AWAY, case), ground.proxy(Duration::ZERO, case)) {
        let ours = || place.scan(&place.open_through(&far)?);
        let theirs = || place.scan(&place.open_through(&near)?);
        rows.push(Rounds::run(ground.rounds(), ours, theirs)?.speed(case, "0 ms away", 0.9));
    }
    Ok(rows)
}
