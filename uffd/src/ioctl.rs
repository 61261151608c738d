//! System calls that neither nix nor the crate `userfaultfd` has: `UFFDIO_COPY` with `MODE_WP`, `PAGEMAP_SCAN`, the
//! feature of asynchronous protection, `cachestat`, and a userfaultfd by the system call where `/dev/userfaultfd`
//! exists but may not be opened.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use bigarray_core::PAGE;
use nix::errno::Errno;
use nix::libc;
use userfaultfd::{FeatureFlags, Uffd};

const UFFD_API: u64 = 0xAA;
/// Of all architectures; not in libc for all of them.
const SYS_CACHESTAT: libc::c_long = 451;
const UFFD_USER_MODE_ONLY: libc::c_int = 1;
const COPY_MODE_DONTWAKE: u64 = 1 << 0;
const COPY_MODE_WP: u64 = 1 << 1;
const MOVE_MODE_DONTWAKE: u64 = 1 << 0;
const MOVE_MODE_ALLOW_SRC_HOLES: u64 = 1 << 1;

/// What a userfaultfd of spans needs: faults say whether a page is missing or protected.
pub(crate) const SYNCHRONOUS: FeatureFlags = FeatureFlags::PAGEFAULT_FLAG_WP;

/// What a userfaultfd that tracks needs, `UFFD_FEATURE_WP_ASYNC`: the kernel lets writes to protected pages through by
/// itself, and only takes the protection off. The kernel adds what this needs in turn (`WP_UNPOPULATED`).
pub(crate) const ASYNCHRONOUS: FeatureFlags = FeatureFlags::from_bits_retain(1 << 15);

/// Categories of pages that [`pagemap_scan`] tells apart. `WPALLOWED` is one of mappings: registered with a
/// userfaultfd that is [`ASYNCHRONOUS`]. In these, `WRITTEN` is every page that is not protected.
pub(crate) const PAGE_IS_WPALLOWED: u64 = 1 << 0;
pub(crate) const PAGE_IS_WRITTEN: u64 = 1 << 1;
pub(crate) const PAGE_IS_FILE: u64 = 1 << 2;
pub(crate) const PAGE_IS_PRESENT: u64 = 1 << 3;
pub(crate) const PAGE_IS_SWAPPED: u64 = 1 << 4;
pub(crate) const PAGE_IS_PFNZERO: u64 = 1 << 5;
pub(crate) const PAGE_IS_HUGE: u64 = 1 << 6;

const PM_SCAN_WP_MATCHING: u64 = 1 << 0;

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

/// `struct uffdio_move`.
#[repr(C)]
pub(crate) struct UffdioMove {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    moved: i64,
}

/// `struct page_region`: a run of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PageRegion {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The categories that the query asked for and the pages have.
    pub(crate) categories: u64,
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

/// Which pages [`pagemap_scan`] reports, by their categories. Those in `inverted` are negated first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Query {
    pub(crate) inverted: u64,
    /// All of these,
    pub(crate) all_of: u64,
    /// and one of these, if there are any.
    pub(crate) any_of: u64,
    /// Categories to report of the pages; neighbours with equal ones merge.
    pub(crate) categories: u64,
    /// Protects what it reports, where that is registered with a userfaultfd that is [`ASYNCHRONOUS`]; what is
    /// registered otherwise is left out.
    pub(crate) protect: bool,
    /// Stops after this many pages; 0: never.
    pub(crate) max_pages: u64,
}

mod raw {
    use super::{PmScanArg, UffdioApi, UffdioCopy, UffdioMove};
    nix::ioctl_readwrite!(uffdio_copy, 0xAA, 0x03, UffdioCopy);
    nix::ioctl_readwrite!(uffdio_move, 0xAA, 0x05, UffdioMove);
    nix::ioctl_readwrite!(uffdio_api, 0xAA, 0x3F, UffdioApi);
    nix::ioctl_readwrite!(pagemap_scan, b'f', 16, PmScanArg);
}

/// A userfaultfd by the system call, non-blocking, closed on exec.
pub(crate) fn userfaultfd(user_mode_only: bool, features: FeatureFlags) -> Result<Uffd, Errno> {
    let mode = if user_mode_only { UFFD_USER_MODE_ONLY } else { 0 };
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | mode;
    // SAFETY: takes an integer and returns a descriptor; touches no memory.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_userfaultfd, flags) })?;
    // SAFETY: the descriptor is new, so this is its only owner.
    let uffd = unsafe { Uffd::from_raw_fd(fd as libc::c_int) };
    let mut api = UffdioApi { api: UFFD_API, features: features.bits(), ioctls: 0 };
    // SAFETY: `api` is the structure that this request reads and writes.
    unsafe { raw::uffdio_api(uffd.as_raw_fd(), &mut api) }?;
    Ok(uffd)
}

