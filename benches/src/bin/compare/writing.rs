//! Changing memory, before anything is committed.

use std::hint::black_box;

use bigarray::Database;
use bigarray::ndarray::{ArrayViewMut1, Ix1};

use crate::Outcome;
use crate::baseline::{map_copy, numbers_mut};
use crate::rounds::{Rounds, timed};
use crate::row::Row;
use crate::stored::Place;

/// Filling what is new, rewriting what is old.
pub(crate) fn before_commit(place: &Place) -> Outcome<Vec<Row>> {
    let len = place.len();
    let n = place.rounds();
    let (stored, file) = (place.database(len)?, place.file(len)?);

    let db = Database::open(place.path("new.bigarray"))?;
    let fill_ours = || {
        let txn = db.begin()?;
        let mut array = txn.create::<f64, _>("new", len)?;
        Ok(timed(|| array.view_mut().fill(1.5)).1)
    };
    let fill_theirs = || {
        let (vec, seconds) = timed(|| {
            let mut vec = Vec::with_capacity(len);
            vec.resize(len, black_box(1.5f64));
            vec
        });
        black_box(vec);
        Ok(seconds)
    };

    let rewrite_ours = || {
        // A database of its own each time: no page is there yet.
        let txn = Database::open(stored.path())?.begin()?;
        let mut array = txn.array::<f64, Ix1>("a")?;
        Ok(timed(|| rewrite(array.view_mut())).1)
    };
    let rewrite_theirs = || {
        let mut mapped = map_copy(&file)?;
        Ok(timed(|| rewrite(numbers_mut(&mut mapped).into())).1)
    };
    Ok(vec![
        Rounds::run(n, fill_ours, fill_theirs)?.row("fill a new array", "a new Vec", 1.1),
        Rounds::run(n, rewrite_ours, rewrite_theirs)?.row(
            "rewrite every element, before the commit",
            "memmap2, private (map_copy)",
            1.3,
        ),
    ])
}

fn rewrite(mut view: ArrayViewMut1<'_, f64>) {
    view.mapv_inplace(|x| x * 2.0 + 1.0);
}
