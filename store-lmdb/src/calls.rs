//! System calls that a signal may interrupt. The program may handle signals without `SA_RESTART`: an interrupted call is
//! repeated, and only here. Calls that the standard library repeats itself (opening, reading, writing, lengthening and
//! syncing a `File`) are made directly.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Smallest piece of a `fallocate` that was interrupted. It goes on in pieces because tmpfs undoes all of an interrupted
/// call, so that a large one might never end.
const LEAST_PIECE: i64 = 64 << 10;

/// Repeats `call` until no signal interrupts it.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// `fallocate` of `bytes` bytes from `start` on. After an error a part may be allocated.
pub(crate) fn allocate(file: impl AsFd, flags: FallocateFlags, mut start: i64, bytes: i64) -> nix::Result<()> {
    let end = start.saturating_add(bytes);
    let mut piece = bytes;
    while start < end {
        let now = piece.min(end - start);
        match fallocate(&file, flags, start, now) {
            Ok(()) => start += now,
            Err(Errno::EINTR) => piece = (now / 2).max(LEAST_PIECE),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_repeated_and_other_errors_are_returned() {
        let mut answers = [Err(Errno::EINTR), Err(Errno::EINTR), Ok(7), Err(Errno::EIO)].into_iter();
        assert_eq!(uninterrupted(|| answers.next().unwrap()), Ok(7));
        assert_eq!(uninterrupted(|| answers.next().unwrap()), Err(Errno::EIO));
    }
}
