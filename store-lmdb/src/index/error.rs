//! LMDB's errors, as a caller can act on them.

use std::fmt::Display;
use std::io;
use std::path::Path;

use bigarray_core::{Error, ErrorKind};
use lmdb::Environment;
use nix::errno::Errno;

use super::room;

/// Whether `error` says that the index has no room left. It can grow once no snapshot of this process lives.
pub fn is_index_full(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    matches!(source, Some(lmdb::Error::MapFull))
}

/// Turns `error`, met while doing `what` to the index in `dir`, into one a program can act on.
pub(crate) fn lmdb_error(dir: &Path, what: impl Display, error: lmdb::Error) -> Error {
    let of = |kind, hint: &str| {
        Error::new(kind, format!("{what} in the index of {}: {error}{hint}", dir.display())).with_source(error)
    };
    match error {
        lmdb::Error::MapFull => of(ErrorKind::StoreFull, "; open the database with a larger map_size"),
        lmdb::Error::ReadersFull => of(ErrorKind::InUse, "; too many snapshots live, in all processes together"),
        lmdb::Error::TxnFull => of(ErrorKind::TooLarge, "; commit less at a time"),
        lmdb::Error::MapResized => of(
            ErrorKind::InUse,
            "; another process enlarged the index, which can be adopted only when no snapshot of this process lives: drop \
             them and try again",
        ),
        lmdb::Error::Corrupted | lmdb::Error::PageNotFound | lmdb::Error::Invalid => of(ErrorKind::Corrupt, ""),
        lmdb::Error::VersionMismatch | lmdb::Error::Incompatible => {
            of(ErrorKind::Unsupported, "; another version of LMDB wrote it")
        }
        lmdb::Error::Panic => of(ErrorKind::Io, "; a write to it failed earlier: open the database again"),
        lmdb::Error::Other(errno) => {
            Error::io(format!("{what} in the index of {}", dir.display()), io::Error::from_raw_os_error(errno))
        }
        _ => of(ErrorKind::Io, ""),
    }
}

/// As [`lmdb_error`], for writes to the index. LMDB reports a write that stopped half-way as `EIO`, also on a full disk: if
/// there is no room, this turns it into `ENOSPC`. LMDB writes its meta page last, and refuses everything if that fails, so
/// a failure before it leaves the index as it was.
///
/// `reserved`: end of the allocated part of the index file, in bytes.
pub(super) fn write_error(
    env: &Environment,
    reserved: u64,
    dir: &Path,
    what: impl Display,
    error: lmdb::Error,
) -> Error {
    let is_full =
        matches!(error, lmdb::Error::Other(errno) if errno == Errno::EIO as i32) && !room::is_left(env, reserved);
    lmdb_error(dir, what, if is_full { lmdb::Error::Other(Errno::ENOSPC as i32) } else { error })
}
