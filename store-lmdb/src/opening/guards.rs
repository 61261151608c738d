//! What must be kept while a database is open. How it is given back is in `closing`.

mod closing;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::{Origin, Unshared};
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

use super::access::{self, Access, Confirmed};
use super::files::{Directory, FileId, failed};
use super::holders::holders;
use super::locks::{self, LIVE, LOCKLESS, Lock, LockTable, OPENING, WRITER};
use super::registry::Reservation;
use super::table::{self, TableMap};
use super::waiting::{Limit, Waiting, wait_for_table};
use super::{DATA, INDEX, LOCK_TABLE, clients, creation};
use crate::alloc::Client;
use crate::commit_lock::CommitLockFile;
use crate::durability;
use crate::index::{Env, Gates, Index, Structure, lmdb_error, readers};
use crate::options::{Durability, Options};

/// No process takes longer from losing its first lock to losing its last, when it is killed.
const DYING: Duration = Duration::from_millis(500);

/// Why a check was needed.
pub(super) const UNSAFE_CRASH: &str = "the system went down while it was written to without power-loss safety";

/// What must be kept while a database is open. Gives everything back when dropped, which must come after LMDB closed.
pub(crate) struct Guards {
    origin: Origin,
    read_only: bool,
    durability: Durability,
    /// The level was agreed on: closing has to see to it.
    agreed: AtomicBool,
    /// How long to wait for others.
    limit: Arc<Limit>,
    /// `data`, opened for its locks alone.
    data: Arc<Unshared<File>>,
    /// `None`: it is not written to, so nobody may write to the database.
    table: Option<LockTable>,
    /// This client; [`Client::NONE`] without a lock table.
    client: Client,
    commit_lock: CommitLockFile,
    /// `data` is open to write: whether locks on it may be exclusive.
    exclusive: bool,
    /// A store to the lock table may take room on the disk.
    takes_room: bool,
    confirmed: Confirmed,
    dir: Directory,
    // Last: then this process may open the directory again.
    pub(super) reservation: Reservation,
}

impl Guards {
    /// Waits until nobody else opens or closes the database, and looks who has it open.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if it cannot be opened beside them.
    pub(super) fn new(dir: Directory, options: &Options, reservation: Reservation) -> Result<Guards> {
        let Access { data, exclusive, table, commit_lock } = Access::open(&dir, options)?;
        let commit_lock = CommitLockFile::new(commit_lock, &dir.path);
        let mut guards = Guards {
            origin: Origin::here(),
            limit: Arc::default(),
            read_only: options.read_only,
            durability: options.durability,
            agreed: AtomicBool::new(false),
            data,
            table,
            client: Client::NONE,
            commit_lock,
            exclusive,
            takes_room: false,
            confirmed: Confirmed::default(),
            dir,
            reservation,
        };
        guards.limit.shorten(options.wait_timeout);
        guards.make_room()?;
        guards.look_around()?;
        if !guards.read_only {
            // Before any descriptor or mapping of it that is used later: overlayfs copies it up now.
            guards.open(INDEX, OFlag::O_RDWR)?;
        }
        Ok(guards)
    }

    /// Opens one of the files.
    fn open(&self, name: &str, flags: OFlag) -> Result<File> {
        let what = if flags.contains(OFlag::O_RDWR) { "opening it to write" } else { "opening it" };
        self.dir.open(name, flags).map_err(|e| failed(&self.dir.path.join(name), what, e))
    }

    /// Opens the data file, which must still be the one that is locked.
    pub(super) fn open_data(&self, flags: OFlag) -> Result<File> {
        let file = self.open(DATA, flags)?;
        access::check_file(&self.dir, DATA, FileId::of(&self.data))?;
        access::check_file(&self.dir, DATA, FileId::of(&file))?;
        Ok(file)
    }

    /// Opens LMDB.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if another program keeps its lock table for itself.
    pub(super) fn open_index(&self, flags: EnvironmentFlags, map_bytes: Option<usize>) -> Result<Env> {
        if let Some(table) = &self.table {
            wait_for_table(table, &Waiting::new(&self.dir.path, "the lock table of LMDB", self.limit.get()))?;
        }
        Env::open(&self.dir, INDEX, flags | self.lmdb_flags(), map_bytes, self.gates()?)
    }

    /// Refuses once one of the files was removed or replaced.
    pub(crate) fn check_files(&self, index: &Index) -> Result<()> {
        access::check_files(&self.dir, &self.confirmed, || index.file(), &self.data, self.table.as_ref())
    }

    /// Sees that LMDB finds room for what it stores to its lock table. A reader can do without the table.
    fn make_room(&mut self) -> Result<()> {
        let Some(LockTable(file)) = &self.table else { return Ok(()) };
        let file_system = self.dir.file_system()?;
        self.takes_room = table::may_take_room(file_system);
        let made = if self.is_held(LIVE)? { Ok(()) } else { table::make_room(file, file_system, self.exclusive) };
        let checked = made.and_then(|()| match self.takes_room && !table::can_be_stored_to(file)? {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        });
        match checked {
            Err(e) if self.read_only && access::is_full(&e) => self.table = None,
            checked => checked.map_err(|e| failed(&self.dir.path.join(LOCK_TABLE), "making room for it", e))?,
        }
        Ok(())
    }

