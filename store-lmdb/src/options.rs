//! How a database is to be opened.

use std::path::PathBuf;
use std::time::Duration;

/// How a database is to be opened. A process that opens a directory again shares what is open: then `map_size` is not
/// looked at, and `durability` must be the same.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory.
    pub path: PathBuf,
    /// Create it if it is absent. Its parent must exist.
    pub create: bool,
    /// Only read. Never creates.
    pub read_only: bool,
    /// Bytes of address space for the index, which is as large as it can grow while it is open; by default 1 TiB, or
    /// what a limit leaves of it.
    pub map_size: Option<usize>,
    /// What survives a power loss.
    pub durability: Durability,
    /// Open it though it lies on a network file system: the caller knows that locks and mappings work there.
    pub allow_network_fs: bool,
    /// How long to wait for what another process holds, at most: the right to open, to create and to commit; past it is
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse). As long as it takes by default, with a warning event now and
    /// then. Of several openings in one process the shortest counts.
    pub wait_timeout: Option<Duration>,
}

impl Options {
    /// Opens `path` for reading and writing, creates it if it is absent, and loses nothing that was committed.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options {
            path: path.into(),
            create: true,
            read_only: false,
            map_size: None,
            durability: Durability::Full,
            allow_network_fs: false,
            wait_timeout: None,
        }
    }
}

/// What survives a power loss or a crash of the system. A process that is killed loses nothing at any level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Every commit that returned.
    #[default]
    Full,
    /// The database, but perhaps not its last commit.
    LastCommitMayBeLost,
    /// Perhaps nothing: commits wait for no disk. All processes that write to the database must agree. If the system
    /// went down meanwhile, the next opening checks all of the database first, and refuses it if it is damaged.
    NoPowerLossSafety,
}
