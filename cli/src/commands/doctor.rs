//! `doctor`: what this machine allows, what falls back and why, which limits are near, and what a commit costs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bigarray::ndarray::Ix1;
use bigarray::serde_json::json;
use bigarray::{Database, Description};

use super::How;
use crate::args;
use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::open;
use crate::output::print;

/// Commits that are measured.
const COMMITS: usize = 21;

pub(crate) fn run(args: &args::Doctor, how: How) -> Result<()> {
    let place = Path::new(&args.place);
    let is_database = place.join("data").is_file()
        || args.place.contains("://")
        || place.extension().is_some_and(|e| e == "bigarray");
    let folder: PathBuf =
        if is_database { place.parent().unwrap_or(Path::new(".")).to_owned() } else { place.to_owned() };
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    let description = is_database.then(|| Ok::<_, Failure>(open::to_read(&args.place)?.describe()?)).transpose()?;
    // Beside the database, on its disk, and gone afterwards.
    let make = || tempfile::Builder::new().prefix(".bigarray-doctor-").tempdir_in(&folder);
    let trial = match interrupt::make_part(make, |trial| trial.path()) {
        Ok(trial) => Some(trial),
        Err(_) if description.is_some() => None,
        Err(e) => return Err(Failure::io(folder.display(), &e)),
    };
    let measured = trial.as_ref().map(|trial| measure(&trial.path().join("trial.bigarray"))).transpose()?;
    let (trial_description, commit) = measured.unzip();
    let Some(description) = description.or(trial_description) else { return Ok(()) };
    let near = near_limits(&description);
    if how.json {
        return how.json(&json!({
            "storage": description.storage, "faults": description.faults.to_string(), "memory": description.memory,
            "pagemap_scan": description.pagemap_scan, "mappings": description.mappings, "max_map_count": description.max_map_count,
            "descriptors": description.descriptors, "max_descriptors": description.max_descriptors,
            "budget_bytes": description.budget_bytes, "commit_seconds": commit.map(|time| time.as_secs_f64()), "near_limits": near,
        }));
    }
    let mut text = format!("{description}\n");
    match commit {
        Some(time) => text.push_str(&format!("commit       {time:.1?} for one page, the median of {COMMITS}\n")),
        None => text.push_str("commit       not measured: nothing can be written beside the database\n"),
    }
    near.iter().for_each(|limit| text.push_str(&format!("near         {limit}\n")));
    print(&text)
}

/// The description of a new database, and how long a commit of one page takes.
fn measure(path: &Path) -> Result<(Description, Duration)> {
    let db = Database::open(path)?;
    db.transact(|txn| txn.create::<u64, _>("trial", 1 << 16).map(drop))?;
    let mut times = Vec::new();
    for n in 0..COMMITS {
        let begun = Instant::now();
        db.transact(|txn| {
            txn.array::<u64, Ix1>("trial")?.rows_mut(n * 1024..n * 1024 + 1)?.fill(1);
            Ok(())
        })?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok((db.describe()?, times[COMMITS / 2]))
}

/// Limits of which less than a fifth is left.
fn near_limits(description: &Description) -> Vec<String> {
    let is_near = |used: u64, most: u64| used > most / 5 * 4;
    let mut near = Vec::new();
    if is_near(description.mappings as u64, description.most_mappings as u64) {
        near.push(format!(
            "{} of {} mappings are used; raise vm.max_map_count",
            description.mappings, description.most_mappings
        ));
    }
    if let (Some(used), Some(most)) = (description.descriptors, description.max_descriptors)
        && is_near(used as u64, most)
    {
        near.push(format!("{used} of {most} descriptors are used; raise ulimit -n"));
    }
    near
}
