//! How a database is to be opened.

use std::path::PathBuf;

/// How a database is to be opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its directory.
    pub path: PathBuf,
    /// Create it if it is absent.
    pub create: bool,
    /// Only read.
    pub read_only: bool,
    /// Address space for the index.
    pub map_size: Option<usize>,
}
