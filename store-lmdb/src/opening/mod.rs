//! Opening and closing a database (DESIGN §6, Locks).

mod access;
mod clients;
mod creation;
pub(crate) mod exclusive;
pub(crate) mod files;
mod guards;
mod holders;
mod ioctls;
pub(crate) mod locks;
mod overlay;
mod registry;
pub(crate) mod table;
pub(crate) mod waiting;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use bigarray_core::Result;
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

pub(crate) use guards::Guards;

use crate::alloc::CHUNK;
use crate::check::check;
use crate::commit::sweep_at_opening;
use crate::index::{Env, ReadTxn};
use crate::options::Options;
use crate::record::Meta;
use crate::shared::Shared;
pub(crate) use files::Directory;
use registry::Found;

const INDEX: &str = "index";
/// What LMDB calls it.
const LOCK_TABLE: &str = "index-lock";
const DATA: &str = "data";

/// What every environment is opened with. `NO_TLS`: a snapshot may move between threads.
fn flags() -> EnvironmentFlags {
    EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::NO_TLS | EnvironmentFlags::NO_READAHEAD
}

/// What opening hands over.
pub(crate) struct Opened {
    /// The index, opened.
    pub(crate) env: Env,
    /// The data file for writing, unless read-only.
    pub(crate) data_rw: Option<File>,
    /// The data file for reading and mapping.
    pub(crate) data_ro: File,
    /// Where it is, for messages.
    pub(crate) dir: PathBuf,
    /// The caller chose the size of the map.
    pub(crate) explicit_map_size: bool,
    /// Kept until all of the above is closed.
    pub(crate) guards: Guards,
}

/// Opens a database, creates it, or finds it open in this process.
pub(crate) fn open(options: &Options) -> Result<Arc<Shared>> {
    // (1) The directory, by whatever path.
    let dir = Directory::find_or_make(options)?;
    // (2) One environment a directory and process.
    let reservation = match registry::find(&dir, options.wait_timeout)? {
        Found::Open(shared) => {
            shared.guards.admit(options)?;
            return Ok(shared);
        }
        Found::Reserved(reservation) => reservation,
    };
    // (3) Its files.
    creation::complete(&dir, options)?;
    // (4) One opening at a time, and only beside those who can be protected. To write: from here on each file is what it
    // is opened as, also on overlayfs.
    let mut guards = Guards::new(dir, options, reservation)?;
    let data_rw = if options.read_only { None } else { Some(guards.open_data(OFlag::O_RDWR)?) };
    let data_ro = guards.open_data(OFlag::O_RDONLY)?;
    // (5) The index: sound enough for LMDB to open it. From here on others see that the database is open.
    let crashed = guards.examine_index()?;
    let env = guards.open_index(flags(), options.map_size)?;
    guards.mark(&env)?;
    // (6) Its format, that the data are of the same database and as long as they should be, and all of it where it may
    // have suffered.
    let opened = Opened {
        env,
        data_rw,
        data_ro,
        dir: options.path.clone(),
        explicit_map_size: options.map_size.is_some(),
        guards,
    };
    let shared = Arc::new(Shared::new(opened)?);
    let (id, end) = {
        let txn = ReadTxn::begin(&shared.index)?;
        (txn.tables().id()?, txn.tables().meta(Meta::CHUNKS_END)?)
    };
    shared.data.check_length(end.saturating_mul(CHUNK))?;
    shared.data.check_header(id)?;
    if crashed {
        check(&shared.index, &shared.data, true)
            .map_err(|e| e.context(format_args!("{}: {}", options.path.display(), guards::UNSAFE_CRASH)))?;
    }
    // (7) Readers that were killed, what survives a power loss, and what writers that were killed had spilled.
    shared.guards.clear_dead_readers(&shared.index)?;
    shared.guards.agree(&shared.index)?;
    if !options.read_only
        && let Err(e) = sweep_at_opening(&shared)
    {
        // Write transactions go on with it.
        let path = options.path.display();
        tracing::warn!("{path}: what ended processes spilled is not given back yet: {e}");
    }
    // (8) Others may open it, in this process too.
    registry::publish(&shared.guards.reservation, &shared);
    shared.guards.opened()?;
    Ok(shared)
}