    /// Where LMDB, which is open, has the table mapped, if it has to be looked at.
    pub(crate) fn table_map(&self) -> Option<TableMap> {
        self.table.as_ref().filter(|_| self.takes_room).and_then(|table| TableMap::find(&table.0))
    }

    fn look_around(&self) -> Result<()> {
        let Some(table) = &self.table else {
            return match self.is_held(WRITER)? {
                false => Ok(()),
                true => Err(self.in_use(&format!(
                    "a process has it open for writing, and {LOCK_TABLE} cannot be written here, so nothing would \
                     protect this reader from it"
                ))),
            };
        };
        if self.is_held(LIVE)? {
            let lost = || {
                let is_used = table.is_used().map_err(|e| self.failed("asking for locks", e))?;
                Ok((!is_used && self.is_held(LIVE)?).then_some(()))
            };
            if lasts(lost)?.is_some() {
                return Err(self.in_use(&format!(
                    "a process that has it open lost its locks on {LOCK_TABLE}, by opening and closing that file itself, \
                     or was killed and left a forked child; opening it now would overwrite what that process reads. Wait \
                     until it begins a transaction, or end it: {}",
                    holders(&self.data, Lock::Exclusive(LIVE))
                )));
            }
        }
        if !self.read_only && self.is_held(LOCKLESS)? {
            return Err(access::read_without_table(&self.dir));
        }
        Ok(())
    }

    /// Gates to LMDB's lock table; `None` if it is opened without.
    fn gates(&self) -> Result<Option<Gates>> {
        let Some(table) = &self.table else { return Ok(None) };
        let open = || {
            let open = || self.dir.open(LOCK_TABLE, OFlag::O_RDWR);
            let file = Unshared::open(open).map_err(|e| failed(&self.dir.path.join(LOCK_TABLE), "opening it", e))?;
            access::check_file(&self.dir, LOCK_TABLE, FileId::of(&table.0))?;
            access::check_file(&self.dir, LOCK_TABLE, FileId::of(&file))?;
            Ok(file)
        };
        Gates::new(&self.dir.path, open, &self.limit).map(Some)
    }

    /// This client.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Makes this a client, and shows others that it is open here. LMDB is, and nothing has begun.
    pub(super) fn mark(&mut self, env: &Env) -> Result<()> {
        if let Some(table) = &self.table {
            self.client = Client::new(clients::take_number(table, env, self.read_only)?);
            env.set_number(self.client.number())?;
        }
        let of = |e| self.failed("taking the locks of an open database", e);
        let Some(table) = &self.table else { return locks::share(&self.data, LOCKLESS).map_err(of) };
        table.relock(self.client.number()).map_err(of)?;
        locks::share(&self.data, LIVE).map_err(of)?;
        if !self.read_only {
            locks::share(&self.data, WRITER).map_err(of)?;
        }
        Ok(())
    }

    /// Whether another process has it open for writing.
    fn others_write(&self) -> Result<bool> {
        self.is_held(WRITER)
    }

