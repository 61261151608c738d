//! Byte locks on `data` and on `index-lock`.
//!
//! The store's own locks belong to an open file (`F_OFD_SETLK`): no other code of the process can drop them. They are on
//! bytes far beyond the end of the file, which need not exist. LMDB's locks on `index-lock` belong to the process
//! (`F_SETLK`), and are dropped as soon as the process closes *any* descriptor of that file. LMDB then takes the process
//! for dead: it clears its readers, or all of the table. So LMDB's locks are taken again before every transaction, and the
//! store's locks, which alone say that a process lives, are checked before LMDB may decide.
//!
//! Clients are told apart by numbers from `clients`, not by process numbers: those repeat across PID namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use bigarray_process::Unshared;
use nix::fcntl::{FcntlArg, FlockArg, fcntl};
use nix::libc::{self, c_int};

use crate::calls::uninterrupted;

const BASE: i64 = 1 << 62;
/// Opening or closing: exclusive; shared for readers that cannot open `data` to write.
pub(crate) const OPENING: i64 = BASE;
/// The database is open, with LMDB's lock table: shared. Held only while byte 0 of `index-lock` is.
pub(crate) const LIVE: i64 = BASE + 1;
/// The database is open for writing: shared.
pub(crate) const WRITER: i64 = BASE + 2;
/// The database is open for reading, without a lock table: shared. No process may write meanwhile.
pub(crate) const LOCKLESS: i64 = BASE + 3;
/// The commit lock: exclusive.
pub(crate) const COMMIT_LOCK: i64 = BASE + 4;

/// On `index-lock`: taking or clearing a place in the reader table, beginning to write, opening or closing LMDB: exclusive.
pub(crate) const TABLE_GATE: i64 = BASE;
/// On `index-lock`: LMDB's write transaction: exclusive.
pub(crate) const WRITING: i64 = BASE + 1;

/// On `index-lock`: the client of that number, which has the database open with LMDB's lock table: exclusive.
fn client_byte(number: u32) -> i64 {
    BASE + (1 << 33) + i64::from(number)
}

/// The byte of `index-lock` that LMDB locks while it uses the table: shared; exclusive while it initializes the table.
const TABLE: i64 = 0;

fn byte(kind: c_int, at: i64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: at,
        l_len: 1,
        l_pid: 0,
    }
}

/// Takes, awaits or releases a lock, as `arg` says.
fn set(file: impl AsFd, lock: &libc::flock, arg: fn(&libc::flock) -> FcntlArg<'_>) -> io::Result<()> {
    Ok(uninterrupted(|| fcntl(&file, arg(lock))).map(drop)?)
}

/// The lock that another holder has and that excludes `lock`, found as `arg` says.
fn find(
    file: impl AsFd,
    mut lock: libc::flock,
    arg: fn(&mut libc::flock) -> FcntlArg<'_>,
) -> io::Result<Option<libc::flock>> {
    fcntl(file, arg(&mut lock))?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock))
}

/// A lock of an open file that may have to be waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    /// An exclusive lock of a byte; the file must be open for writing.
    Exclusive(i64),
    /// A shared lock of a byte.
    Shared(i64),
    /// `flock` of a directory, which cannot be opened for writing.
    Directory,
}

impl Lock {
    /// Takes it if it is free.
    pub(crate) fn take(self, file: &File) -> io::Result<bool> {
        let taken = match self.of_byte(false) {
            Some(lock) => set(file, &lock, |l| FcntlArg::F_OFD_SETLK(l)),
            None => directory(file, FlockArg::LockExclusiveNonblock),
        };
        match taken {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            taken => taken.map(|()| true),
        }
    }

    /// Waits for it in the kernel.
    pub(crate) fn wait(self, file: &File) -> io::Result<()> {
        match self.of_byte(false) {
            Some(lock) => set(file, &lock, |l| FcntlArg::F_OFD_SETLKW(l)),
            None => directory(file, FlockArg::LockExclusive),
        }
    }

    /// Releases it, for every process that shares the open file.
    pub(crate) fn release(self, file: &File) -> io::Result<()> {
        match self.of_byte(true) {
            Some(lock) => set(file, &lock, |l| FcntlArg::F_OFD_SETLK(l)),
            None => directory(file, FlockArg::Unlock),
        }
    }

