//! System calls that neither nix nor the crate `userfaultfd` has: `UFFDIO_COPY` with `MODE_WP`, `PAGEMAP_SCAN`,
//! `cachestat`, and a userfaultfd by the system call where `/dev/userfaultfd` exists but may not be opened.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use nix::errno::Errno;
use nix::libc;
use userfaultfd::{FeatureFlags, Uffd};

const UFFD_API: u64 = 0xAA;
/// Of all architectures; not in libc for all of them.
const SYS_CACHESTAT: libc::c_long = 451;
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const COPY_MODE_DONTWAKE: u64 = 1 << 0;
const COPY_MODE_WP: u64 = 1 << 1;

/// Categories of pages that [`pagemap_scan`] tells apart.
pub(crate) const PAGE_IS_FILE: u64 = 1 << 2;
pub(crate) const PAGE_IS_PRESENT: u64 = 1 << 3;
pub(crate) const PAGE_IS_SWAPPED: u64 = 1 << 4;
pub(crate) const PAGE_IS_PFNZERO: u64 = 1 << 5;

/// `struct uffdio_api`.
#[repr(C)]
pub(crate) struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_copy`.
#[repr(C)]
pub(crate) struct UffdioCopy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copy: i64,
}

/// `struct page_region`: a run of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageRegion {
    pub(crate) start: u64,
    pub(crate) end: u64,
    categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
pub(crate) struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct cachestat_range`.
#[repr(C)]
struct CachestatRange {
    offset: u64,
    len: u64,
}

/// `struct cachestat`.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// How many pages of `bytes` of `file` are in the page cache (Linux 6.5).
pub(crate) fn cached_pages(file: &File, bytes: Range<u64>) -> Result<u64, Errno> {
    let range = CachestatRange { offset: bytes.start, len: bytes.end - bytes.start };
    let mut stat = Cachestat::default();
    // SAFETY: both structures are those that this call reads and writes; it touches no other memory.
    let done = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &range, &mut stat, 0) };
    Errno::result(done).map(|_| stat.cached)
}

mod raw {
    use super::{PmScanArg, UffdioApi, UffdioCopy};
    nix::ioctl_readwrite!(uffdio_copy, 0xAA, 0x03, UffdioCopy);
    nix::ioctl_readwrite!(uffdio_api, 0xAA, 0x3F, UffdioApi);
    nix::ioctl_readwrite!(pagemap_scan, b'f', 16, PmScanArg);
}

/// A userfaultfd by the system call, non-blocking, closed on exec, that tells write-protection faults apart.
pub(crate) fn userfaultfd(user_mode_only: bool) -> Result<Uffd, Errno> {
    let mode = if user_mode_only { UFFD_USER_MODE_ONLY } else { 0 };
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | mode;
    // SAFETY: takes an integer and returns a descriptor; touches no memory.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
    // SAFETY: the descriptor is new, so this is its only owner.
    let uffd = unsafe { Uffd::from_raw_fd(fd as libc::c_int) };
    let mut api = UffdioApi { api: UFFD_API, features: FeatureFlags::PAGEFAULT_FLAG_WP.bits(), ioctls: 0 };
    // SAFETY: `api` is the structure that this request reads and writes.
    unsafe { raw::uffdio_api(uffd.as_raw_fd(), &mut api) }?;
    Ok(uffd)
}

/// Copies `bytes`, whole pages, over missing pages at `dst`; they arrive write-protected, nobody is woken. Returns how
/// many bytes arrived, and why not more.
pub(crate) fn copy_protected(uffd: &Uffd, dst: usize, bytes: &[u8]) -> (usize, Result<(), Errno>) {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let mut arg = UffdioCopy {
            dst: (dst + done) as u64,
            src: rest.as_ptr() as u64,
            len: rest.len() as u64,
            mode: COPY_MODE_DONTWAKE | COPY_MODE_WP,
            copy: 0,
        };
        // SAFETY: `arg` is the structure that this request reads and writes, and `src` lies within `rest`. The kernel
        // fills only missing pages of ranges registered with this userfaultfd, which are spans of ours, so no memory
        // that anyone has seen changes (invariant A).
        let outcome = unsafe { raw::uffdio_copy(uffd.as_raw_fd(), &mut arg) };
        if arg.copy > 0 {
            done += arg.copy as usize;
        }
        match outcome {
            // EAGAIN: part was copied, or the address space was changing just then.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return (done, Err(errno)),
        }
    }
    (done, Ok(()))
}

/// Finds pages of `range` that have one of the categories `any_of` and not the category `not`: fills `regions` from
/// the front; returns how many and the address where the search ended because `regions` was full, or the range's end.
pub(crate) fn pagemap_scan(
    pagemap: BorrowedFd<'_>,
    range: Range<usize>,
    any_of: u64,
    not: u64,
    regions: &mut [PageRegion],
) -> Result<(usize, usize), Errno> {
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        flags: 0,
        start: range.start as u64,
        end: range.end as u64,
        walk_end: 0,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        max_pages: 0,
        category_inverted: not,
        category_mask: not,
        category_anyof_mask: any_of,
        // Nothing is reported but the addresses, so that neighbours merge.
        return_mask: 0,
    };
    // SAFETY: `arg` is the structure that this request reads and writes, and it writes at most `vec_len` regions.
    let found = unsafe { raw::pagemap_scan(pagemap.as_raw_fd(), &mut arg) }?;
    Ok((found as usize, arg.walk_end as usize))
}
