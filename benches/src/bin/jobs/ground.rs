//! What every part of a job starts from: a directory that goes when it is over, sizes, and how figures are printed.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bigarray::Database;
use tempfile::TempDir;

use crate::Outcome;

pub(crate) const MIB: usize = 1 << 20;
pub(crate) const GIB: usize = 1 << 30;

/// A directory to work in, and how much to do there.
pub(crate) struct Ground {
    dir: TempDir,
    pub(crate) quick: bool,
}

impl Ground {
    pub(crate) fn new(parent: &Path, quick: bool) -> Outcome<Ground> {
        Ok(Ground { dir: tempfile::Builder::new().prefix("jobs-").tempdir_in(parent)?, quick })
    }

    /// `full`, or `quick` where that was asked for.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the job's database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.path("job.bigarray")
    }

    /// Opens it with a budget.
    pub(crate) fn open(&self, budget_bytes: usize) -> Outcome<Database> {
        Ok(Database::options().memory_budget(budget_bytes).open(self.database())?)
    }
}

/// Prints a figure.
pub(crate) fn figure(name: &str, value: impl Display) {
    println!("    {name:<52} {value}");
}

/// Prints a figure that has a target, which nothing depends on.
pub(crate) fn against(name: &str, value: f64, unit: &str, target: f64, at_least: bool) {
    let met = if at_least { value >= target } else { value <= target };
    let sign = if at_least { '≥' } else { '≤' };
    figure(name, format_args!("{value:.2}{unit} (target {sign} {target}: {})", if met { "met" } else { "MISSED" }));
}

/// Fails the job unless it holds.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome<()> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}

/// What `f` gives, and the seconds it took.
pub(crate) fn timed<R>(f: impl FnOnce() -> Outcome<R>) -> Outcome<(R, f64)> {
    let start = Instant::now();
    let result = f()?;
    Ok((result, start.elapsed().as_secs_f64()))
}

/// Seconds, and how many bytes that is a second.
pub(crate) fn speed(bytes: usize, seconds: f64) -> String {
    format!("{seconds:.2} s, {:.2} GB/s", bytes as f64 / seconds / 1e9)
}
