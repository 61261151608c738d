//! Calls of the kernel on an open file that no safe wrapper has.

use std::fs::File;
use std::os::fd::AsRawFd;

/// What `FIDEDUPERANGE` takes, with one target (`<linux/fs.h>`).
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
    /// The first `length` bytes, at the same place of the file `target`.
    pub(super) fn new(target: i32, length: u64) -> DedupeRange {
        let head = Head { length, targets: 1, ..Head::default() };
        DedupeRange { head, target: target.into(), ..DedupeRange::default() }
    }

    /// 0, or the negative number of an error.
    pub(super) fn status(&self) -> i32 {
        self.status
    }
}

nix::ioctl_readwrite!(fideduperange, 0x94, 54, Head);

/// Has the file system share equal bytes of two files.
pub(super) fn dedupe_range(file: &File, request: &mut DedupeRange) -> nix::Result<()> {
    // SAFETY: the file is open. The kernel reads and writes the head and as many targets as it says, one, which lies behind
    // it in the request; the call keeps no pointer.
    unsafe { fideduperange(file.as_raw_fd(), (&raw mut *request).cast::<Head>()) }.map(drop)
}
