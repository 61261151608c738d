//! LMDB's environment, and the gates that decide which thread may touch its lock table.
//!
//! LMDB has two mutexes in the lock table, for writers and for places of the reader table. They are robust: the word of a
//! mutex holds its owner's thread number, and when a thread dies the kernel marks the mutexes that it held as left by a
//! dead owner. It also marks the one mutex that the thread was about to take or release, if the word has the thread's
//! number. Threads of two PID namespaces can have equal numbers. So a thread that was killed while it waited took the
//! mutex from the living owner of the same number, and two processes wrote at once.
//!
//! Here a thread comes to one of these mutexes only while no thread of another process holds it or waits for it: a gate of
//! the store is outside each. Among the threads of one process the numbers are right.
//!
//! If a process is killed behind a gate, its mutexes are marked before the gate opens: a thread that ends gives up its
//! memory (`exit_mm`, where the kernel looks for robust mutexes) before its files (`exit_files`), to which the gate's lock
//! belongs. The files go with the last thread of the process, and so after the mutexes of all its threads. `exec` keeps the
//! same order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bigarray_core::{Result, signals};
use bigarray_process::Unshared;
use lmdb::{Environment, EnvironmentFlags, RoTransaction, RwTransaction};

use super::open::open_environment;
use super::readers::Readers;
use super::{identity, lmdb_error, readers};
use crate::locks::byte_locks::{TABLE_GATE, WRITING};
use crate::locks::exclusive::{Exclusive, Held};
use crate::locks::files::Directory;
use crate::locks::waiting::Limit;

/// An open environment.
pub(crate) struct Env {
    /// `Some` until dropped.
    env: Option<Environment>,
    /// `None`: it is opened without a lock table.
    gates: Option<Gates>,
    dir: PathBuf,
}

/// The two gates: to the write transaction, and to the lock table. A writer passes them in this order.
pub(crate) struct Gates {
    writing: Arc<Exclusive>,
    table: Arc<Exclusive>,
}

/// The right to the write transaction, among all threads of all processes.
pub(crate) struct Writing {
    _passed: Option<Passed>,
}

/// The right to take a place in the reader table, or one of LMDB's mutexes. It is never held for long.
pub(crate) struct LockTableAccess<'e> {
    env: &'e Environment,
    _passed: Option<Passed>,
}

/// A gate that is passed. Signals to this thread wait meanwhile: resolvers pass the gates too, so a signal handler that
/// faults would wait for the thread that it interrupts.
struct Passed {
    _held: Held,
    // Last: signals arrive once the gate is free.
    _signals: signals::Held,
}

impl Passed {
    fn new(take: impl FnOnce() -> Result<Held>) -> Result<Passed> {
        // Signals may arrive during the wait.
        let _between = signals::hold_between_waits();
        let held = take()?;
        Ok(Passed { _held: held, _signals: signals::hold() })
    }
}

impl Gates {
    /// Gates by locks on `index-lock` of the database in `dir`, which `open` opens.
    pub(crate) fn new(dir: &Path, open: impl Fn() -> Result<Unshared<File>>, limit: &Arc<Limit>) -> Result<Gates> {
        let writing = Exclusive::new(open()?, WRITING, dir, "the right to write", limit);
        let table = Exclusive::new(open()?, TABLE_GATE, dir, "the reader table", limit);
        Ok(Gates { writing, table })
    }
}

impl Env {
    /// The flags of every environment. `NO_TLS`: a snapshot may move between threads.
    pub(crate) const FLAGS: EnvironmentFlags =
        EnvironmentFlags::NO_SUB_DIR.union(EnvironmentFlags::NO_TLS).union(EnvironmentFlags::NO_READAHEAD);

    /// Opens LMDB on the file `name` of `dir`. Without `gates` it is opened without a lock table.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](bigarray_core::ErrorKind::Unsupported) if the LMDB that is linked is not known.
    pub(crate) fn open(
        dir: &Directory,
        name: &str,
        flags: EnvironmentFlags,
        map_bytes: Option<usize>,
        gates: Option<Gates>,
    ) -> Result<Env> {
        identity::check_version()?;
        let mut env = Env { env: None, gates, dir: dir.path.clone() };
        // Opening or closing LMDB may initialize the table and its mutexes.
        let opened = {
            let _held = env.pass_table(Exclusive::take)?;
            open_environment(dir, name, flags, map_bytes)?
        };
        env.env = Some(opened);
        Ok(env)
    }

    /// Sets the number by which LMDB knows this process. To be called before the first transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](bigarray_core::ErrorKind::Unsupported) if the LMDB that is linked is not known.
    pub(crate) fn set_number(&self, number: u32) -> Result<()> {
        identity::set_number(self.lmdb(), number)
    }

    /// The readers of all processes.
    pub(crate) fn readers(&self) -> Result<Readers> {
        Readers::of(self.lmdb()).map_err(|e| lmdb_error(&self.dir, "listing the readers", e))
    }

    /// Waits until no other thread has a write transaction.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) past the limit of waiting, and in a forked child.
    pub(crate) fn writing(&self) -> Result<Writing> {
        let pass = |gates: &Gates| Passed::new(|| gates.writing.take());
        Ok(Writing { _passed: self.gates.as_ref().map(pass).transpose()? })
    }

    /// Waits until no other thread touches the lock table.
    ///
    /// # Errors
    /// As for [`Env::writing`].
    pub(crate) fn lock_table(&self) -> Result<LockTableAccess<'_>> {
        Ok(LockTableAccess { _passed: self.pass_table(Exclusive::take)?, env: self.lmdb() })
    }

    /// As [`Env::lock_table`], without a limit.
    pub(crate) fn lock_table_without_limit(&self) -> Result<LockTableAccess<'_>> {
        Ok(LockTableAccess { _passed: self.pass_table(Exclusive::take_without_limit)?, env: self.lmdb() })
    }

    fn pass_table(&self, take: fn(&Arc<Exclusive>) -> Result<Held>) -> Result<Option<Passed>> {
        self.gates.as_ref().map(|gates| Passed::new(|| take(&gates.table))).transpose()
    }

    /// LMDB, for calls that touch no mutex: information, syncing, the size of the map.
    pub(crate) fn lmdb(&self) -> &Environment {
        self.env.as_ref().expect("an environment is open until it is dropped")
    }
}

impl<'e> LockTableAccess<'e> {
    /// Begins a read transaction, which takes a place in the reader table.
    pub(crate) fn begin_read(&self) -> lmdb::Result<RoTransaction<'e>> {
        self.env.begin_ro_txn()
    }

    /// Begins the write transaction. LMDB takes both mutexes here: if the last writer was killed, it clears dead readers.
    pub(crate) fn begin_write(&self, _writing: &Writing) -> lmdb::Result<RwTransaction<'e>> {
        self.env.begin_rw_txn()
    }

    /// Clears the readers of dead processes.
    pub(crate) fn clear_dead(&self) -> lmdb::Result<()> {
        readers::clear_dead(self.env)
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let env = self.env.take();
        // The gate as for opening. LMDB is closed even without it.
        let held = self.pass_table(Exclusive::take);
        drop(env);
        if let Err(e) = held {
            tracing::warn!("{}: closing the index: {e}", self.dir.display());
        }
    }
}
