//! The locks of an open database, from the wait for opening it until LMDB has closed.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result};
use bigarray_process::Origin;
use nix::fcntl::OFlag;

use super::byte_locks::{self, COMMIT_LOCK, LIVE, LOCKLESS, Lock, LockTable, OPENING, WRITER};
use super::clients::{Client, take_number};
use super::exclusive::Exclusive;
use super::files::{Directory, INDEX, LOCK_TABLE, failed};
use super::holders::holders;
use super::open_files::{OpenFiles, read_without_table};
use super::reservation::Reservation;
use super::waiting::{Limit, wait, wait_for_table, waiting};
use crate::options::Options;

/// A process that is killed loses all its locks within this time of the first.
const DYING: Duration = Duration::from_millis(500);

/// The locks of an open database. Dropping it releases all of them; LMDB must have closed before.
pub(crate) struct OpenLocks {
    origin: Origin,
    /// This process may only read.
    pub(crate) read_only: bool,
    /// How long to wait for other processes.
    pub(crate) limit: Arc<Limit>,
    pub(crate) files: OpenFiles,
    /// This client; [`Client::NONE`] without a lock table.
    pub(crate) client: Client,
    /// The right to commit next, among all threads of all processes: a lock on `data`, opened for it only.
    pub(crate) commit_lock: Arc<Exclusive>,
    /// The right of this process's one environment to the directory.
    // Last: afterwards this process may open the directory again.
    pub(crate) reservation: Reservation,
}

impl OpenLocks {
    /// Waits until no other process opens or closes the database, and checks which processes have it open.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if it cannot be opened beside them.
    pub(crate) fn new(dir: Directory, options: &Options, reservation: Reservation) -> Result<OpenLocks> {
        let files = OpenFiles::open(dir, options)?;
        let (origin, client, limit) = (Origin::here(), Client::NONE, Arc::<Limit>::default());
        let data = files.reopen_data()?;
        let commit_lock = Exclusive::new(data, COMMIT_LOCK, &files.dir.path, "the commit lock", &limit);
        limit.shorten(options.wait_timeout);
        let mut locks =
            OpenLocks { origin, read_only: options.read_only, limit, files, client, commit_lock, reservation };
        locks.files.make_room(options.read_only)?;
        locks.check_other_processes()?;
        if !options.read_only {
            // Before any descriptor or mapping of the index that is used later: overlayfs copies it up now.
            locks.files.open_file(INDEX, OFlag::O_RDWR)?;
        }
        Ok(locks)
    }

    fn check_other_processes(&self) -> Result<()> {
        let Some(table) = &self.files.table else {
            return match self.others_write()? {
                false => Ok(()),
                true => Err(self.in_use(&format!(
                    "a process has it open for writing, and {LOCK_TABLE} cannot be written here, so nothing would \
                     protect this reader from it"
                ))),
            };
        };
        if self.files.is_held(LIVE)? {
            let lost = || {
                let is_used = table.is_used().map_err(|e| self.failed("asking for locks", e))?;
                Ok((!is_used && self.files.is_held(LIVE)?).then_some(()))
            };
            if persists(lost)?.is_some() {
                return Err(self.in_use(&format!(
                    "a process that has it open lost its locks on {LOCK_TABLE}, by opening and closing that file itself, \
                     or was killed and left a forked child; opening it now would overwrite what that process reads. Wait \
                     until it begins a transaction, or end it: {}",
                    holders(&self.files.data, Lock::Exclusive(LIVE))
                )));
            }
        }
        if !self.read_only && self.files.is_held(LOCKLESS)? {
            return Err(read_without_table(&self.files.dir));
        }
        Ok(())
    }

    /// Waits until no other program has locked LMDB's lock table. To be called before LMDB opens it.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] past the limit.
    pub(crate) fn wait_for_table(&self) -> Result<()> {
        let Some(table) = &self.files.table else { return Ok(()) };
        wait_for_table(table, &waiting(&self.files.dir.path, "the lock table of LMDB", self.limit.get()))
    }

    /// Makes this process a client, with a number under which no reader is `in_use`. `None` without a lock table. LMDB is
    /// open, and no transaction has begun.
    pub(crate) fn take_client(&mut self, in_use: impl Fn() -> Result<Vec<u32>>) -> Result<Option<u32>> {
        let Some(table) = &self.files.table else { return Ok(None) };
        self.client = Client::new(take_number(table, &self.files.dir.path, self.read_only, in_use)?);
        Ok(Some(self.client.number))
    }

