//! Negotiating the level of durability with the other writers: which commits survive a power loss.
//!
//! While processes write without syncing, the file `unsynced` says so: it holds the boot ids under which they write. It is
//! on disk before the first commit that is not, and is removed when the last of them has synced and closes. It is a file
//! of its own because the index may be on disk in part. With no writer, a file that holds this boot alone means that a
//! process was killed: the kernel still has all that it wrote. Any other content (another boot, several, a line that was
//! cut short) means that writes may be on disk in part, in any order.
//!
//! One kernel may give containers different boot ids. So the file alone decides nothing while another process writes, which
//! its lock shows. With no writer, checking everything is right for any reason that the file may be there.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

use crate::index::{Index, lmdb_error};
use crate::locks::OpenLocks;
use crate::locks::files::{Directory, INDEX, UNSYNCED, failed};
use crate::options::Durability;

impl Durability {
    /// The flags that LMDB is opened with.
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

/// The line of `unsynced` for this boot: the kernel's boot id.
fn this_boot() -> Result<Vec<u8>> {
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

/// Whether the system may have gone down while a process wrote without syncing, so that everything must be checked before
/// use. To be called when no process writes.
pub(crate) fn needs_check(dir: &Directory) -> Result<bool> {
    unsynced(dir)?.map_or(Ok(false), |boots| Ok(boots != this_boot()?))
}

/// Negotiates `level` with the other writers, and records in `unsynced` if this process writes without syncing. To be
/// called with the opening lock held, after a check if one was needed.
///
/// # Errors
/// [`ErrorKind::InUse`] if other processes write at another level.
pub(crate) fn negotiate(locks: &OpenLocks, index: &Arc<Index>, level: Durability, others_write: bool) -> Result<()> {
    let dir = &locks.files.dir;
    let found = unsynced(dir)?;
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
            // The file holds both boots from here on: if the system goes down, all is checked.
            Some(found) => add_this_boot(dir, &found),
            None => Ok(()),
        };
    }
    if level.syncs_data() {
        return if found.is_some() { sync_and_clear(locks, index) } else { Ok(()) };
    }
    match found {
        Some(found) if found == this_boot()? => return Ok(()),
        // The database was checked after the earlier boot.
        Some(_) => sync_and_clear(locks, index)?,
        None => {}
    }
    add_this_boot(dir, &[])
}

/// Syncs everything, then removes `unsynced`. To be called with the opening lock held, when no other process writes.
pub(crate) fn sync_and_clear(locks: &OpenLocks, index: &Arc<Index>) -> Result<()> {
    let dir = &locks.files.dir;
    locks.files.data().sync_data().map_err(|e| locks.failed("syncing the data file", e))?;
    index.env.lmdb().sync(true).map_err(|e| lmdb_error(&dir.path, "syncing", e))?;
    let removed = dir.remove(UNSYNCED).and_then(|()| dir.file.sync_all());
    removed.map_err(|e| of_unsynced(&dir.path, "removing", e))
}

/// Makes the file of the index as long as its meta page says, so that no opening takes it for truncated: LMDB leaves out
/// pages at the end that a commit took and gave back. For a writer, while no other process writes.
pub(crate) fn lengthen_index(dir: &Directory, index: &Index) -> Result<()> {
    let needed = index.bytes()?;
    if dir.size_of(INDEX)?.is_some_and(|len| len < needed) {
        dir.open(INDEX, OFlag::O_WRONLY)
            .and_then(|file| file.set_len(needed))
            .map_err(|e| failed(&dir.path.join(INDEX), "lengthening it", e))?;
    }
    Ok(())
}

/// The content of `unsynced`; `None` if there is no such file.
fn unsynced(dir: &Directory) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match dir.open(UNSYNCED, OFlag::O_RDONLY).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(of_unsynced(&dir.path, "reading", e)),
    }
}

/// Adds this boot to `unsynced`, whose content is `found`, unless it is there. On disk when it returns.
fn add_this_boot(dir: &Directory, found: &[u8]) -> Result<()> {
    let boot = this_boot()?;
    if found.split_inclusive(|byte| *byte == b'\n').any(|line| line == boot) {
        return Ok(());
    }
    dir.open(UNSYNCED, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)
        .and_then(|mut file| {
            file.write_all(&boot)?;
            file.sync_all()
        })
        .and_then(|()| dir.file.sync_all())
        .map_err(|e| of_unsynced(&dir.path, "writing", e))
}

fn of_unsynced(dir: &Path, what: &str, e: io::Error) -> Error {
    let text = "which says that the database is written to without power-loss safety";
    Error::io(format_args!("{what} {}, {text}", dir.join(UNSYNCED).display()), e)
}
