//! Whether the disk has room for the index.

use lmdb::Environment;
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::sys::stat::fstat;
use nix::sys::statvfs::fstatvfs;

use super::PAGE_BYTES;
use super::file::file_of;
use crate::calls::allocate;

/// Bytes that LMDB writes at once: 64 pages. With less room, one of its writes may have stopped half-way.
const AT_ONCE: i64 = 64 * PAGE_BYTES as i64;

/// Whether as much as LMDB writes at once can be written behind the end of the index and behind `reserved`, the end of its
/// allocated part. True where it cannot be known.
///
/// The room is taken, and the index becomes longer: the next commit writes there. Bytes that another process writes there
/// meanwhile stay.
pub(super) fn is_left(env: &Environment, reserved: u64) -> bool {
    let Ok(file) = file_of(env) else { return true };
    let Ok(end) = fstat(file).map(|stat| stat.st_size.max(reserved as i64)) else { return true };
    match allocate(file, FallocateFlags::empty(), end, AT_ONCE) {
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) => false,
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
            fstatvfs(file).is_ok_and(|fs| fs.blocks_available().saturating_mul(fs.fragment_size()) >= AT_ONCE as u64)
        }
        Ok(()) | Err(_) => true,
    }
}
