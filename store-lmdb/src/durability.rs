//! Agreeing on what survives a power loss.
//!
//! While processes write without syncing, `meta` says so, together with the run of the kernel they write in. The record
//! goes when the last of them has synced and closes. A record of this run without a process means that one was killed:
//! the kernel still has all it wrote. A record of an earlier run means that what was written may be on disk in part, in
//! any order.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::EnvironmentFlags;

use crate::index::{Index, ReadTxn, WriteTxn, lmdb_error};
use crate::options::Durability;
use crate::record::Meta;

impl Durability {
    /// What LMDB is told.
    pub(crate) fn flags(self) -> EnvironmentFlags {
        match self {
            Durability::Full => EnvironmentFlags::empty(),
            Durability::LastCommitMayBeLost => EnvironmentFlags::NO_META_SYNC,
            Durability::NoPowerLossSafety => EnvironmentFlags::NO_SYNC,
        }
    }

    /// Whether a commit waits until its payload is on disk.
    pub(crate) fn syncs_data(self) -> bool {
        self != Durability::NoPowerLossSafety
    }
}

/// The run of the kernel, as a number.
fn boot_number() -> Result<u64> {
    #[cfg(feature = "crash-points")]
    if let Ok(id) = std::env::var("BIGARRAY_BOOT_ID") {
        return Ok(number_of(&id));
    }
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(number_of(&fs::read_to_string(path).map_err(|e| Error::io(format_args!("reading {path}"), e))?))
}

/// The first 64 bits of a UUID: they are random.
fn number_of(uuid: &str) -> u64 {
    uuid.chars().filter_map(|c| c.to_digit(16)).take(16).fold(0, |n, digit| n << 4 | u64::from(digit))
}

/// Whether somebody wrote without syncing when the system went down, so that all must be checked before use. `recorded`
/// is what `meta` has.
pub(crate) fn needs_check(recorded: Option<u64>) -> Result<bool> {
    recorded.map_or(Ok(false), |boot| Ok(boot != boot_number()?))
}

/// Agrees with whoever else writes, and records that this process writes without syncing, if so. Called with the
/// opening lock held, after a check if one was needed.
///
/// # Errors
/// [`ErrorKind::InUse`] if others write at another level.
pub(crate) fn agree(dir: &Path, index: &Arc<Index>, data: &File, level: Durability, others_write: bool) -> Result<()> {
    let recorded = unsynced_since(index)?;
    if others_write {
        let theirs = if recorded.is_some() { "without power-loss safety" } else { "with power-loss safety" };
        if recorded.is_some() == level.syncs_data() {
            let text = format!(
                "{} is written to by another process {theirs}: {level:?} cannot join it; close it there or open it alike",
                dir.display()
            );
            return Err(Error::new(ErrorKind::InUse, text));
        }
        return Ok(());
    }
    if level.syncs_data() {
        if recorded.is_some() {
            settle(dir, index, data)?;
        }
        return Ok(());
    }
    let boot = boot_number()?;
    if recorded != Some(boot) {
        // What an earlier run left was checked; from here on the record speaks of this one.
        record(dir, index, data, Some(boot))?;
    }
    Ok(())
}

/// Puts everything on disk, then takes the record away. Called with the opening lock held, when nobody else writes.
pub(crate) fn settle(dir: &Path, index: &Arc<Index>, data: &File) -> Result<()> {
    sync(dir, index, data)?;
    record(dir, index, data, None)
}

fn unsynced_since(index: &Arc<Index>) -> Result<Option<u64>> {
    ReadTxn::begin(index)?.tables().meta(Meta::UNSYNCED)
}

fn record(dir: &Path, index: &Arc<Index>, data: &File, boot: Option<u64>) -> Result<()> {
    let mut txn = WriteTxn::begin(index)?;
    match boot {
        Some(boot) => txn.put_meta(Meta::UNSYNCED, boot)?,
        None => {
            let meta = txn.dbs().meta;
            txn.delete(meta, Meta::UNSYNCED.as_bytes())?;
        }
    }
    txn.commit().map_err(|e| lmdb_error(dir, "recording the durability", e))?;
    sync(dir, index, data)
}

fn sync(dir: &Path, index: &Arc<Index>, data: &File) -> Result<()> {
    data.sync_data().map_err(|e| Error::io(format_args!("{}: syncing the data file", dir.display()), e))?;
    index.env().sync(true).map_err(|e| lmdb_error(dir, "syncing", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_becomes_a_number() {
        assert_eq!(number_of("0123abcd-89ef-4567-8000-000000000000\n"), 0x0123_abcd_89ef_4567);
        assert_ne!(boot_number().unwrap(), 0);
    }
}
