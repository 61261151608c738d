//! What a budget costs that all data fit into, against none.

use std::hint::black_box;

use bigarray::ndarray::Ix1;
use bigarray::{Database, Durability, Pager};

use crate::ground::{GIB, Ground, MIB, against, figure, speed, timed};
use crate::{Outcome, Part};

pub(crate) const PARTS: [Part; 1] = [Part { name: "a budget that fits, against none", cgroup: None, run }];

fn run(ground: &Ground) -> Outcome<()> {
    let bytes = ground.pick(GIB, 256 * MIB);
    let rounds = ground.pick(9, 5);
    for (name, pager) in [("mapped", Pager::Map), ("copied", Pager::Copy)] {
        let mut rounds_of = [const { Vec::new() }; 3];
        for round in 0..=rounds {
            let of = |budget| once(ground, pager, budget, bytes);
            // The first one has the colder caches, so they alternate.
            let (with, without) = match round % 2 {
                0 => (of(2 * bytes)?, of(usize::MAX)?),
                _ => {
                    let without = of(usize::MAX)?;
                    (of(2 * bytes)?, without)
                }
            };
            // The first round warms up.
            if round > 0 {
                (0..3).for_each(|n| rounds_of[n].push((with[n] / without[n], with[n])));
            }
        }
        for (what, rounds) in ["fill", "first scan", "change all"].iter().zip(&mut rounds_of) {
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (ratio, seconds) = rounds[rounds.len() / 2];
            let spread =
                format_args!("{:.2} to {:.2}, {}", rounds[0].0, rounds[rounds.len() - 1].0, speed(bytes, seconds));
            against(&format!("{what}, {name}: median of ratios"), ratio, " ×", 1.05, false);
            figure("    least and greatest ratio, the median's time", spread);
        }
    }
    Ok(())
}

/// Seconds to fill a new array, to scan it when it is stored, and to change each element, commits included.
fn once(ground: &Ground, pager: Pager, budget: usize, bytes: usize) -> Outcome<[f64; 3]> {
    let path = ground.database();
    let open = || -> Outcome<Database> {
        let options = Database::options().pager(pager).memory_budget(budget);
        Ok(options.durability(Durability::NoPowerLossSafety).open(&path)?)
    };
    let db = open()?;
    let ((), fill) = timed(|| {
        let txn = db.begin()?;
        let mut array = txn.create::<f64, _>("a", bytes / 8)?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = n as f64);
        drop(array);
        Ok(txn.commit()?)
    })?;
    drop(db);
    let db = open()?;
    let (sum, scan) = timed(|| Ok(db.array::<f64, Ix1>("a")?.view().sum()))?;
    black_box(sum);
    let ((), change) = timed(|| {
        let txn = db.begin()?;
        let mut array = txn.array::<f64, Ix1>("a")?;
        array.view_mut().mapv_inplace(|x| x + 1.0);
        drop(array);
        Ok(txn.commit()?)
    })?;
    drop(db);
    std::fs::remove_dir_all(&path)?;
    Ok([fill, scan, change])
}
