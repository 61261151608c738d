//! The files of an open database that are kept for their locks: how each is opened, to write or only to read, and whether
//! it is still the one in the directory.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bigarray_core::sync::FaultMutex;
use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::Unshared;
use nix::fcntl::OFlag;

use super::byte_locks::{self, LIVE, LOCKLESS, Lock, LockTable, OPENING};
use super::files::{DATA, Directory, FileId, INDEX, LOCK_TABLE, failed};
use super::lock_table::{self, TableMap};
use super::overlayfs;
use super::waiting::{wait, waiting};
use crate::options::Options;

/// For messages: "waiting for …".
const OPENED: &str = "the right to open the database, which is being opened or closed";

/// The files that stay open for their locks.
pub(crate) struct OpenFiles {
    pub(crate) dir: Directory,
    /// `data`, opened for its locks only.
    pub(super) data: Arc<Unshared<File>>,
    /// `data` is open to write, so locks on it may be exclusive.
    pub(super) exclusive: bool,
    /// `None`: this process cannot write to it, so no process may write to the database.
    pub(crate) table: Option<LockTable>,
    /// A store to the lock table may take room on the disk.
    takes_room: bool,
    confirmed: FaultMutex<Option<Found>>,
}

/// The files that were last found under their names: index, data, lock table. They are open here, so no other file can get
/// their numbers.
type Found = [Option<FileId>; 3];

impl OpenFiles {
    /// Opens the files. Waits until no other process opens or closes the database, and keeps others from it.
    pub(super) fn open(dir: Directory, options: &Options) -> Result<OpenFiles> {
        let Locked { data, exclusive, has_table } = loop {
            if let Some(opened) = try_open_data(&dir, options)? {
                break opened;
            }
        };
        let table = has_table.then(|| Unshared::open(|| dir.open(LOCK_TABLE, OFlag::O_RDWR | OFlag::O_CREAT)));
        let table = match table.transpose() {
            Err(e) if options.read_only && is_unwritable(&e) => None,
            opened => opened.map_err(|e| failed(&dir.path.join(LOCK_TABLE), "opening it", e))?.map(LockTable),
        };
        Ok(OpenFiles { dir, data, exclusive, table, takes_room: false, confirmed: FaultMutex::default() })
    }

    /// The data file, for syncing it.
    pub(crate) fn data(&self) -> &File {
        &self.data
    }

    /// The lock for opening and closing. Readers that may not write can only share it, which still excludes every process
    /// that could change something.
    pub(super) fn opening(&self) -> Lock {
        opening(self.exclusive)
    }

    /// Opens `data` once more, for another lock.
    pub(super) fn reopen_data(&self) -> Result<Unshared<File>> {
        let flags = if self.exclusive { OFlag::O_RDWR } else { OFlag::O_RDONLY };
        Unshared::open(|| self.dir.open(DATA, flags)).map_err(|e| failed(&self.dir.path.join(DATA), "opening it", e))
    }

    /// Makes sure that LMDB finds room for its stores to the lock table. A reader can do without the table.
    pub(super) fn make_room(&mut self, read_only: bool) -> Result<()> {
        let Some(LockTable(file)) = &self.table else { return Ok(()) };
        let file_system = self.dir.file_system()?;
        self.takes_room = lock_table::may_take_room(file_system);
        let made = match self.is_held(LIVE)? {
            true => Ok(()),
            false => lock_table::make_room(file, file_system, self.exclusive),
        };
        let checked = made.and_then(|()| match self.takes_room && !lock_table::can_be_stored_to(file)? {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        });
        match checked {
            Err(e) if read_only && is_full(&e) => self.table = None,
            checked => checked.map_err(|e| failed(&self.dir.path.join(LOCK_TABLE), "making room for it", e))?,
        }
        Ok(())
    }

    /// LMDB's mapping of the lock table, if a store to it may take room. LMDB has to be open.
    pub(crate) fn table_map(&self) -> Option<TableMap> {
        self.table.as_ref().filter(|_| self.takes_room).and_then(|table| TableMap::find(&table.0))
    }

    /// Opens one of the files.
    pub(crate) fn open_file(&self, name: &str, flags: OFlag) -> Result<File> {
        let what = if flags.contains(OFlag::O_RDWR) { "opening it to write" } else { "opening it" };
        self.dir.open(name, flags).map_err(|e| failed(&self.dir.path.join(name), what, e))
    }

    /// Opens the data file, which must still be the one that is locked.
    pub(crate) fn open_data(&self, flags: OFlag) -> Result<File> {
        let file = self.open_file(DATA, flags)?;
        self.check_file(DATA, FileId::of(&self.data))?;
        self.check_file(DATA, FileId::of(&file))?;
        Ok(file)
    }

