//! Room on disk for LMDB's lock table, the file `index-lock`. LMDB stores to it through a mapping, where a file system
//! without room answers with SIGBUS. So there has to be room before LMDB stores:
//!
//! - Its blocks are allocated before any process uses it. On file systems that write them in place (ext2, ext3, ext4,
//!   tmpfs) that suffices.
//! - Where a store may take another block (btrfs, a group's quota there, cloned files on XFS), the mapping is populated
//!   for writing before LMDB stores. That takes the same room as a store, and gives an error where there is none.

use std::fs::{self, File};
use std::io;
use std::num::NonZero;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use super::files::LOCK_TABLE;
use super::ioctls;
use crate::calls::{allocate, uninterrupted};

/// The length that LMDB gives it: a head, and 4096 places of 64 bytes.
const LENGTH: u64 = 192 + 4095 * 64;
/// Bytes that are allocated: more than the length.
const ALLOCATED: u64 = 512 << 10;
const PAGE: u64 = 4096;

/// File systems (`f_type` of `statfs`) that write allocated blocks in place: ext2, ext3 and ext4; tmpfs.
const IN_PLACE: [u64; 2] = [0xef53, 0x0102_1994];
const BTRFS: u64 = 0x9123_683e;

/// Whether a store to a file that has its blocks may take room on a file system of that kind.
pub(super) fn may_take_room(file_system: u64) -> bool {
    !IN_PLACE.contains(&file_system)
}

/// Gives the table its blocks, unless it has them. To be called when the table is not in use.
///
/// `alone`: no other process opens the database meanwhile. Otherwise another reader may be about to use the table, so its
/// contents stay, and so does its length unless it is empty.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`], also where only writing all of the table would make room and `alone` is false.
pub(super) fn make_room(table: &File, file_system: u64, alone: bool) -> io::Result<()> {
    if alone && may_take_room(file_system) && table.metadata()?.len() > 0 && is_made_anew(table, file_system) {
        // Its contents do not matter while it is not in use.
        table.set_len(0)?;
    }
    let found = table.metadata()?;
    if found.len() == 0 {
        // Only btrfs knows the flag, and only for empty files: stores are written in place and take no room.
        let _ = ioctls::set_nocow(table);
    }
    let needed = found.len().max(LENGTH).next_multiple_of(PAGE);
    if found.blocks() * 512 >= needed {
        return Ok(());
    }
    match allocate(table, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, needed.max(ALLOCATED) as i64) {
        // This never shortens it: another reader may have lengthened it meanwhile.
        Ok(()) if found.len() == 0 => Ok(allocate(table, FallocateFlags::empty(), 0, LENGTH as i64)?),
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) if !alone => Err(io::ErrorKind::StorageFull.into()),
        // It is not in use, so its contents may go.
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => table.write_all_at(&vec![0; needed.max(found.len()) as usize], 0),
        Err(e) => Err(e.into()),
    }
}

/// Whether the file shares blocks with another, or is not written in place though the file system could do that.
fn is_made_anew(table: &File, file_system: u64) -> bool {
    let lacks_nocow = file_system == BTRFS && ioctls::is_nocow(table) == Ok(false);
    lacks_nocow || ioctls::has_shared_blocks(table) == Ok(true)
}

/// Whether each page of the file can be stored to.
pub(super) fn can_be_stored_to(table: &File) -> io::Result<bool> {
    let Some(length) = NonZero::new(table.metadata()?.len() as usize) else { return Ok(true) };
    // SAFETY: a new mapping, at an address that the kernel chooses; nothing refers to it when it is unmapped.
    unsafe {
        let at = mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, table, 0)?;
        let can = TableMap { at, bytes: length.get() }.can_be_stored_to();
        munmap(at, length.get())?;
        Ok(can)
    }
}

/// LMDB's mapping of the table.
pub(crate) struct TableMap {
    at: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: the address is only passed to the kernel.
unsafe impl Send for TableMap {}
// SAFETY: as above.
unsafe impl Sync for TableMap {}

impl TableMap {
    /// Finds the mapping that LMDB just made. `None`: there are several such mappings.
    pub(super) fn find(table: &File) -> Option<TableMap> {
        let inode = table.metadata().ok()?.ino();
        let maps = fs::read("/proc/self/maps").ok()?;
        let mut found =
            String::from_utf8_lossy(&maps).lines().filter_map(|line| parse(line, inode)).collect::<Vec<_>>();
        let (start, end) = found.pop().filter(|_| found.is_empty())?;
        Some(TableMap { at: NonNull::new(start as *mut c_void)?, bytes: end.checked_sub(start)? })
    }

    /// Whether each page can be stored to. True where the kernel cannot tell (before Linux 5.14).
    pub(crate) fn can_be_stored_to(&self) -> bool {
        // SAFETY: LMDB keeps the mapping as long as its environment, which outlives this; no byte is changed.
        let populated = uninterrupted(|| unsafe { madvise(self.at, self.bytes, MmapAdvise::MADV_POPULATE_WRITE) });
        populated != Err(Errno::EFAULT)
    }
}

/// Start and end, if a line of `/proc/self/maps` describes a shared writable mapping of the table with that inode.
fn parse(line: &str, inode: u64) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, kind, offset) = (words.next()?, words.next()?, words.next()?);
    let is_it = kind == "rw-s" && offset.bytes().all(|b| b == b'0') && words.nth(1)?.parse() == Ok(inode);
    let (start, end) = range.split_once('-').filter(|_| is_it && line.ends_with(&format!("/{LOCK_TABLE}")))?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_maps_is_parsed() {
        let line = "7f6ccb54d000-7f6ccb58e000 rw-s 00000000 fe:00 6029415                    /tmp/a b/index-lock";
        assert_eq!(parse(line, 6_029_415), Some((0x7f6c_cb54_d000, 0x7f6c_cb58_e000)));
        assert_eq!(parse(line, 1), None);
        assert_eq!(parse(&line.replace("rw-s", "r--s"), 6_029_415), None);
        assert_eq!(parse(&line.replace("-lock", ""), 6_029_415), None);
        assert_eq!(parse("", 1), None);
    }
}
