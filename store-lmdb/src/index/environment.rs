//! LMDB's environment, and the order in which processes touch its lock table.
//!
//! LMDB has two mutexes in the lock table, for writers and for places of the reader table. They are robust: the word of
//! one holds its owner's thread number, and when a thread dies the kernel marks what it held as left by the dead, and also
//! the one mutex that it was about to take or to give back, if the word has the thread's number. Threads of two PID
//! namespaces have equal numbers. So a thread that was killed while it waited took the mutex from the living owner of its
//! number, and two processes wrote at once.
//!
//! Here no thread comes to one of these mutexes while one of another process has it or waits for it: a gate of ours is
//! outside each. Among the threads of one process their numbers are right.
//!
//! What passed a gate and was killed leaves mutexes that are marked before the gate opens: a thread that ends gives up its
//! memory (`exit_mm`, where the kernel looks for robust mutexes) before it gives up its files (`exit_files`), of which a
//! lock is one. The files go with the last thread of the process, and so after the mutexes of all. `exec` does both in the
//! same order.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::{Result, signals};
use bigarray_process::Unshared;
use lmdb::{Environment, EnvironmentFlags, RoTransaction, RwTransaction};

use super::map::open_environment;
use super::{identity, readers};
use crate::opening::exclusive::{Exclusive, Held};
use crate::opening::files::Directory;
use crate::opening::locks::{SLOTS, WRITING};
use crate::opening::waiting::{Limit, Waiting};

/// An open environment.
pub(crate) struct Env {
    /// There until dropped.
    env: Option<Environment>,
    /// `None`: it is opened without a lock table.
    gates: Option<Gates>,
    dir: PathBuf,
}

/// One write transaction, and one look at the lock table, at a time. A writer passes the first, then the second.
pub(crate) struct Gates {
    writing: Arc<Exclusive>,
    slots: Arc<Exclusive>,
    limit: Arc<Limit>,
    dir: PathBuf,
}

/// The right to a write transaction, among all threads of all processes.
pub(crate) struct Writing {
    _passed: Option<Passed>,
}

/// The right to take a place in the reader table, or one of LMDB's mutexes. It is never had for long.
pub(crate) struct Slots<'e> {
    env: &'e Environment,
    _passed: Option<Passed>,
}

/// A gate that is passed. Threads that resolve faults pass it too, so signals to this thread wait meanwhile: a handler
/// that touches a page would wait for itself.
struct Passed {
    _held: Held,
    // Last: signals arrive when the gate is free.
    _signals: signals::Held,
}

impl Passed {
    fn take(gate: &Arc<Exclusive>, waiting: &Waiting) -> Result<Passed> {
        // They may arrive while it waits.
        let _between = signals::hold_between_waits();
        let held = gate.take(waiting)?;
        Ok(Passed { _held: held, _signals: signals::hold() })
    }
}

impl Gates {
    /// By locks on `index-lock` of the database in `dir`, which `open` opens.
    pub(crate) fn new(dir: &Path, open: impl Fn() -> Result<Unshared<File>>, limit: &Arc<Limit>) -> Result<Gates> {
        Ok(Gates {
            writing: Exclusive::new(open()?, WRITING),
            slots: Exclusive::new(open()?, SLOTS),
            limit: Arc::clone(limit),
            dir: dir.to_owned(),
        })
    }

    fn pass_writing(&self) -> Result<Passed> {
        Passed::take(&self.writing, &Waiting::new(&self.dir, "the right to write", self.limit.get()))
    }

    fn pass_slots(&self, limit: Option<Duration>) -> Result<Passed> {
        Passed::take(&self.slots, &Waiting::new(&self.dir, "the reader table", limit))
    }
}

impl Env {
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
        // To open or close LMDB may make the table anew, or its mutexes.
        let opened = {
            let _held = env.pass_slots()?;
            open_environment(dir, name, flags, map_bytes)?
        };
        env.env = Some(opened);
        Ok(env)
    }

    /// Has LMDB know this process by `number`. To be called before the first transaction.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](bigarray_core::ErrorKind::Unsupported) if the LMDB that is linked is not known.
    pub(crate) fn set_number(&self, number: u32) -> Result<()> {
        identity::set_number(self.lmdb(), number)
    }

    /// The directory, for messages.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until no other thread has a write transaction.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) past the limit of waiting, and in a forked child.
    pub(crate) fn writing(&self) -> Result<Writing> {
        Ok(Writing { _passed: self.gates.as_ref().map(Gates::pass_writing).transpose()? })
    }

    /// Waits until no other thread touches the lock table.
    ///
    /// # Errors
    /// As for [`Env::writing`].
    pub(crate) fn slots(&self) -> Result<Slots<'_>> {
        Ok(Slots { _passed: self.pass_slots()?, env: self.lmdb() })
    }

    /// The same, however long it takes.
    pub(crate) fn slots_at_last(&self) -> Result<Slots<'_>> {
        let held = self.gates.as_ref().map(|gates| gates.pass_slots(None)).transpose()?;
        Ok(Slots { _passed: held, env: self.lmdb() })
    }

    fn pass_slots(&self) -> Result<Option<Passed>> {
        self.gates.as_ref().map(|gates| gates.pass_slots(gates.limit.get())).transpose()
    }

    /// LMDB, for what touches no mutex: asking, syncing, the size of the map.
    pub(crate) fn lmdb(&self) -> &Environment {
        self.env.as_ref().expect("an environment is open until it is dropped")
    }
}

impl<'e> Slots<'e> {
    /// Begins to read: takes a place in the reader table.
    pub(crate) fn begin_read(&self) -> lmdb::Result<RoTransaction<'e>> {
        self.env.begin_ro_txn()
    }

    /// Begins to write. LMDB comes to both mutexes here: if the last writer was killed, it clears dead readers.
    pub(crate) fn begin_write(&self, _writing: &Writing) -> lmdb::Result<RwTransaction<'e>> {
        self.env.begin_rw_txn()
    }

    /// Drops what dead processes left in the reader table; returns how many places that were.
    pub(crate) fn clear_dead(&self) -> lmdb::Result<usize> {
        readers::clear_dead(self.env)
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        let env = self.env.take();
        // As when it was opened. Without the lock it is closed all the same.
        let held = self.pass_slots();
        drop(env);
        if let Err(e) = held {
            tracing::warn!("{}: closing the index: {e}", self.dir.display());
        }
    }
}