    /// Shows other processes that the database is open here.
    pub(crate) fn publish(&self) -> Result<()> {
        let of = |e| self.failed("taking the locks of an open database", e);
        let OpenFiles { data, table, .. } = &self.files;
        let Some(table) = table else { return byte_locks::share(data, LOCKLESS).map_err(of) };
        table.relock(self.client.number).map_err(of)?;
        byte_locks::share(data, LIVE).map_err(of)?;
        if !self.read_only {
            byte_locks::share(data, WRITER).map_err(of)?;
        }
        Ok(())
    }

    /// Lets other processes open or close the database.
    pub(crate) fn end_opening(&self) -> Result<()> {
        byte_locks::unlock(&self.files.data, OPENING).map_err(|e| self.failed("ending the opening", e))
    }

    /// Waits until no other process opens or closes the database, and keeps them from it until this is dropped.
    pub(crate) fn begin_closing(&self) -> Result<()> {
        /// For messages: "waiting for …".
        const CLOSED: &str = "the right to close the database, which is being opened or closed by another process";
        let waiting = waiting(&self.files.dir.path, CLOSED, self.limit.get());
        wait(&self.files.data, self.files.opening(), &waiting)
    }

    /// Takes back [`publish`](OpenLocks::publish).
    pub(crate) fn unpublish(&self) {
        for at in [LIVE, WRITER, LOCKLESS] {
            self.unlock(at);
        }
    }

    /// Whether this process opened the database, and is not a forked child.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.origin.is_here()
    }

    /// Refuses in a forked child, which shares the reader table and the open files with its parent.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.origin.check(self.files.dir.path.display())
    }

    /// To be called before every transaction: takes the locks again that LMDB may have lost.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] in a forked child, and where another program locks the reader table.
    pub(crate) fn before_begin(&self) -> Result<()> {
        self.check_process()?;
        let Some(table) = &self.files.table else { return Ok(()) };
        table.relock(self.client.number).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied => self.in_use(&format!(
                "its {LOCK_TABLE} is locked by another program; end that, then open the database again"
            )),
            _ => self.failed("locking the reader table", e),
        })
    }

    /// Whether another process has it open for writing.
    pub(crate) fn others_write(&self) -> Result<bool> {
        self.files.is_held(WRITER)
    }

    /// Whether the client of that number lives.
    pub(crate) fn lives(&self, number: u32) -> Result<bool> {
        match &self.files.table {
            Some(table) => table.is_client(number).map_err(|e| self.failed("asking for locks", e)),
            None => Ok(true),
        }
    }

    /// Names the process of a client that lives.
    pub(crate) fn name_of(&self, number: u32) -> String {
        let table = self.files.table.as_ref();
        table.map_or_else(String::new, |table| holders(&table.0, LockTable::client(number)))
    }

    /// Turns an error of the system into one that names the database.
    pub(crate) fn failed(&self, what: &str, e: io::Error) -> Error {
        failed(&self.files.dir.path, what, e)
    }

    /// An error that says why another process keeps this one from going on.
    pub(crate) fn in_use(&self, why: &str) -> Error {
        Error::new(ErrorKind::InUse, format!("{}: {why}", self.files.dir.path.display()))
    }

    /// Closing the file would not do: a forked child may still have it open.
    fn unlock(&self, at: i64) {
        if let Err(e) = byte_locks::unlock(&self.files.data, at) {
            tracing::warn!("{}: giving back a lock: {e}", self.files.dir.path.display());
        }
    }
}

impl Drop for OpenLocks {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.unpublish();
            // LMDB has closed: no reader is left under the number.
            if let Some(table) = &self.files.table
                && let Err(e) = table.give_number(self.client.number)
            {
                tracing::warn!("{}: giving back a lock: {e}", self.files.dir.path.display());
            }
            self.unlock(OPENING);
        } else {
            // A forked child: closing the file would drop the locks of a database that the child opened itself.
            mem::forget(self.files.table.take());
        }
    }
}

/// The result of `look`, if it is still there after a while. A process that is killed loses its locks on `index-lock` a moment
/// before those on `data`, and for that moment looks like one that lives without them.
pub(crate) fn persists<T>(look: impl Fn() -> Result<Option<T>>) -> Result<Option<T>> {
    for _ in 0..DYING.as_millis() {
        if look()?.is_none() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(1));
    }
    look()
}
