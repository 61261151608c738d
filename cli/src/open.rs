//! Databases and arrays are opened, and what is not found comes with what is near.

use std::path::Path;

use bigarray::{AnyArray, Database, OpenOptions, Snapshot};

use crate::address::{Address, Pick, Slice};
use crate::failure::{Failure, Result};

/// What is held of an array in memory of its own, unless the environment says more: a command streams.
const BUDGET: usize = 64 << 20;

/// A database that is there, to read.
///
/// # Errors
/// If it is not there, or cannot be opened.
pub(crate) fn to_read(database: &str) -> Result<Database> {
    open(database, options().read_only(true).create(false))
}

/// A database that is there, to change.
///
/// # Errors
/// As [`to_read`].
pub(crate) fn to_change(database: &str) -> Result<Database> {
    open(database, options().create(false))
}

/// A database to change, which is created if there is none.
///
/// # Errors
/// As [`to_read`].
pub(crate) fn or_create(database: &str) -> Result<Database> {
    open(database, options())
}

fn options() -> OpenOptions {
    let options = Database::options();
    if std::env::var_os("BIGARRAY_MEMORY_BUDGET").is_some() { options } else { options.memory_budget(BUDGET) }
}

fn open(database: &str, options: OpenOptions) -> Result<Database> {
    if database.contains("://") {
        return open_url(database, options);
    }
    options.open(Path::new(database)).map_err(|error| {
        if error.is_not_found() {
            Failure::new(format!("{database}: there is no such database{}", near_paths(database)))
        } else {
            error.into()
        }
    })
}

#[cfg(feature = "icechunk")]
fn open_url(url: &str, options: OpenOptions) -> Result<Database> {
    Ok(options.open_url(url)?)
}

#[cfg(not(feature = "icechunk"))]
fn open_url(url: &str, _: OpenOptions) -> Result<Database> {
    let help =
        "this bigarray was built without object storage; install it by cargo install --path cli --features icechunk";
    Err(Failure::new(format!("{url}: {help}")))
}

/// The array of `address`, in the newest state.
///
/// # Errors
/// If it is not there, with the names that are near; or cannot be opened.
pub(crate) fn array(address: &Address) -> Result<AnyArray> {
    array_of(&to_read(&address.database)?.snapshot()?, address)
}

/// The array of `address`, in a state of its database.
///
/// # Errors
/// As [`array`].
pub(crate) fn array_of(snapshot: &Snapshot, address: &Address) -> Result<AnyArray> {
    snapshot
        .any_array(&address.name)
        .map_err(|error| not_found(error, &address.name, || Ok(names(snapshot)?)).at(&address.database))
}

/// The names of all arrays.
///
/// # Errors
/// Whatever storage reports.
pub(crate) fn names(snapshot: &Snapshot) -> bigarray::Result<Vec<String>> {
    Ok(snapshot.arrays()?.into_iter().map(|info| info.name).collect())
}

/// The error of an array `name`, with near names where there is no such array.
pub(crate) fn not_found(error: bigarray::Error, name: &str, names: impl FnOnce() -> Result<Vec<String>>) -> Failure {
    if !error.is_not_found() {
        return error.into();
    }
    let names = match names() {
        Ok(names) => names,
        Err(failure) => return failure,
    };
    let help = match near(name, names.iter().map(String::as_str)) {
        near if !near.is_empty() => format!("did you mean {}?", near.join(" or ")),
        _ if names.is_empty() => "the database has no arrays".to_owned(),
        _ => "bigarray ls lists what there is".to_owned(),
    };
    Failure::new(format!("there is no array {name:?}; {help}"))
}

/// The indices of each axis that `slice` picks; without one, all.
///
/// # Errors
/// What is out of range.
pub(crate) fn picks(slice: Option<&Slice>, shape: &[usize]) -> Result<Vec<Pick>> {
    match slice {
        None => Ok(shape.iter().map(|len| Pick::whole(*len)).collect()),
        Some(slice) => slice.picks(shape).map_err(Failure::new),
    }
}

/// Up to three of `names` that `name` may be meant for, the nearest first.
fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let lower = name.to_lowercase();
    // One slip in three letters.
    let slips = (lower.chars().count() / 3).max(1);
    let mut all: Vec<_> = names
        .map(|known| (strsim::damerau_levenshtein(&lower, &known.to_lowercase()), known))
        // A name of which only a part was given is near, too.
        .filter(|(distance, known)| *distance <= slips || (lower.len() > 2 && known.to_lowercase().contains(&lower)))
        .collect();
    all.sort();
    all.into_iter().take(3).map(|(_, known)| known).collect()
}

/// Directories beside `path` whose names are near.
fn near_paths(path: &str) -> String {
    let path = Path::new(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return String::new() };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(10_000);
    let names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let near = near(name, names.iter().map(String::as_str));
    let near: Vec<String> = near.iter().map(|name| path.with_file_name(name).display().to_string()).collect();
    if near.is_empty() {
        "; bigarray create or import makes one".to_owned()
    } else {
        format!("; did you mean {}?", near.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let names = ["sst", "sea_surface", "wind", "SST_anomaly"];
        assert_eq!(near("sts", names.into_iter()), ["sst"]);
        assert_eq!(near("surface", names.into_iter()), ["sea_surface"]);
        assert_eq!(near("Sst", names.into_iter())[0], "sst");
        assert!(near("zzz", names.into_iter()).is_empty());
    }
}
