//! `watch`: rows of an array as they are committed.

use std::time::{Duration, Instant};

use bigarray::AnyArray;

use super::How;
use super::slice::print_rows;
use crate::address::Address;
use crate::args;
use crate::dtype::Dtype;
use crate::failure::{Failure, Result};
use crate::output::print;
use crate::select::Selection;
use crate::{open, units};

/// How long one wait for a commit is, at most.
const WAIT: Duration = Duration::from_secs(60);

pub(crate) fn run(args: &args::Watch, how: How) -> Result<()> {
    let address = Address::of_whole_array(&args.address)?;
    let limit = match args.seconds.map(Duration::try_from_secs_f64) {
        None => None,
        Some(Ok(limit)) => Some(Instant::now() + limit),
        Some(Err(_)) => return Err(Failure::usage("--for takes a number of seconds, as 2.5")),
    };
    let db = open::to_read(&address.database)?;
    let mut snapshot = db.snapshot()?;
    let mut seen = rows(&open::array_of(&snapshot, &address)?, &address)?;
    loop {
        let left = limit.map_or(WAIT, |limit| limit.saturating_duration_since(Instant::now()).min(WAIT));
        match db.wait_for_commit(snapshot.version(), left)? {
            Some(newer) => snapshot = newer,
            None if limit.is_some_and(|limit| Instant::now() >= limit) => return Ok(()),
            None => continue,
        }
        let array = open::array_of(&snapshot, &address)?;
        let now = rows(&array, &address)?;
        if now < seen && !how.quiet {
            print(&format!("… it has {now} rows now: {}\n", units::shape(array.shape())))?;
        } else if now > seen {
            let mut picks = open::picks(None, array.shape())?;
            (picks[0].start, picks[0].len) = (seen, now - seen);
            print_rows(&Selection::new(&array, picks), &Dtype::parse(array.dtype())?)?;
        }
        seen = now;
    }
}

/// How many rows an array has, which grows by rows.
fn rows(array: &AnyArray, address: &Address) -> Result<usize> {
    if array.order().is_column_major() && array.ndim() > 1 {
        return Err(Failure::new(format!("{address} grows by columns, and watch prints rows")));
    }
    let rows = array.shape().first().copied();
    rows.ok_or_else(|| Failure::new(format!("{address} is a single number, which does not grow")))
}
