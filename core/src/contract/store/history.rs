//! What a store keeps of its past.

use std::sync::Arc;
use std::time::SystemTime;

use super::Snapshot;
use crate::descriptor::Version;
use crate::error::Result;

/// A commit that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What the store calls it.
    pub id: String,
    /// The number of the state that it made.
    pub version: Version,
    /// When it was made, by the clock of the machine that did.
    pub time: SystemTime,
    /// What was said of it; may be empty.
    pub message: String,
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
}