/// Copies `bytes`, whole pages, over missing pages at `dst`; they arrive write-protected, no thread is woken. Returns
/// how many bytes arrived, and why not more.
pub(crate) fn copy_protected(uffd: &Uffd, dst: usize, bytes: &[u8]) -> (usize, Result<(), Errno>) {
    copy(uffd, dst, bytes, COPY_MODE_DONTWAKE | COPY_MODE_WP)
}

/// The same, but that they may be written to.
pub(crate) fn copy_unprotected(uffd: &Uffd, dst: usize, bytes: &[u8]) -> Result<(), Errno> {
    copy(uffd, dst, bytes, COPY_MODE_DONTWAKE).1
}

fn copy(uffd: &Uffd, dst: usize, bytes: &[u8], mode: u64) -> (usize, Result<(), Errno>) {
    let mut done = 0;
    let mut most = bytes.len();
    while done < bytes.len() {
        let rest = &bytes[done..bytes.len().min(done + most)];
        let mut arg =
            UffdioCopy { dst: (dst + done) as u64, src: rest.as_ptr() as u64, len: rest.len() as u64, mode, copy: 0 };
        // SAFETY: `arg` is the structure that this request reads and writes, and `src` lies within `rest`. The kernel
        // fills only missing pages of ranges registered with this userfaultfd, which are spans of ours, so no memory
        // that a view has shown changes (invariant A).
        let outcome = unsafe { raw::uffdio_copy(uffd.as_raw_fd(), &mut arg) };
        if arg.copy > 0 {
            done += arg.copy as usize;
        }
        match outcome {
            // EAGAIN: part was copied, or the address space was changing just then.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => most = bytes.len(),
            // A range that lies in two mappings, as what was protected and its neighbours may: each is filled by
            // itself.
            Err(Errno::ENOENT) if rest.len() > PAGE => most = (rest.len() / 2).next_multiple_of(PAGE),
            Err(errno) => return (done, Err(errno)),
        }
    }
    (done, Ok(()))
}

/// Moves what is there of `len` bytes at `src` over missing pages at `dst`, where they may be written to; no thread is
/// woken. Returns how many bytes were moved, holes included, and why not more.
pub(crate) fn move_pages(uffd: &Uffd, dst: usize, src: usize, len: usize) -> (usize, Result<(), Errno>) {
    let mut arg = UffdioMove {
        dst: dst as u64,
        src: src as u64,
        len: len as u64,
        mode: MOVE_MODE_DONTWAKE | MOVE_MODE_ALLOW_SRC_HOLES,
        moved: 0,
    };
    // SAFETY: `arg` is the structure that this request reads and writes. The kernel fills only missing pages of ranges
    // registered with this userfaultfd, which are ours, and the callers name pages of such ranges, protected or aside:
    // what is taken from there waits for its pager, so that no view sees other bytes (invariant A).
    let outcome = unsafe { raw::uffdio_move(uffd.as_raw_fd(), &mut arg) };
    (usize::try_from(arg.moved).unwrap_or(0), outcome.map(drop))
}

/// Finds pages of `range`: fills `regions`, of which there must be one at least, from the front; returns how many and
/// the address where the search ended, because `regions` was full or the query said so, or the range's end.
pub(crate) fn pagemap_scan(
    pagemap: BorrowedFd<'_>,
    range: Range<usize>,
    query: &Query,
    regions: &mut [PageRegion],
) -> Result<(usize, usize), Errno> {
    // Without a place to put regions, protecting a part of a huge page brings kernels before 6.18 down.
    if regions.is_empty() {
        return Err(Errno::EINVAL);
    }
    let mut arg = PmScanArg {
        size: size_of::<PmScanArg>() as u64,
        flags: if query.protect { PM_SCAN_WP_MATCHING } else { 0 },
        start: range.start as u64,
        end: range.end as u64,
        walk_end: 0,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        max_pages: query.max_pages,
        category_inverted: query.inverted,
        category_mask: query.all_of,
        category_anyof_mask: query.any_of,
        return_mask: query.categories,
    };
    // SAFETY: `arg` is the structure that this request reads and writes, and it writes at most `vec_len` regions. No
    // byte of memory changes; what becomes protected is registered with a userfaultfd that lets every write through,
    // so that no thread ever waits.
    let found = unsafe { raw::pagemap_scan(pagemap.as_raw_fd(), &mut arg) }?;
    Ok((found as usize, arg.walk_end as usize))
}
