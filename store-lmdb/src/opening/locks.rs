//! Byte locks on `data` and on `index-lock`.
//!
//! On `data` they belong to an open file (`F_OFD_SETLK`): nothing else in the process can lose them. They lie far
//! beyond any payload, so the bytes need not exist. On `index-lock` LMDB's own belong to the process (`F_SETLK`), and
//! are lost as soon as the process closes *any* descriptor of that file, whoever opened it. LMDB then takes the process
//! for dead: it clears its readers, or all of the table. So the same locks are taken again at every begin, and what
//! only `data` can tell, that somebody lives, is asked before LMDB may decide.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, c_int};

const BASE: i64 = 1 << 62;
/// Opening or closing: exclusive; shared by readers who cannot write to `data`.
pub(crate) const OPENING: i64 = BASE;
/// Open, with LMDB's lock table: shared. Held only while byte 0 of `index-lock` is.
pub(crate) const LIVE: i64 = BASE + 1;
/// Open for writing: shared.
pub(crate) const WRITER: i64 = BASE + 2;
/// Open for reading without a lock table: shared. Nobody may write meanwhile.
pub(crate) const LOCKLESS: i64 = BASE + 3;
/// The turn to commit: exclusive.
pub(crate) const TURN: i64 = BASE + 4;

/// Open, with LMDB's lock table, in the process of that number.
pub(crate) fn process_byte(pid: u32) -> i64 {
    BASE + (1 << 33) + i64::from(pid)
}

/// Where LMDB locks `index-lock` for all who use the table: shared, exclusive while it is made.
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

/// Calls `fcntl` until no signal interrupts it.
fn uninterrupted(file: impl AsFd, lock: &libc::flock, arg: fn(&libc::flock) -> FcntlArg<'_>) -> io::Result<()> {
    loop {
        match fcntl(&file, arg(lock)) {
            Err(Errno::EINTR) => {}
            done => return done.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// Waits for an exclusive lock; the file must be open for writing.
pub(crate) fn wait_exclusive(data: &File, at: i64) -> io::Result<()> {
    uninterrupted(data, &byte(libc::F_WRLCK, at), |l| FcntlArg::F_OFD_SETLKW(l))
}

/// Waits for a shared lock.
pub(crate) fn wait_shared(data: &File, at: i64) -> io::Result<()> {
    uninterrupted(data, &byte(libc::F_RDLCK, at), |l| FcntlArg::F_OFD_SETLKW(l))
}

/// Takes a shared lock that nobody ever holds exclusively.
pub(crate) fn share(data: &File, at: i64) -> io::Result<()> {
    uninterrupted(data, &byte(libc::F_RDLCK, at), |l| FcntlArg::F_OFD_SETLK(l))
}

/// Gives a lock back, for everyone who shares the open file.
pub(crate) fn unlock(data: &File, at: i64) -> io::Result<()> {
    uninterrupted(data, &byte(libc::F_UNLCK, at), |l| FcntlArg::F_OFD_SETLK(l))
}

/// Whether another open file holds a lock there.
pub(crate) fn is_held(data: &File, at: i64) -> io::Result<bool> {
    let mut lock = byte(libc::F_WRLCK, at);
    fcntl(data, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// `index-lock`, opened beside LMDB. Closed only when LMDB has closed its environment: closing it drops its locks too.
pub(crate) struct LockTable(pub(crate) File);

impl LockTable {
    /// Takes again, for this process, what LMDB holds while the environment is open. Costs two system calls.
    pub(crate) fn relock(&self, pid: u32) -> io::Result<()> {
        uninterrupted(&self.0, &byte(libc::F_RDLCK, TABLE), |l| FcntlArg::F_SETLK(l))?;
        uninterrupted(&self.0, &byte(libc::F_WRLCK, i64::from(pid)), |l| FcntlArg::F_SETLK(l))
    }

    /// Whether another process uses the table.
    pub(crate) fn is_used(&self) -> io::Result<bool> {
        self.is_held(TABLE)
    }

    /// Whether LMDB takes another process of that number for alive.
    pub(crate) fn is_alive(&self, pid: u32) -> io::Result<bool> {
        self.is_held(i64::from(pid))
    }

    fn is_held(&self, at: i64) -> io::Result<bool> {
        let mut lock = byte(libc::F_WRLCK, at);
        fcntl(&self.0, FcntlArg::F_GETLK(&mut lock))?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }
}
