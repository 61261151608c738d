//! Opening and closing a database (DESIGN §6, Locks).

mod creation;
mod files;
mod guards;
pub(crate) mod locks;
mod registry;

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::{Environment, EnvironmentFlags};

pub(crate) use guards::Guards;

use crate::alloc::CHUNK;
use crate::check::check;
use crate::durability;
use crate::index::{ReadTxn, open_environment};
use crate::options::Options;
use crate::record::Meta;
use crate::shared::Shared;
use files::{Directory, FILE_MODE, failed};
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
    pub(crate) env: Environment,
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
    let (device, inode) = dir.id()?;
    let reservation = match registry::find(device, inode) {
        Found::Open(shared) => {
            shared.guards.admit(options)?;
            return Ok(shared);
        }
        Found::Reserved(reservation) => reservation,
    };
    // (3) Its files.
    creation::complete(&dir, options)?;
    let path = dir.path.join(DATA);
    let data_ro = dir.open(DATA, OpenOptions::new().read(true)).map_err(|e| failed(&path, "opening it", e))?;
    let data_rw = match options.read_only {
        true => None,
        false => Some(
            dir.open(DATA, OpenOptions::new().read(true).write(true)).map_err(|e| failed(&path, "opening it to write", e))?,
        ),
    };
    // (4) One opening at a time, and only beside those who can be protected.
    let guards = Guards::new(dir, options, reservation)?;
    // (5) The index, no shorter than its last commit says; from here on others see that the database is open.
    let flags = flags() | guards.lmdb_flags();
    let env = open_environment(&options.path.join(INDEX), flags, options.map_size, FILE_MODE)?;
    let was_short = guards.lengthen_index(&env)?;
    guards.mark()?;
    // (6) Its format, and all that is in it where that may have suffered.
    let opened = Opened {
        env,
        data_rw,
        data_ro,
        dir: options.path.clone(),
        explicit_map_size: options.map_size.is_some(),
        guards,
    };
    let shared = Arc::new(Shared::new(opened)?);
    let end = ReadTxn::begin(&shared.index)?.tables().meta(Meta::CHUNKS_END)?.unwrap_or(0);
    shared.data.check_length(end.saturating_mul(CHUNK))?;
    let guards = &shared.guards;
    guards.clear_dead_readers(&shared.index)?;
    let others_write = guards.others_write()?;
    let crashed = !others_write && durability::needs_check(&shared.index)?;
    if let Err(e) = check_if(crashed || was_short.is_some(), &shared) {
        if let Some(length) = was_short {
            guards.set_index_len(length)?;
        }
        let why = match was_short {
            Some(length) => format!("its {INDEX} is cut off at byte {length}"),
            None => "the system went down while it was written to without power-loss safety".to_owned(),
        };
        return Err(Error::new(ErrorKind::Corrupt, format!("{}: {why}: {e}", options.path.display())).with_source(e));
    }
    // (7) What survives a power loss.
    if !options.read_only {
        guards.agree(&shared.index, others_write)?;
    }
    // (8) Others may open it, in this process too.
    registry::publish(&guards.reservation, &shared);
    guards.opened()?;
    Ok(shared)
}

/// Sees that all of the database is sound.
fn check_if(needed: bool, shared: &Arc<Shared>) -> Result<()> {
    if needed { check(&shared.index, &shared.data, true).map(drop) } else { Ok(()) }
}