    /// Opens `table`, the lock table, once more. It must still be the one that is locked.
    pub(crate) fn reopen_table(&self, table: &LockTable) -> Result<Unshared<File>> {
        let open = || self.dir.open(LOCK_TABLE, OFlag::O_RDWR);
        let file = Unshared::open(open).map_err(|e| failed(&self.dir.path.join(LOCK_TABLE), "opening it", e))?;
        self.check_file(LOCK_TABLE, FileId::of(&table.0))?;
        self.check_file(LOCK_TABLE, FileId::of(&file))?;
        Ok(file)
    }

    /// Refuses once the directory lacks one of the open files, or has another in its place: no process could ever open a
    /// commit made then. Moving the directory changes none of that. `index` is the file that LMDB has open.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], naming the file.
    pub(crate) fn check_files(&self, index: impl Fn() -> io::Result<FileId>) -> Result<()> {
        let found =
            [self.look(INDEX)?, self.look(DATA)?, self.table.as_ref().map_or(Ok(None), |_| self.look(LOCK_TABLE))?];
        if *self.confirmed.lock() == Some(found) {
            return Ok(());
        }
        self.check_found(INDEX, found[0], index())?;
        self.check_found(DATA, found[1], FileId::of(&self.data))?;
        if let Some(table) = &self.table {
            self.check_found(LOCK_TABLE, found[2], FileId::of(&table.0))?;
        }
        *self.confirmed.lock() = Some(found);
        Ok(())
    }

    /// As [`check_files`](OpenFiles::check_files) for one file. `open` is the file that is open under that name.
    fn check_file(&self, name: &str, open: io::Result<FileId>) -> Result<()> {
        self.check_found(name, self.look(name)?, open)
    }

    fn look(&self, name: &str) -> Result<Option<FileId>> {
        self.dir.id_of(name).map_err(|e| failed(&self.dir.path.join(name), LOOKING, e))
    }

    /// `open` is asked for anew each time: overlayfs gives a file another number when it copies it up.
    fn check_found(&self, name: &str, found: Option<FileId>, open: io::Result<FileId>) -> Result<()> {
        let open = open.map_err(|e| failed(&self.dir.path.join(name), LOOKING, e))?;
        if found == Some(open) {
            return Ok(());
        }
        let what = if found.is_none() { "was removed" } else { "was replaced by another file" };
        let text = format!(
            "{}: its file {name} {what} while the database is open, so nothing can be read or written any more but what \
             snapshots have: put the file back, or open the database again",
            self.dir.path.display()
        );
        Err(Error::new(ErrorKind::Io, text))
    }

    /// Whether another process holds a lock of that byte of `data`.
    pub(super) fn is_held(&self, at: i64) -> Result<bool> {
        byte_locks::is_held(&self.data, at).map_err(|e| failed(&self.dir.path, "asking for locks", e))
    }
}

const LOOKING: &str = "looking whether it is still there";

/// `data`, locked for opening.
struct Locked {
    data: Arc<Unshared<File>>,
    exclusive: bool,
    /// The lock table may be opened to write.
    has_table: bool,
}

fn opening(exclusive: bool) -> Lock {
    if exclusive { Lock::Exclusive(OPENING) } else { Lock::Shared(OPENING) }
}

/// Opens `data` and waits for the lock. `None`: meanwhile it has to be opened in another way.
fn try_open_data(dir: &Directory, options: &Options) -> Result<Option<Locked>> {
    let of = |what: &str, e| failed(&dir.path.join(DATA), what, e);
    let copies_up = overlayfs::would_copy_up(dir)?;
    if copies_up && !options.read_only {
        // Checked before the file is copied up: the copy, of any size, would be made for nothing.
        let lower = dir.open(DATA, OFlag::O_RDONLY).map_err(|e| of("opening it", e))?;
        if byte_locks::is_held(&lower, LOCKLESS).map_err(|e| of("asking for locks", e))? {
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
    wait(&data, opening(exclusive), &waiting(&dir.path, OPENED, options.wait_timeout))?;
    if !reads_lower {
        return Ok(Some(Locked { data, exclusive, has_table: true }));
    }
    // If the wait was for a writer, it has copied everything up: then this reader can be protected as any other.
    if overlayfs::would_copy_up(dir)? {
        return Ok(Some(Locked { data, exclusive, has_table: false }));
    }
    let released = opening(exclusive).release(&data).map_err(|e| of("giving back a lock of it", e));
    released.map(|()| None)
}

fn is_unwritable(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) || is_full(e)
}

/// Whether there is no room, on the disk or in a quota.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error of a writer beside a reader without a lock table.
pub(super) fn read_without_table(dir: &Directory) -> Error {
    let text = format!(
        "{}: a process that cannot write to {LOCK_TABLE}, or must not, reads it, so nothing would protect it from a writer; \
         close it there, or open with read_only(true)",
        dir.path.display()
    );
    Error::new(ErrorKind::InUse, text)
}