    /// Settles with other writers what survives a power loss.
    pub(super) fn agree(&self, index: &Arc<Index>) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let others_write = self.others_write()?;
        if !others_write {
            self.lengthen_index(index)?;
        }
        creation::settle(&self.dir, index.newest()?)?;
        durability::agree(&self.dir, index, &self.data, self.durability, others_write)
    }

    /// How LMDB is to be opened.
    fn lmdb_flags(&self) -> EnvironmentFlags {
        let mut flags = self.durability.flags();
        flags.set(EnvironmentFlags::READ_ONLY, self.read_only);
        flags.set(EnvironmentFlags::NO_LOCK, self.table.is_none());
        flags
    }

    /// Ends opening: the database is as it was agreed on, and others may open it.
    pub(super) fn opened(&self) -> Result<()> {
        self.agreed.store(true, Ordering::Relaxed);
        locks::unlock(&self.data, OPENING).map_err(|e| self.failed("ending the opening", e))
    }

    /// Whether a caller with these options can share what this process has open.
    pub(super) fn admit(&self, options: &Options) -> Result<()> {
        if self.read_only && !options.read_only {
            return Err(self.in_use("this process has it open read-only; drop that, with all its snapshots, to write"));
        }
        if !options.read_only && self.durability != options.durability {
            return Err(self.in_use(&format!(
                "this process has it open with durability {:?}, so it cannot be opened with {:?}",
                self.durability, options.durability
            )));
        }
        self.limit.shorten(options.wait_timeout);
        Ok(())
    }

    /// Refuses in a forked child, which shares the reader table and the open files with its parent.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.origin.check(self.dir.path.display())
    }

    /// To be called before every transaction: takes again what LMDB may have lost.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] in a forked child, and where another program locks the reader table.
    pub(crate) fn before_begin(&self) -> Result<()> {
        self.check_process()?;
        let Some(table) = &self.table else { return Ok(()) };
        table.relock(self.client.number()).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied => self.in_use(&format!(
                "its {LOCK_TABLE} is locked by another program; end that, then open the database again"
            )),
            _ => self.failed("locking the reader table", e),
        })
    }

    /// To be called before every write transaction, which may reuse what is not read any more. Clears the readers of
    /// processes that ended without closing.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if a reader lost its locks: LMDB could take it for dead.
    pub(crate) fn before_write(&self, index: &Index) -> Result<()> {
        self.before_begin()?;
        let lost = || match self.clear_dead_readers(index)? {
            Cleared::All => Ok(None),
            Cleared::LostReader(number) => Ok(Some(number)),
        };
        let (Some(number), Some(table)) = (lasts(lost)?, &self.table) else { return Ok(()) };
        Err(self.in_use(&format!(
            "a process that reads it lost its locks on {LOCK_TABLE}, by opening and closing that file itself; nothing can \
             be written until it begins a transaction or ends: {}",
            holders(&table.0, LockTable::client(number))
        )))
    }

    /// Clears the readers of processes that ended without closing, unless a living one lacks the locks that LMDB knows it
    /// by.
    pub(crate) fn clear_dead_readers(&self, index: &Index) -> Result<Cleared> {
        let Some(table) = &self.table else { return Ok(Cleared::All) };
        let of = |e| lmdb_error(&self.dir.path, "listing the readers", e);
        let mut are_dead = false;
        for number in readers::numbers(index.env().lmdb()).map_err(of)? {
            let of = |e| self.failed("asking for locks", e);
            if number == self.client.number() || table.is_alive(number).map_err(of)? {
                continue;
            }
            if table.is_client(number).map_err(of)? {
                return Ok(Cleared::LostReader(number));
            }
            are_dead = true;
        }
        if are_dead {
            let slots = index.env().slots()?;
            index.check_room()?;
            slots.clear_dead().map_err(|e| lmdb_error(&self.dir.path, "clearing dead readers", e))?;
        }
        Ok(Cleared::All)
    }

    /// Whether the client of that number lives.
    pub(crate) fn lives(&self, number: u32) -> Result<bool> {
        match &self.table {
            Some(table) => table.is_client(number).map_err(|e| self.failed("asking for locks", e)),
            None => Ok(true),
        }
    }

    /// How long to wait for others, at most.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit.get()
    }

    /// Takes the commit lock.
    pub(crate) fn commit_lock(&self) -> &CommitLockFile {
        &self.commit_lock
    }

    /// What survives a power loss.
    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Looks at the index before LMDB does, which would trust it, if nobody writes to it. Returns whether all of the
    /// database has to be checked: the system went down while it was written to without syncing.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if LMDB could not bear it.
    pub(super) fn examine_index(&self) -> Result<bool> {
        if self.others_write()? {
            return Ok(false);
        }
        let path = self.dir.path.join(INDEX);
        let index = Structure::read(self.open(INDEX, OFlag::O_RDONLY)?, &path)?;
        let crashed = durability::needs_check(&self.dir)?;
        if crashed {
            index.check().map_err(|e| e.context(UNSAFE_CRASH))?;
        } else if index.is_short() {
            index.check()?;
        }
        Ok(crashed)
    }

    /// The pages of the index of commit `txn`, of which a snapshot is held; `None` if a later commit wrote over its meta page.
    ///
    /// # Errors
    /// As [`Structure::read_state`].
    pub(crate) fn index_state(&self, txn: u64) -> Result<Option<Structure>> {
        Structure::read_state(self.open(INDEX, OFlag::O_RDONLY)?, &self.dir.path.join(INDEX), txn)
    }

    /// Makes the index as long as it says, which LMDB does not always, so that no opening takes it for truncated. For a
    /// writer, while nobody else is.
    fn lengthen_index(&self, index: &Index) -> Result<()> {
        let needed = index.bytes()?;
        if self.dir.size_of(INDEX)?.is_some_and(|len| len < needed) {
            self.dir
                .open(INDEX, OFlag::O_WRONLY)
                .and_then(|file| file.set_len(needed))
                .map_err(|e| failed(&self.dir.path.join(INDEX), "lengthening it", e))?;
        }
        Ok(())
    }

    fn is_held(&self, at: i64) -> Result<bool> {
        locks::is_held(&self.data, at).map_err(|e| self.failed("asking for locks", e))
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        failed(&self.dir.path, what, e)
    }

    fn in_use(&self, why: &str) -> Error {
        Error::new(ErrorKind::InUse, format!("{}: {why}", self.dir.path.display()))
    }
}

/// What became of the readers of dead processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleared {
    /// There are none any more.
    All,
    /// They are as they were: LMDB would take a living reader, the client of this number, for dead as well.
    LostReader(u32),
}

/// What `look` sees, if it still does after a while: a process that is killed loses its locks on `index-lock` a moment
/// before those on `data`, and so for that moment looks as one that lives without.
fn lasts<T>(look: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
    for _ in 0..DYING.as_millis() {
        if look()?.is_none() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(1));
    }
    look()
}
