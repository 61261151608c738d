//! Agreeing on what survives a power loss.
//!
//! While processes write without syncing, a file of its own says so, the mark: it holds the run of the kernel that they
//! write in. It is on disk before the first commit that is not, and goes when the last of them has synced and closes. So
//! it does not lie in the index, which may be on disk in part. A mark of this run without a process means that one was
//! killed: the kernel still has all it wrote. Any other mark means that what was written may be on disk in part, in any
//! order: one of another run, of several, or one that was cut short.
//!
//! Containers may be told runs of their own by one kernel, so a mark of another run says nothing while a process writes,
//! which is asked first. When none does, to check everything is right whatever the reason for that mark.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

use crate::index::{Index, lmdb_error};
use crate::opening::Directory;
use crate::options::Durability;

/// The file's name.
pub(crate) const MARK: &str = "unsynced";

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

/// A line that tells this run of the kernel from others: its boot id.
fn this_run() -> Result<Vec<u8>> {
    #[cfg(feature = "crash-points")]
    if let Ok(id) = std::env::var("BIGARRAY_BOOT_ID") {
        return Ok(format!("{id}\n").into_bytes());
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let id = fs::read(path).map_err(|e| Error::io(format_args!("reading {path}"), e))?;
    if id.trim_ascii().is_empty() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{path} is empty: it should tell the system's boot id"),
        ));
    }
    Ok(id)
}

/// Whether the system may have gone down while a process wrote without syncing, so that all must be checked before use.
/// Asked when no process writes.
pub(crate) fn needs_check(dir: &Directory) -> Result<bool> {
    mark(dir)?.map_or(Ok(false), |mark| Ok(mark != this_run()?))
}

/// Agrees with the other writing processes, and marks that this one writes without syncing, if so. Called with the opening
/// lock held, after a check if one was needed.
///
/// # Errors
/// [`ErrorKind::InUse`] if others write at another level.
pub(crate) fn agree(
    dir: &Directory,
    index: &Arc<Index>,
    data: &File,
    level: Durability,
    others_write: bool,
) -> Result<()> {
    let found = mark(dir)?;
    if others_write {
        if found.is_some() == level.syncs_data() {
            let theirs = if found.is_some() { "without power-loss safety" } else { "with power-loss safety" };
            let text = format!(
                "{} is written to by another process {theirs}: {level:?} cannot join it; close it there or open it alike",
                dir.path.display()
            );
            return Err(Error::new(ErrorKind::InUse, text));
        }
        return match found {
            // From here on the mark is of both runs: if either goes down, all is checked.
            Some(found) => add_to_mark(dir, &found),
            None => Ok(()),
        };
    }
    if level.syncs_data() {
        return if found.is_some() { settle(dir, index, data) } else { Ok(()) };
    }
    match found {
        Some(found) if found == this_run()? => return Ok(()),
        // What an earlier run left was checked.
        Some(_) => settle(dir, index, data)?,
        None => {}
    }
    add_to_mark(dir, &[])
}

/// Puts everything on disk, then takes the mark away. Called with the opening lock held, when no
/// other process writes.
pub(crate) fn settle(dir: &Directory, index: &Arc<Index>, data: &File) -> Result<()> {
    data.sync_data().map_err(|e| Error::io(format_args!("{}: syncing the data file", dir.path.display()), e))?;
    index.env().lmdb().sync(true).map_err(|e| lmdb_error(&dir.path, "syncing", e))?;
    let removed = dir.remove(MARK).and_then(|()| dir.file.sync_all());
    removed.map_err(|e| failed(&dir.path, "removing", e))
}

/// What the mark holds; `None` if there is none.
fn mark(dir: &Directory) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match dir.open(MARK, OFlag::O_RDONLY).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(&dir.path, "reading", e)),
    }
}

/// Adds this run to the mark, which holds `found`, unless it is there. On disk when it returns.
fn add_to_mark(dir: &Directory, found: &[u8]) -> Result<()> {
    let run = this_run()?;
    if found.split_inclusive(|byte| *byte == b'\n').any(|line| line == run) {
        return Ok(());
    }
    dir.open(MARK, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)
        .and_then(|mut file| {
            file.write_all(&run)?;
            file.sync_all()
        })
        .and_then(|()| dir.file.sync_all())
        .map_err(|e| failed(&dir.path, "writing", e))
}

fn failed(dir: &Path, what: &str, e: io::Error) -> Error {
    let text = "which says that the database is written to without power-loss safety";
    Error::io(format_args!("{what} {}, {text}", dir.join(MARK).display()), e)
}
