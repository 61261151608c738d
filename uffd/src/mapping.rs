//! New mappings. [`Scratch`] is one on its way into a [`Reservation`].
//!
//! Why a scratch address: a child of `fork` must never see zeros where the parent sees data. A mapping made in place
//! could be inherited between `mmap` and `madvise(MADV_DONTFORK)`; one that is moved in place with its flags cannot.
//! The move replaces what was there atomically: `mremap` holds the address space's lock for writing, so an access of
//! another thread finds the old state or the new one. A thread that waits in a fault of the old state is not lost: it
//! looks again once the range is woken.

mod reservation;

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use bigarray_core::PAGE;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{
    MRemapFlags, MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, mremap, munlock, munmap,
};

pub(crate) use self::reservation::Reservation;

/// Alignment of reservations: a huge page.
pub(crate) const HUGE: usize = 2 << 20;

/// Bytes made present by one call, so that a signal need not repeat much of it.
const POPULATED: usize = 64 << 20;

/// What may be done to the pages of a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Loads and stores.
    ReadWrite,
    /// Nothing yet: an access ends in SIGSEGV.
    Nothing,
}

impl Access {
    fn flags(self) -> ProtFlags {
        match self {
            Access::ReadWrite => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            Access::Nothing => ProtFlags::PROT_NONE,
        }
    }
}

fn non_zero(len: usize) -> Result<NonZeroUsize, Errno> {
    NonZeroUsize::new(len).ok_or(Errno::EINVAL)
}

/// Gives a range back, which may be empty.
///
/// # Safety
/// - No reference into the range exists or will be made.
unsafe fn unmap(at: NonNull<c_void>, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    if len == 0 { Ok(()) } else { unsafe { munmap(at, len) } }
}

/// A new private mapping that is inaccessible and not locked: of `file` from a byte on, or anonymous. At an address of
/// the kernel's choice; or at `place`, if nothing is mapped there.
///
/// One that is too large to be locked, if only for a moment, begins as one page. It is unlocked and grows: a mapping
/// grows by pages that are locked if it is.
fn map_inaccessible(
    place: Option<NonZeroUsize>,
    len: usize,
    file: Option<(BorrowedFd<'_>, libc::off_t)>,
) -> Result<NonNull<c_void>, Errno> {
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // A kernel too old for it (4.17, older than any that has write protection) would take the address as a hint.
    let flags = if place.is_some() { flags | MapFlags::MAP_FIXED_NOREPLACE } else { flags };
    // SAFETY: a new mapping where nothing is touches nothing that exists. What a file's bytes may do under one is
    // invariant A, upheld by the store: an extent is not reused while a snapshot that refers to it lives.
    let map = |len| unsafe {
        match file {
            Some((file, offset)) => mmap(place, non_zero(len)?, ProtFlags::PROT_NONE, flags, file, offset),
            None => mmap_anonymous(place, non_zero(len)?, ProtFlags::PROT_NONE, flags),
        }
    };
    let (at, mapped) = match map(len) {
        Err(Errno::EAGAIN) if len > PAGE => (map(PAGE)?, PAGE),
        other => (other?, len),
    };
    let may_move = if place.is_some() { MRemapFlags::empty() } else { MRemapFlags::MREMAP_MAYMOVE };
    // SAFETY: the mapping is known to this function alone. To unlock changes no byte.
    let done = unsafe {
        munlock(at, mapped).and_then(|()| if mapped < len { mremap(at, mapped, len, may_move, None) } else { Ok(at) })
    };
    if done.is_err() {
        // SAFETY: as above; if it was to move, it is where it was.
        let _ = unsafe { unmap(at, mapped) };
    }
    done
}

/// Keeps the range out of forked children and of core dumps, and its pages from being merged with equal ones, as far as
/// the program does not ask for that later: what is merged loses its write protection.
fn keep_private(at: NonNull<c_void>, len: usize) -> Result<(), Errno> {
    // SAFETY: these advices change what fork, core dumps and the search for equal pages see, never the memory of this
    // process.
    unsafe {
        // Where there is no such search, it is refused.
        let _ = madvise(at, len, MmapAdvise::MADV_UNMERGEABLE);
        madvise(at, len, MmapAdvise::MADV_DONTFORK)?;
        madvise(at, len, MmapAdvise::MADV_DONTDUMP)
    }
}

/// A new mapping, known to this value alone, at an address of the kernel's choice.
pub(crate) struct Scratch {
    at: NonNull<c_void>,
    len: usize,
}

impl Scratch {
    /// Zero memory.
    ///
    /// Opened up once it is kept private. Where it comes to lie next to other anonymous memory of the process, the
    /// kernel would else make one mapping of both; what is then moved out of that keeps traces of it, and never merges
    /// with its new neighbours.
    pub(crate) fn anonymous(len: usize, access: Access) -> Result<Scratch, Errno> {
        Scratch { at: map_inaccessible(None, len, None)?, len }.private()?.accessible(access)
    }

    /// `file` from byte `offset` on, copied on write.
    pub(crate) fn file(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<Scratch, Errno> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let at = map_inaccessible(None, len, Some((file, offset)))?;
        Scratch { at, len }.private()?.accessible(Access::ReadWrite)
    }

    fn accessible(self, access: Access) -> Result<Scratch, Errno> {
        if access == Access::ReadWrite {
            // SAFETY: the mapping is known to this value alone.
            unsafe { mprotect(self.at, self.len, access.flags()) }?;
        }
        Ok(self)
    }

    fn private(self) -> Result<Scratch, Errno> {
        keep_private(self.at, self.len)?;
        Ok(self)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Advice; whether it is taken changes speed only.
    pub(crate) fn advise(&self, advice: HarmlessAdvice) {
        // SAFETY: advice of this kind changes no byte.
        let _ = unsafe { madvise(self.at, self.len, advice.into()) };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the mapping is known to this value alone.
        let _ = unsafe { unmap(self.at, self.len) };
    }
}

/// Advice that changes no byte.
#[derive(Clone, Copy)]
pub(crate) enum HarmlessAdvice {
    /// Back it with huge pages.
    HugePages,
    /// Back it with small pages.
    SmallPages,
    /// Read no more than is asked for.
    Random,
    /// Read around what is asked for.
    Normal,
}

impl From<HarmlessAdvice> for MmapAdvise {
    fn from(advice: HarmlessAdvice) -> MmapAdvise {
        match advice {
            HarmlessAdvice::HugePages => MmapAdvise::MADV_HUGEPAGE,
            HarmlessAdvice::SmallPages => MmapAdvise::MADV_NOHUGEPAGE,
            HarmlessAdvice::Random => MmapAdvise::MADV_RANDOM,
            HarmlessAdvice::Normal => MmapAdvise::MADV_NORMAL,
        }
    }
}

/// Makes what is mapped at `addresses` present. EFAULT or EHWPOISON where an access would end in SIGBUS. Before Linux
/// 5.14 nothing happens.
pub(crate) fn populate(addresses: Range<usize>) -> Result<(), Errno> {
    let mut at = addresses.start;
    while at < addresses.end {
        let (Some(start), len) = (NonNull::new(at as *mut c_void), POPULATED.min(addresses.end - at)) else { break };
        // SAFETY: this advice changes no byte, of no mapping.
        match unsafe { madvise(start, len, MmapAdvise::MADV_POPULATE_READ) } {
            Ok(()) => at += len,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether `range` is whole pages.
pub(crate) fn is_whole_pages(range: &Range<usize>) -> bool {
    range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE)
}
