//! System calls on an open file that have no safe wrapper.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc;

/// The argument of `FIDEDUPERANGE`, with one target (`<linux/fs.h>`).
#[repr(C)]
#[derive(Default)]
pub(super) struct DedupeRange {
    head: Head,
    target: i64,
    target_offset: u64,
    deduped: u64,
    status: i32,
    reserved: u32,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct Head {
    offset: u64,
    length: u64,
    targets: u16,
    reserved1: u16,
    reserved2: u32,
}

impl DedupeRange {
    /// Asks to share the first `length` bytes with the same bytes of the file `target`.
    pub(super) fn new(target: i32, length: u64) -> DedupeRange {
        let head = Head { length, targets: 1, ..Head::default() };
        DedupeRange { head, target: target.into(), ..DedupeRange::default() }
    }

    /// 0, or a negative error number.
    pub(super) fn status(&self) -> i32 {
        self.status
    }
}

nix::ioctl_readwrite!(fideduperange, 0x94, 54, Head);

/// Asks the file system to share equal bytes of two files.
pub(super) fn dedupe_range(file: &File, request: &mut DedupeRange) -> nix::Result<()> {
    // SAFETY: the file is open. The kernel reads and writes the head and as many targets as it says, one, which lies behind
    // it in the request; the call keeps no pointer.
    unsafe { fideduperange(file.as_raw_fd(), (&raw mut *request).cast::<Head>()) }.map(drop)
}

nix::ioctl_read!(fs_ioc_getflags, b'f', 1, libc::c_long);
nix::ioctl_write_ptr!(fs_ioc_setflags, b'f', 2, libc::c_long);
nix::ioctl_readwrite!(fs_ioc_fiemap, b'f', 11, FiemapHead);

/// The file is written in place (`FS_NOCOW_FL`).
const NOCOW: libc::c_long = 0x80_0000;

fn flags_of(file: &File) -> nix::Result<libc::c_long> {
    let mut flags = 0;
    // SAFETY: the file is open, and there is room for the `int` that the kernel writes.
    unsafe { fs_ioc_getflags(file.as_raw_fd(), &mut flags) }?;
    Ok(flags)
}

/// Whether the file is written in place.
pub(super) fn is_nocow(file: &File) -> nix::Result<bool> {
    Ok(flags_of(file)? & NOCOW != 0)
}

/// Asks the file system to write the file, which is empty, in place.
pub(super) fn set_nocow(file: &File) -> nix::Result<()> {
    let flags = flags_of(file)? | NOCOW;
    // SAFETY: the file is open, and the kernel only reads the flags.
    unsafe { fs_ioc_setflags(file.as_raw_fd(), &flags) }.map(drop)
}

/// Extents that are asked for. A table of half a MiB has fewer as a rule; more are not looked at.
const EXTENTS: usize = 64;

#[repr(C)]
#[derive(Default)]
pub(super) struct FiemapHead {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved1: [u64; 2],
    flags: u32,
    reserved2: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    head: FiemapHead,
    extents: [Extent; EXTENTS],
}

/// Whether another file shares blocks with this one, so that writing to them takes new blocks.
pub(super) fn has_shared_blocks(file: &File) -> nix::Result<bool> {
    const SHARED: u32 = 0x2000;
    let head = FiemapHead { length: u64::MAX, count: EXTENTS as u32, ..FiemapHead::default() };
    let mut request = Fiemap { head, extents: [Extent::default(); EXTENTS] };
    // SAFETY: the file is open. The kernel reads and writes the head and as many extents as it says, which lie behind it in
    // the request; the call keeps no pointer.
    unsafe { fs_ioc_fiemap(file.as_raw_fd(), (&raw mut request).cast::<FiemapHead>()) }?;
    Ok(request.extents[..EXTENTS.min(request.head.mapped as usize)].iter().any(|extent| extent.flags & SHARED != 0))
}