    /// Whether a lock that `/proc` describes so conflicts with this one.
    pub(crate) fn conflicts_with(self, kind: &str, access: &str, start: &str) -> bool {
        match self {
            Lock::Exclusive(at) => kind == "OFDLCK" && start.parse() == Ok(at),
            Lock::Shared(at) => kind == "OFDLCK" && start.parse() == Ok(at) && access == "WRITE",
            Lock::Directory => kind == "FLOCK",
        }
    }

    fn of_byte(self, unlock: bool) -> Option<libc::flock> {
        let (kind, at) = match self {
            Lock::Exclusive(at) => (libc::F_WRLCK, at),
            Lock::Shared(at) => (libc::F_RDLCK, at),
            Lock::Directory => return None,
        };
        Some(byte(if unlock { libc::F_UNLCK } else { kind }, at))
    }
}

/// `flock` of a directory.
#[allow(deprecated, reason = "its successor owns the file, which is in an `Unshared` here")]
fn directory(file: &File, arg: FlockArg) -> io::Result<()> {
    Ok(uninterrupted(|| nix::fcntl::flock(file.as_raw_fd(), arg))?)
}

/// Takes a shared lock of a byte that no process ever locks exclusively.
pub(crate) fn share(data: &File, at: i64) -> io::Result<()> {
    set(data, &byte(libc::F_RDLCK, at), |l| FcntlArg::F_OFD_SETLK(l))
}

/// Releases a lock, for every process that shares the open file.
pub(crate) fn unlock(data: &File, at: i64) -> io::Result<()> {
    set(data, &byte(libc::F_UNLCK, at), |l| FcntlArg::F_OFD_SETLK(l))
}

/// Whether another open file holds a lock of that byte.
pub(crate) fn is_held(data: &File, at: i64) -> io::Result<bool> {
    Ok(find(data, byte(libc::F_WRLCK, at), |l| FcntlArg::F_OFD_GETLK(l))?.is_some())
}

/// `index-lock`, opened beside LMDB. It is closed only after LMDB's environment: closing it drops LMDB's locks.
pub(crate) struct LockTable(pub(crate) Unshared<File>);

impl LockTable {
    /// Takes LMDB's locks of an open environment again, for this process. Costs two system calls.
    pub(crate) fn relock(&self, number: u32) -> io::Result<()> {
        set(&*self.0, &byte(libc::F_RDLCK, TABLE), |l| FcntlArg::F_SETLK(l))?;
        set(&*self.0, &byte(libc::F_WRLCK, i64::from(number)), |l| FcntlArg::F_SETLK(l))
    }

    /// The number of the process of another program that has locked the whole table: LMDB would wait for it. 0 if the
    /// process is not visible in this PID namespace.
    pub(crate) fn locked_by(&self) -> io::Result<Option<u32>> {
        let found = find(&*self.0, byte(libc::F_RDLCK, TABLE), |l| FcntlArg::F_GETLK(l))?;
        Ok(found.map(|lock| lock.l_pid.try_into().unwrap_or(0)))
    }

    /// The lock that the client of that number holds while it lives.
    pub(crate) fn client(number: u32) -> Lock {
        Lock::Exclusive(client_byte(number))
    }

    /// Takes a client's number. Returns `false` if another client has it.
    pub(crate) fn take_number(&self, number: u32) -> io::Result<bool> {
        LockTable::client(number).take(&self.0)
    }

    /// Releases a number. LMDB must have closed, so that no reader is left under it.
    pub(crate) fn give_number(&self, number: u32) -> io::Result<()> {
        LockTable::client(number).release(&self.0)
    }

    /// Whether another client has that number, and so lives.
    pub(crate) fn is_client(&self, number: u32) -> io::Result<bool> {
        is_held(&self.0, client_byte(number))
    }

    /// Whether another process uses the table.
    pub(crate) fn is_used(&self) -> io::Result<bool> {
        self.is_held(TABLE)
    }

    /// Whether LMDB takes another client of that number for alive.
    pub(crate) fn is_alive(&self, number: u32) -> io::Result<bool> {
        self.is_held(i64::from(number))
    }

    fn is_held(&self, at: i64) -> io::Result<bool> {
        Ok(find(&*self.0, byte(libc::F_WRLCK, at), |l| FcntlArg::F_GETLK(l))?.is_some())
    }
}
