//! From a URL to the first element.

use std::time::Instant;

use bigarray::ndarray::Ix1;
use bigarray::{ArrayOptions, Database};
use bigarray_benches::Outcome;
use bigarray_benches::rounds::{Rounds, alone, timed};
use bigarray_benches::row::{Bound, Row, Unit};

use crate::ground::{AWAY, Ground, MIB, number};
use crate::plain;

/// How often a new process waits for the server until it has an element, and how long that takes.
pub(crate) fn to_the_first_element(ground: &Ground) -> Outcome<Vec<Row>> {
    let place = ground.filled(64 * MIB / 8, &ArrayOptions::new())?;
    let paths: Vec<_> = place.chunks()?.into_iter().map(|object| object.location).take(1).collect();
    let ours = || {
        let (read, seconds) = timed(|| first(|| place.open()));
        read?;
        Ok(seconds)
    };
    let theirs = || plain::scan(ground, &place, &paths);
    let times = Rounds::run(ground.pick(21, 7), ours, theirs)?;
    let mut rows = vec![Row {
        target: Bound::Any,
        ..times.row("from a URL to the first element", "object_store: get the object of it", f64::MAX)
    }];
    let case = "the same, in round trips";
    if let Some(proxy) = ground.proxy(AWAY, case) {
        let (mut trips, mut requests) = (Vec::new(), Vec::new());
        for _ in 0..ground.pick(11, 5) {
            let (begin, before) = (Instant::now(), proxy.requests());
            first(|| place.open_through(&proxy))?;
            trips.push(proxy.round_trips_since(begin) as f64);
            requests.push((proxy.requests() - before) as f64);
        }
        rows.push(alone(case, Unit::RoundTrips, Bound::Most(5.0), trips));
        rows.push(alone("the same, in requests", Unit::Requests, Bound::Any, requests));
    }
    Ok(rows)
}

fn first(open: impl FnOnce() -> Outcome<Database>) -> Outcome<()> {
    let array = open()?.array::<f64, Ix1>("a")?;
    let read = array.view()[7];
    if read == number(7) { Ok(()) } else { Err(format!("element 7 is {read}").into()) }
}
