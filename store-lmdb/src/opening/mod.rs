//! Opening a database.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use bigarray_core::{Error, Result};
use lmdb::{Environment, EnvironmentFlags};

use crate::index::open_environment;
use crate::options::Options;
use crate::shared::Shared;

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

/// What must be kept while the database is open.
pub(crate) struct Guards;

/// Opens, or finds the database open in this process.
pub(crate) fn open(options: &Options) -> Result<Arc<Shared>> {
    let io = |e| Error::io(format!("opening {}", options.path.display()), e);
    fs::create_dir_all(&options.path).map_err(io)?;
    let data = options.path.join("data");
    let data_rw = File::options().create(true).truncate(false).read(true).write(true).open(&data).map_err(io)?;
    let data_ro = File::open(&data).map_err(io)?;
    let flags = EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::NO_TLS | EnvironmentFlags::NO_READAHEAD;
    let env = open_environment(&options.path.join("index"), flags, options.map_size, 0o644)?;
    let opened = Opened {
        env,
        data_rw: Some(data_rw),
        data_ro,
        dir: options.path.clone(),
        explicit_map_size: options.map_size.is_some(),
        guards: Guards,
    };
    Ok(Arc::new(Shared::new(opened)?))
}
