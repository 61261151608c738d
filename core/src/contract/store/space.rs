//! What the files of a database are used for.

/// What the files of a database are used for, in bytes, when it was asked.
///
/// The data file is made of the first four, and of a header of one page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Space {
    /// Elements of the newest state, as they are stored.
    pub live_bytes: u64,
    /// Free for the next commits.
    pub free_bytes: u64,
    /// Of older states only: free once no snapshot and no transaction needs them, and two commits later.
    pub pinned_bytes: u64,
    /// Of transactions under way, of all processes, which write there before they commit.
    pub spilled_bytes: u64,
    /// The length of the data file. It may have holes, and take less of the disk.
    pub data_bytes: u64,
    /// The length of the index.
    pub index_bytes: u64,
    /// The oldest state that a snapshot or a transaction sees; `None` if there is none but of the newest state, or it is not
    /// known.
    pub oldest_snapshot: Option<OldestSnapshot>,
}

/// The oldest state that a snapshot or a transaction sees, of whatever process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldestSnapshot {
    /// How many commits of any process made the newest state of it, at most: a large one counts twice, since it claims room
    /// before.
    pub commits_behind: u64,
    /// The process that sees it, in words: its number and its program.
    pub process: String,
}

impl OldestSnapshot {
    /// That `process` is so many commits behind.
    pub fn new(commits_behind: u64, process: impl Into<String>) -> OldestSnapshot {
        OldestSnapshot { commits_behind, process: process.into() }
    }
}
