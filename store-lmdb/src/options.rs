//! Options for opening a database.

use std::path::PathBuf;
use std::time::Duration;

/// Options for opening a database. A process that opens a directory again shares the open database: then `map_size` has no
/// effect, and `durability` must be the same.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory.
    pub path: PathBuf,
    /// Create it if it is absent. Its parent must exist.
    pub create: bool,
    /// Open it for reading only. It is not created then.
    pub read_only: bool,
    /// Bytes of address space for the index, up to which it can grow while it is open; by default 1 TiB, or less where a
    /// limit forbids that.
    pub map_size: Option<usize>,
    /// Which commits survive a power loss.
    pub durability: Durability,
    /// Open it on a network file system too: the caller knows that locks and mappings work there.
    pub allow_network_fs: bool,
    /// Limit of a wait for another process, to open, to create or to commit; past it the call fails with
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse). By default there is no limit; a warning event reports a long
    /// wait. Of several openings in one process the shortest limit counts.
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

/// Which commits survive a power loss or a crash of the system. A process that is killed loses nothing at any level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// Every commit that returned.
    #[default]
    Full,
    /// The database, but the last commit may be lost.
    LastCommitMayBeLost,
    /// Possibly nothing: commits do not wait for the disk. All processes that write to the database must use the same level.
    /// If the system goes down meanwhile, the next opening checks the whole database, and refuses it if it is damaged.
    NoPowerLossSafety,
}
