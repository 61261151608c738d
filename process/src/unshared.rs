//! Descriptors that a forked child does not inherit, since the child would keep the locks of the open file.

use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};

use crate::handlers::{self, Slot};

/// A descriptor that children of `fork` lose: their copy becomes one of an empty file.
///
/// What the kernel ties to an open file (locks by `F_OFD_SETLK` and `flock`, a userfaultfd) lives as long as the last
/// descriptor of it, those of children included. Lost in the child, it is free when the process that opened it is
/// killed. A child made by `clone` itself, past the C library, keeps it.
///
/// Locks are to be given back before it is dropped: a child forked just between the two may have it.
pub struct Unshared<T: AsFd> {
    slot: &'static Slot,
    // Last: the number is not registered any more when it is closed.
    file: T,
}

impl<T: AsFd> Unshared<T> {
    /// What `open` opens. It is called again if another thread forks meanwhile.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn open<E>(mut open: impl FnMut() -> Result<T, E>) -> Result<Unshared<T>, E> {
        loop {
            let forks = handlers::forks();
            let file = open()?;
            let unshared = Unshared { slot: handlers::register(file.as_fd().as_raw_fd()), file };
            if forks == handlers::forks() {
                return Ok(unshared);
            }
        }
    }
}

impl<T: AsFd> Deref for Unshared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.file
    }
}

impl<T: AsFd> Drop for Unshared<T> {
    fn drop(&mut self) {
        self.slot.release();
    }
}
