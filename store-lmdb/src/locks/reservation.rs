//! The right of one environment of this process to a directory. LMDB forbids a second one: closing either would drop the
//! locks of both.

use bigarray_process::Origin;

use super::files::FileId;

/// A reserved directory, until dropped.
pub(crate) struct Reservation {
    pub(crate) dir: FileId,
    release: fn(FileId),
    origin: Origin,
}

impl Reservation {
    /// Reserves the directory `dir`. Dropping it calls `release`, except in a forked child, which reserved nothing.
    pub(crate) fn new(dir: FileId, release: fn(FileId)) -> Reservation {
        Reservation { dir, release, origin: Origin::here() }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.origin.is_here() {
            (self.release)(self.dir);
        }
    }
}
