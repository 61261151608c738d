//! The identity of processes. A client is an environment that is open with LMDB's lock table, one a process and directory.
//!
//! No two clients have one number at a time, also across PID namespaces. A client has its number as long as it holds the
//! lock of that number, which the kernel releases when the process ends: a client that holds it lives, and one that does
//! not is dead.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bigarray_core::{Error, ErrorKind, Result};

use super::byte_locks::LockTable;
use crate::alloc::Owner;

/// The first number of writers, and of readers. All are above any process number (`PID_MAX_LIMIT`, 2²²). Claims are under
/// numbers of writers, so no reader is taken for the dead owner of a claim.
const WRITERS: u32 = 1 << 22;
const READERS: u32 = 1 << 23;
/// More clients than any machine has.
const MOST: u32 = 1 << 22;

/// A client, told apart from every client that had its number before or will have it.
///
/// Other clients see by the lock of its number that it lives: that lock alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) number: u32,
    /// Of this opening: random.
    token: u64,
}

impl Client {
    /// A client without a number, which claims nothing.
    pub(crate) const NONE: Client = Client { number: 0, token: 0 };

    /// The client that has just taken `number`.
    pub(crate) fn new(number: u32) -> Client {
        Client { number, token: RandomState::new().hash_one((process::id(), Instant::now())) }
    }

    /// An owner of a claim that no other transaction has.
    pub(crate) fn new_owner(&self) -> Owner {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        Owner { client: self.number, token: self.token, serial: SERIAL.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether the client of `owner` lives. `lives` says whether the client of another number does.
    pub(crate) fn sees_alive(&self, owner: &Owner, lives: &mut dyn FnMut(u32) -> Result<bool>) -> Result<bool> {
        match owner.client == self.number {
            // Otherwise it is of an earlier client of this number.
            true => Ok(owner.token == self.token),
            false => lives(owner.client),
        }
    }
}

/// Takes a number that no other client has, and that is not `in_use` by a reader in LMDB's reader table.
pub(super) fn take_number(
    table: &LockTable,
    dir: &Path,
    read_only: bool,
    in_use: impl Fn() -> Result<Vec<u32>>,
) -> Result<u32> {
    let failed = |e: io::Error| Error::io(format_args!("{}: taking a number", dir.display()), e);
    let first = if read_only { READERS } else { WRITERS };
    for number in first..first + MOST {
        if !table.take_number(number).map_err(failed)? {
            continue;
        }
        // A dead client may have left readers under it. No new ones come: the number is taken.
        if !in_use()?.contains(&number) {
            return Ok(number);
        }
        table.give_number(number).map_err(failed)?;
    }
    Err(Error::new(ErrorKind::InUse, format!("{}: {MOST} processes have it open", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_owners_are_equal_nor_two_clients_of_one_number() {
        let client = Client::new(7);
        assert_ne!(client.new_owner(), client.new_owner());
        assert_ne!(client, Client::new(7));
    }

    #[test]
    fn the_lock_alone_tells_whether_an_owner_lives() {
        let (me, other) = (Client::new(7), Client::new(8));
        for locked in [true, false] {
            let lives = &mut |number| {
                assert_eq!(number, 8);
                Ok(locked)
            };
            assert_eq!(me.sees_alive(&other.new_owner(), lives).unwrap(), locked);
            // Of its own number this one is the only one that lives.
            assert!(me.sees_alive(&me.new_owner(), lives).unwrap());
            assert!(!me.sees_alive(&Client::new(7).new_owner(), lives).unwrap());
        }
    }

    #[test]
    fn a_failing_lock_test_sweeps_nothing() {
        let fails = &mut |_| Err(Error::new(ErrorKind::Io, "no lock file"));
        assert!(Client::new(7).sees_alive(&Client::new(8).new_owner(), fails).is_err());
    }
}
