//! The file of the index that LMDB has open.

use std::os::fd::BorrowedFd;

use lmdb::Environment;
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::calls::uninterrupted;
use crate::locks::files::FileId;

/// The id of the file.
pub(super) fn file_id(env: &Environment) -> nix::Result<FileId> {
    let file = file_of(env)?;
    Ok(FileId::from(&uninterrupted(|| fstat(file))?))
}

/// The length of the file.
pub(super) fn bytes(env: &Environment) -> nix::Result<u64> {
    let file = file_of(env)?;
    Ok(uninterrupted(|| fstat(file))?.st_size as u64)
}

/// LMDB's descriptor of the file.
pub(super) fn file_of(env: &Environment) -> nix::Result<BorrowedFd<'_>> {
    let mut fd = -1;
    // SAFETY: the environment is open, and `fd` lives as long as the call.
    match unsafe { lmdb_sys::mdb_env_get_fd(env.env(), &mut fd) } {
        lmdb_sys::MDB_SUCCESS => {}
        _ => return Err(Errno::EBADF),
    }
    // SAFETY: the environment keeps the descriptor open, and lives as long as the borrow.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
