//! The id that both files of a database have.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};

/// The id of a database: random, made when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseId(pub(crate) [u8; 16]);

impl DatabaseId {
    /// An id that no other database has.
    pub(crate) fn random() -> io::Result<DatabaseId> {
        // Not std's random keys: two children of one process may have the same.
        let mut id = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut id)?;
        Ok(DatabaseId(id))
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
