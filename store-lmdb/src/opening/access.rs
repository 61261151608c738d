//! How the files are opened: to write, or only to read, and what that allows.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use bigarray_core::{Error, ErrorKind, Result, signals};
use bigarray_process::Unshared;
use nix::fcntl::OFlag;

use super::files::{Directory, FileId, failed};
use super::locks::{self, LOCKLESS, Lock, LockTable, OPENING};
use super::waiting::{Waiting, wait};
use super::{DATA, INDEX, LOCK_TABLE, overlay};
use crate::options::Options;

/// For messages: "waiting for …".
const OPENED: &str = "the right to open the database, which is being opened or closed";

/// One opening or closing at a time. Readers who may not write can only share it, which keeps out whoever could change
/// something.
pub(super) fn opening(exclusive: bool) -> Lock {
    if exclusive { Lock::Exclusive(OPENING) } else { Lock::Shared(OPENING) }
}

/// The files that stay open for their locks.
pub(super) struct Access {
    /// `data`, with the lock of who opens the database.
    pub(super) data: Arc<Unshared<File>>,
    /// `data` is open to write: whether locks on it may be exclusive.
    pub(super) exclusive: bool,
    /// `None`: it is not written to, so nobody may write to the database.
    pub(super) table: Option<LockTable>,
    /// `data` once more, for the commit lock.
    pub(super) commit_lock: Unshared<File>,
}

impl Access {
    /// Waits until nobody else opens or closes the database.
    pub(super) fn open(dir: &Directory, options: &Options) -> Result<Access> {
        let Locked { data, exclusive, has_table } = loop {
            if let Some(opened) = try_open_data(dir, options)? {
                break opened;
            }
        };
        let of = |name: &str, e| failed(&dir.path.join(name), "opening it", e);
        let table = has_table.then(|| Unshared::open(|| dir.open(LOCK_TABLE, OFlag::O_RDWR | OFlag::O_CREAT)));
        let table = match table.transpose() {
            Err(e) if options.read_only && is_unwritable(&e) => None,
            opened => opened.map_err(|e| of(LOCK_TABLE, e))?.map(LockTable),
        };
        let again = if exclusive { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        let commit_lock = Unshared::open(|| dir.open(DATA, again)).map_err(|e| of(DATA, e))?;
        Ok(Access { data, exclusive, table, commit_lock })
    }
}

/// `data`, locked.
struct Locked {
    data: Arc<Unshared<File>>,
    exclusive: bool,
    /// The lock table may be opened to write.
    has_table: bool,
}

/// Opens `data` and waits for the lock. `None`: how the file is to be opened changed meanwhile.
fn try_open_data(dir: &Directory, options: &Options) -> Result<Option<Locked>> {
    let of = |what: &str, e| failed(&dir.path.join(DATA), what, e);
    let copies_up = overlay::would_copy_up(dir)?;
    if copies_up && !options.read_only {
        // Else the copy, of any size, would be made for nothing.
        let lower = dir.open(DATA, OFlag::O_RDONLY).map_err(|e| of("opening it", e))?;
        if locks::is_held(&lower, LOCKLESS).map_err(|e| of("asking for locks", e))? {
            return Err(read_without_table(dir));
        }
    }
    let reads_lower = copies_up && options.read_only;
    let open = |write| {
        let flags = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        Unshared::open(|| dir.open(DATA, flags))
    };
    let (data, exclusive) = match open(!reads_lower) {
        Err(e) if options.read_only && is_unwritable(&e) => (open(false), false),
        opened => (opened, !reads_lower),
    };
    let data = Arc::new(data.map_err(|e| of("opening it", e))?);
    wait(&data, opening(exclusive), &Waiting::new(&dir.path, OPENED, options.wait_timeout))?;
    if !reads_lower {
        return Ok(Some(Locked { data, exclusive, has_table: true }));
    }
    // A writer that was waited for has copied everything up: then this reader can be protected as any other.
    if overlay::would_copy_up(dir)? {
        return Ok(Some(Locked { data, exclusive, has_table: false }));
    }
    let released = opening(exclusive).release(&data).map_err(|e| of("giving back a lock of it", e));
    released.map(|()| None)
}

fn is_unwritable(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) || is_full(e)
}

/// Whether there is no room, on the disk or in a quota.
pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Nobody writes beside such a reader.
pub(super) fn read_without_table(dir: &Directory) -> Error {
    let text = format!(
        "{}: a process that cannot write to {LOCK_TABLE}, or must not, reads it, so nothing would protect it from a writer; \
         close it there, or open with read_only(true)",
        dir.path.display()
    );
    Error::new(ErrorKind::InUse, text)
}

/// The files that were last found under their names: index, data, lock table. They are open here, so no other file can get
/// their numbers.
#[derive(Default)]
pub(super) struct Confirmed(Mutex<Option<[Option<FileId>; 3]>>);

/// Refuses once the directory lacks one of the files that are open here, or has another in its place: what is committed
/// then, nobody could ever open. To move the directory changes none of that. `index` is the one that LMDB has open.
///
/// # Errors
/// [`ErrorKind::Io`], naming the file.
pub(super) fn check_files(
    dir: &Directory,
    confirmed: &Confirmed,
    index: impl Fn() -> io::Result<FileId>,
    data: &File,
    table: Option<&LockTable>,
) -> Result<()> {
    let look = |name: &str| dir.id_of(name).map_err(|e| failed(&dir.path.join(name), LOOKING, e));
    let found = [look(INDEX)?, look(DATA)?, table.map_or(Ok(None), |_| look(LOCK_TABLE))?];
    if *signals::lock(&confirmed.0) == Some(found) {
        return Ok(());
    }
    check_found(dir, INDEX, found[0], index())?;
    check_found(dir, DATA, found[1], FileId::of(data))?;
    if let Some(table) = table {
        check_found(dir, LOCK_TABLE, found[2], FileId::of(&table.0))?;
    }
    *signals::lock(&confirmed.0) = Some(found);
    Ok(())
}

const LOOKING: &str = "looking whether it is still there";

/// The same for one file, `open` being what is open under that name.
pub(super) fn check_file(dir: &Directory, name: &str, open: io::Result<FileId>) -> Result<()> {
    let found = dir.id_of(name).map_err(|e| failed(&dir.path.join(name), LOOKING, e))?;
    check_found(dir, name, found, open)
}

/// `open` is asked for anew each time, since overlayfs gives a file another number when it copies it up.
fn check_found(dir: &Directory, name: &str, found: Option<FileId>, open: io::Result<FileId>) -> Result<()> {
    let open = open.map_err(|e| failed(&dir.path.join(name), LOOKING, e))?;
    if found == Some(open) {
        return Ok(());
    }
    let what = if found.is_none() { "was removed" } else { "was replaced by another file" };
    let text = format!(
        "{}: its file {name} {what} while the database is open, so nothing can be read or written any more but what \
         snapshots have: put the file back, or open the database again",
        dir.path.display()
    );
    Err(Error::new(ErrorKind::Io, text))
}
