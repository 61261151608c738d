//! The right of one environment of this process to a directory. LMDB forbids a second one: closing either would drop the
//! locks of both.

use bigarray_process::Origin;

/// Device and inode of a directory.
pub(crate) type Key = (u64, u64);

/// A reserved directory, until dropped.
pub(crate) struct Reservation {
    key: Key,
    release: fn(Key),
    origin: Origin,
}

impl Reservation {
    /// Reserves the directory `key`. Dropping it calls `release`, except in a forked child, which reserved nothing.
    pub(crate) fn new(key: Key, release: fn(Key)) -> Reservation {
        Reservation { key, release, origin: Origin::here() }
    }

    /// The directory.
    pub(crate) fn key(&self) -> Key {
        self.key
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.origin.is_here() {
            (self.release)(self.key);
        }
    }
}
