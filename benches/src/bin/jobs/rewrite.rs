//! Every element of stored and of new arrays changed through one view, far beyond the budget.

use bigarray::ndarray::Ix1;
use bigarray::{Database, Pager};

use crate::ground::{GIB, Ground, MIB, figure, speed, timed};
use crate::memory::Watch;
use crate::numbers::{BLOCK_LEN, piece, verify, verify_mut};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 2] = [
    Part { name: "every element of 2 GiB, Pager::Copy, budget 128 MiB", cgroup: None, run: stored },
    Part { name: "a new array of 1 GiB filled, then changed twice, budget 128 MiB", cgroup: None, run: new },
];

fn budget(ground: &Ground) -> usize {
    ground.pick(128 * MIB, 32 * MIB)
}

fn stored(ground: &Ground) -> Outcome<()> {
    let bytes = ground.pick(2 * GIB, 256 * MIB);
    let watch = Watch::begin();
    let open = || -> Outcome<Database> {
        let options = Database::options().pager(Pager::Copy).memory_budget(budget(ground));
        Ok(options.open(ground.database())?)
    };
    let db = open()?;
    let txn = db.begin()?;
    let mut array = txn.create::<u64, _>("a", bytes / 8)?;
    for first in (0..bytes / 8).step_by(BLOCK_LEN) {
        array.rows_mut(first..first + BLOCK_LEN)?.assign(&piece(first, BLOCK_LEN));
    }
    drop(array);
    txn.commit()?;
    drop(db);

    for commits in [false, true] {
        let db = open()?;
        let ((), seconds) = timed(|| {
            let txn = db.begin()?;
            let mut array = txn.array::<u64, Ix1>("a")?;
            array.view_mut().mapv_inplace(|x| x.wrapping_add(1));
            drop(array);
            if commits {
                txn.commit()?
            } else {
                txn.abort()
            }
            Ok(())
        })?;
        figure(if commits { "changed, committed" } else { "changed, aborted" }, speed(bytes, seconds));
        // What this process sees, and what another would.
        verify(&db.array::<u64, Ix1>("a")?, |_| u64::from(commits))?;
        drop(db);
        verify(&open()?.array::<u64, Ix1>("a")?, |_| u64::from(commits))?;
    }
    watch.end_within(budget(ground))
}

fn new(ground: &Ground) -> Outcome<()> {
    let bytes = ground.pick(GIB, 192 * MIB);
    let watch = Watch::begin();
    let db = ground.open(budget(ground))?;
    let txn = db.begin()?;
    let mut array = txn.create::<u64, _>("a", bytes / 8)?;
    let ((), seconds) = timed(|| {
        let mut view = array.view_mut();
        crate::numbers::fill(&mut view, 0);
        view.mapv_inplace(|x| x.wrapping_add(1));
        view.mapv_inplace(|x| x.wrapping_mul(3));
        Ok(())
    })?;
    figure("filled and changed twice", speed(3 * bytes, seconds));
    let change = |n: usize| crate::numbers::number(n).wrapping_mul(2).wrapping_add(3);
    verify_mut(&array, change)?;
    drop(array);
    txn.commit()?;
    drop(db);
    verify(&ground.open(budget(ground))?.array::<u64, Ix1>("a")?, change)?;
    watch.end_within(budget(ground))
}
