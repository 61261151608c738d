//! System calls that a signal may interrupt. A program may have signals without `SA_RESTART`: they mean nothing to us, so
//! whatever they interrupt is done again, here and nowhere else. What the standard library does again by itself
//! (opening, reading, writing, lengthening and syncing a `File`) is called directly.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// A `fallocate` that was interrupted goes on in pieces, down to this size: tmpfs undoes all of an interrupted call, so
/// that a large one might never come to its end.
const LEAST_PIECE: i64 = 64 << 10;

/// Calls until no signal interrupts the call.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

/// `fallocate` of `bytes` bytes from `start` on. After an error part of it may be done.
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
    fn what_a_signal_interrupts_is_called_again_and_other_errors_are_told() {
        let mut answers = [Err(Errno::EINTR), Err(Errno::EINTR), Ok(7), Err(Errno::EIO)].into_iter();
        assert_eq!(uninterrupted(|| answers.next().unwrap()), Ok(7));
        assert_eq!(uninterrupted(|| answers.next().unwrap()), Err(Errno::EIO));
    }
}
