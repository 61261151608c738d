//! Opening a database. The steps are numbered as in "Processes" of docs/format.md.

mod creation;
mod registry;

use std::sync::Arc;

use bigarray_core::Result;
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

use crate::alloc::CHUNK;
use crate::check::{Structure, check};
use crate::data::Data;
use crate::dead_readers;
use crate::durability;
use crate::index::{Env, Gates, ReadTxn};
use crate::locks::OpenLocks;
use crate::locks::files::{Directory, INDEX};
use crate::options::Options;
use crate::record::Meta;
use crate::shared::Shared;
use crate::space::sweep_at_opening;
use registry::Found;

/// Why a check was needed.
const UNSAFE_CRASH: &str = "the system went down while it was written to without power-loss safety";

/// Opens a database, creates it, or finds it open in this process.
pub(crate) fn open(options: &Options) -> Result<Arc<Shared>> {
    // (1) The directory, found or made.
    let dir = Directory::find_or_make(options)?;
    // (2) One environment a directory and process.
    let reservation = match registry::find(&dir, options.wait_timeout)? {
        Found::Open(shared) => {
            check_compatible(&shared, options)?;
            return Ok(shared);
        }
        Found::Reserved(reservation) => reservation,
    };
    // (3) Its files.
    creation::complete(&dir, options)?;
    // (4) One opening at a time, and only beside processes that can be protected. For a writer, overlayfs has copied up
    // each file from here on.
    let mut locks = OpenLocks::new(dir, options, reservation)?;
    let writable = if options.read_only { None } else { Some(locks.files.open_data(OFlag::O_RDWR)?) };
    let read_only = locks.files.open_data(OFlag::O_RDONLY)?;
    let data = Data::new(read_only, writable, &options.path, options.durability.syncs_data());
    // (5) The index: sound enough for LMDB to open it. From here on other processes see that the database is open.
    let crashed = examine_index(&locks)?;
    let env = open_index(&locks, options)?;
    let in_use = || Ok(env.readers()?.numbers());
    if let Some(number) = locks.take_client(in_use)? {
        env.set_number(number)?;
    }
    locks.publish()?;
    // (6) Its format; the data file is of the same database and long enough; and everything, if it may have suffered.
    let shared = Arc::new(Shared::new(env, data, locks, options)?);
    let (id, end) = {
        let txn = ReadTxn::begin(&shared.index)?;
        (txn.tables().id()?, txn.tables().meta(Meta::CHUNKS_END)?)
    };
    shared.data.check_length(end.saturating_mul(CHUNK))?;
    shared.data.check_header(id)?;
    if crashed {
        check(&shared.index, &shared.data, true)
            .map_err(|e| e.context(format_args!("{}: {UNSAFE_CRASH}", options.path.display())))?;
    }
    // (7) Readers of dead processes are cleared, durability is negotiated, and claims of dead writers are released.
    dead_readers::clear_at_opening(&shared.locks, &shared.index)?;
    if !options.read_only {
        negotiate_durability(&shared)?;
        if let Err(e) = sweep_at_opening(&shared) {
            // Write transactions go on with it.
            let path = options.path.display();
            tracing::warn!("{path}: what ended processes spilled is not given back yet: {e}");
        }
    }
    // (8) Others may open it, in this process too.
    registry::publish(&shared.locks.reservation, &shared);
    shared.opened()?;
    Ok(shared)
}

/// Refuses a caller that cannot share the database that this process has open.
fn check_compatible(shared: &Shared, options: &Options) -> Result<()> {
    let locks = &shared.locks;
    if locks.read_only && !options.read_only {
        return Err(locks.in_use("this process has it open read-only; drop that, with all its snapshots, to write"));
    }
    if !options.read_only && shared.durability != options.durability {
        return Err(locks.in_use(&format!(
            "this process has it open with durability {:?}, so it cannot be opened with {:?}",
            shared.durability, options.durability
        )));
    }
    locks.limit.shorten(options.wait_timeout);
    Ok(())
}

/// Checks the index before LMDB opens it, which would trust it, if no process writes to it. Returns whether the whole
/// database has to be checked: the system went down while it was written to without syncing.
///
/// # Errors
/// [`ErrorKind::Corrupt`](bigarray_core::ErrorKind::Corrupt) if LMDB could not open it safely.
fn examine_index(locks: &OpenLocks) -> Result<bool> {
    if locks.others_write()? {
        return Ok(false);
    }
    let path = locks.files.dir.path.join(INDEX);
    let index = Structure::read(locks.files.open_file(INDEX, OFlag::O_RDONLY)?, &path)?;
    let crashed = durability::needs_check(&locks.files.dir)?;
    if crashed {
        index.check().map_err(|e| e.context(UNSAFE_CRASH))?;
    } else if index.is_short() {
        index.check()?;
    }
    Ok(crashed)
}

/// Opens LMDB.
///
/// # Errors
/// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) if another program keeps its lock table locked.
fn open_index(locks: &OpenLocks, options: &Options) -> Result<Env> {
    locks.wait_for_table()?;
    let mut flags = Env::FLAGS | options.durability.flags();
    flags.set(EnvironmentFlags::READ_ONLY, options.read_only);
    flags.set(EnvironmentFlags::NO_LOCK, locks.files.table.is_none());
    let dir = &locks.files.dir;
    let gates = |table| Gates::new(&dir.path, || locks.files.reopen_table(table), &locks.limit);
    let gates = locks.files.table.as_ref().map(gates).transpose()?;
    Env::open(dir, INDEX, flags, options.map_size, gates)
}

/// Negotiates durability with the other writers.
fn negotiate_durability(shared: &Shared) -> Result<()> {
    let (locks, index) = (&shared.locks, &shared.index);
    let others_write = locks.others_write()?;
    if !others_write {
        durability::lengthen_index(&locks.files.dir, index)?;
    }
    creation::sync_new(&locks.files.dir, index.newest()?)?;
    durability::negotiate(locks, index, shared.durability, others_write)
}
