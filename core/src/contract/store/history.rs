//! What a store keeps of its past.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Snapshot;
use crate::descriptor::Version;
use crate::error::{Error, ErrorKind, Result};

/// A commit that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// What the store calls it.
    pub id: String,
    /// The number of the state that it made.
    pub version: Version,
    /// When it was made, by the clock of the machine that made it.
    pub time: SystemTime,
    /// Its message; may be empty.
    pub message: String,
}

impl Commit {
    /// For stores: one that they remember, without a message.
    pub fn new(id: String, version: Version, time: SystemTime) -> Commit {
        Commit { id, version, time, message: String::new() }
    }
}

/// What compacting gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// States that were taken out of the log.
    pub states: u64,
    /// Objects that are deleted: chunks, metadata, copies of the log.
    pub objects: u64,
    /// Bytes that they had.
    pub bytes: u64,
}

/// Commits that a store remembers, and names for them.
pub trait History {
    /// The state that a commit made, found by its id or by a tag.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, or none any more.
    fn at(&self, commit: &str) -> Result<Arc<dyn Snapshot>>;

    /// The latest commits, `limit` at most, the newest first.
    ///
    /// # Errors
    /// What storage reports.
    fn log(&self, limit: usize) -> Result<Vec<Commit>>;

    /// Every tag, and the id of its commit, in order of tags.
    ///
    /// # Errors
    /// What storage reports.
    fn tags(&self) -> Result<Vec<(String, String)>>;

    /// Gives the newest commit a tag, which is kept with its state.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if another commit has that tag,
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name that no tag can have, and where the store is open for reading
    /// only.
    fn tag(&self, name: &str) -> Result<()>;

    /// Forgets the states older than `keep`, but for the newest and those with tags, and deletes what is as old and
    /// belongs to no state. `keep` must be longer than any transaction or snapshot lives, in all processes.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a store that keeps all it has; what storage reports. What was
    /// done before is done.
    fn compact(&self, keep: Duration) -> Result<Compacted> {
        Err(Error::new(ErrorKind::Unsupported, format!("this store forgets nothing that is older than {keep:?}")))
    }
}
