//! Ranges of addresses that the process keeps while mappings in them come and go.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use bigarray_core::PAGE;
use bigarray_process::Origin;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MRemapFlags, MapFlags, MmapAdvise, madvise, mmap, mprotect, mremap, munlock};

use super::{Access, HUGE, HarmlessAdvice, Scratch, keep_private, map_inaccessible, non_zero, unmap};
use crate::stderr::log_raw;

/// A range of addresses that is ours until it is dropped: whatever is laid over it or taken away, no other mapping of
/// the process can come to lie in it. Every method panics on a range outside it rather than harm a stranger's memory.
///
/// An inaccessible page lies on either side: no neighbour ever becomes one mapping with it.
pub(crate) struct Reservation {
    base: NonNull<u8>,
    /// Of the array that it was reserved for.
    bytes: Range<usize>,
    origin: Origin,
}

// SAFETY: a range of addresses belongs to the process, not to a thread.
unsafe impl Send for Reservation {}
// SAFETY: methods change the address space through the kernel, which serialises them; those that access the bytes say
// what their callers owe.
unsafe impl Sync for Reservation {}

impl Reservation {
    /// Reserves zero memory for `bytes` of an array, aligned to [`HUGE`]. A range to be registered is opened up only
    /// after that: else `mlockall` in another thread would fill it with zeros.
    pub(crate) fn new(bytes: Range<usize>, access: Access) -> Result<Reservation, Errno> {
        let len = bytes.end - bytes.start;
        let room = len.checked_add(HUGE + PAGE).ok_or(Errno::ENOMEM)?;
        let start = map_inaccessible(None, room, None)?;
        let first = (start.as_ptr() as usize + PAGE).next_multiple_of(HUGE) - start.as_ptr() as usize;
        // SAFETY: `first` is between PAGE and HUGE, so guard page, range and guard page lie in the mapping just made,
        // which is known here alone; the addresses beyond them are given back.
        let reservation = unsafe {
            let _ = unmap(start, first - PAGE);
            let _ = unmap(start.byte_add(first + len + PAGE), room - (first + len + PAGE));
            Reservation { base: start.byte_add(first).cast(), bytes, origin: Origin::here() }
        };
        let (guard, whole) = reservation.with_guards();
        keep_private(guard, whole)?;
        if access == Access::ReadWrite {
            reservation.open_up(&reservation.bytes)?;
        }
        Ok(reservation)
    }

    fn with_guards(&self) -> (NonNull<c_void>, usize) {
        // SAFETY: the page before the base belongs to the reservation.
        (unsafe { self.base.byte_sub(PAGE).cast() }, self.bytes.len() + 2 * PAGE)
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The bytes of the array that the addresses are for.
    pub(crate) fn bytes(&self) -> &Range<usize> {
        &self.bytes
    }

    /// Whether `range` is one of bytes that it has.
    pub(crate) fn has(&self, range: &Range<usize>) -> bool {
        self.bytes.start <= range.start && range.start <= range.end && range.end <= self.bytes.end
    }

    /// The addresses of `range`, bytes of the array.
    pub(crate) fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.at(range).as_ptr() as usize;
        start..start + (range.end - range.start)
    }

    fn at(&self, range: &Range<usize>) -> NonNull<c_void> {
        assert!(self.has(range), "bytes {range:?} of a span of {:?}", self.bytes);
        // SAFETY: within the reservation, by the assertion.
        unsafe { self.base.byte_add(range.start - self.bytes.start).cast() }
    }

    /// Moves a mapping in place of what is at `offset`.
    ///
    /// If it fails, the kernel has nearly always refused before it touched anything. It may also have unmapped the
    /// place already; then the hole is plugged, inaccessible, so that no stranger's mapping can come to lie in it: an
    /// access ends in SIGSEGV, never in foreign bytes.
    pub(crate) fn install(&self, offset: usize, scratch: Scratch) -> Result<(), Errno> {
        let range = offset..offset.checked_add(scratch.len).ok_or(Errno::EINVAL)?;
        let target = self.at(&range);
        let flags = MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED;
        // SAFETY: the source is the scratch mapping, whole; the target lies in the reservation. That no view sees
        // other bytes than before is invariant A, upheld by the pager, which replaces only missing pages or pages
        // that no thread uses.
        let moved = unsafe { mremap(scratch.at, scratch.len, scratch.len, flags, Some(target)) };
        match moved {
            Ok(_) => {
                // Its addresses are free by now, and may be someone else's.
                std::mem::forget(scratch);
                Ok(())
            }
            Err(errno) => {
                self.plug(&range);
                Err(errno)
            }
        }
    }

    /// Fills a hole, if `range` is one.
    fn plug(&self, range: &Range<usize>) {
        let place = NonZeroUsize::new(self.at(range).as_ptr() as usize);
        if place.is_some() && !range.is_empty() {
            let _ = map_inaccessible(place, range.end - range.start, None);
        }
    }

    /// Allows loads and stores in an inaccessible range.
    pub(crate) fn open_up(&self, range: &Range<usize>) -> Result<(), Errno> {
        // SAFETY: within the reservation; adds rights, takes none.
        unsafe { mprotect(self.at(range), range.end - range.start, Access::ReadWrite.flags()) }
    }

    /// Gives back the memory of an anonymous range: missing again where it is registered, else zero.
    ///
    /// The kernel stops at the first mapping that is locked, with a part of the range gone. Then this goes on over
    /// locked pages too; where the kernel cannot (before 5.18), they are unlocked.
    ///
    /// # Errors
    /// Then any part may be gone.
    pub(crate) fn discard(&self, range: &Range<usize>) -> Result<(), Errno> {
        let (start, len) = (self.at(range), range.end - range.start);
        // SAFETY: within the reservation. That no view sees the bytes go is invariant A, upheld by the pager: it
        // discards pages that no thread uses, or that the next access loads again.
        unsafe {
            match madvise(start, len, MmapAdvise::MADV_DONTNEED) {
                Err(Errno::EINVAL) => {}
                other => return other,
            }
            match Errno::result(libc::madvise(start.as_ptr(), len, libc::MADV_DONTNEED_LOCKED)) {
                Err(Errno::EINVAL) => {}
                other => return other.map(drop),
            }
            munlock(start, len)?;
            madvise(start, len, MmapAdvise::MADV_DONTNEED)
        }
    }

    /// Unlocks a range of which the program locked a part.
    pub(crate) fn unlock(&self, range: &Range<usize>) -> Result<(), Errno> {
        // SAFETY: within the reservation; changes no byte.
        unsafe { munlock(self.at(range), range.end - range.start) }
    }

    /// Advice; whether it is taken changes speed only.
    pub(crate) fn advise(&self, range: &Range<usize>, advice: HarmlessAdvice) {
        // SAFETY: within the reservation; advice of this kind changes no byte and makes no page present.
        let _ = unsafe { madvise(self.at(range), range.end - range.start, advice.into()) };
    }

    /// Bytes of the range that are in memory: pages of its own, and pages of a mapped file that are in the page cache. Where
    /// the process may not know of those, all of them.
    pub(crate) fn resident(&self, range: &Range<usize>) -> Result<usize, Errno> {
        let mut pages = [0_u8; 4096];
        let mut resident = 0;
        for start in range.clone().step_by(pages.len() * PAGE) {
            let part = start..range.end.min(start + pages.len() * PAGE);
            let len = part.end - part.start;
            // SAFETY: within the reservation, of which nothing is touched; the kernel writes a byte for each page of `part`,
            // of which there are no more than `pages` has.
            Errno::result(unsafe { libc::mincore(self.at(&part).as_ptr(), len, pages.as_mut_ptr()) })?;
            resident += pages[..len.div_ceil(PAGE)].iter().filter(|page| *page & 1 == 1).count() * PAGE;
        }
        Ok(resident)
    }

    /// Maps `empty`, a file without a byte, over the range, in place and at once: from here on any access is beyond
    /// the end of a file, SIGBUS. In a forked child too, so that no detour by a scratch address is needed; it is made
    /// where a new mapping would be locked and must not be.
    pub(crate) fn cover(&self, range: &Range<usize>, empty: BorrowedFd<'_>) -> Result<(), Errno> {
        let target = self.at(range);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_FIXED;
        let (address, len) = (NonZeroUsize::new(target.as_ptr() as usize), range.end - range.start);
        // In the span: in the array it may be beyond what a file can have.
        let offset = range.start - self.bytes.start;
        // SAFETY: replaces a range of the reservation. A view over it sees no other bytes, it sees none (invariant E).
        match unsafe { mmap(address, non_zero(len)?, Access::ReadWrite.flags(), flags, empty, offset as libc::off_t) } {
            Err(Errno::EAGAIN) => self.install(range.start, Scratch::file(empty, offset as u64, len)?),
            other => other.map(drop),
        }
    }

    /// The bytes of a range. A page that is missing makes the caller wait, as any access does.
    ///
    /// No thread may be writing to the range while `f` runs:
    /// [`SpanBytes::with_bytes`](bigarray_core::memory::SpanBytes) demands it of the pager, which holds the transaction
    /// exclusively.
    pub(crate) fn with_bytes<R>(&self, range: &Range<usize>, f: impl FnOnce(&[u8]) -> R) -> R {
        let start = self.at(range).cast::<u8>();
        // SAFETY: the range is mapped, or waits for its pager, as long as the reservation lives; invariant A, upheld
        // by the caller as said above, keeps the bytes still.
        f(unsafe { std::slice::from_raw_parts(start.as_ptr(), range.end - range.start) })
    }

    /// Stores `bytes` at `offset`. No other thread may be using the range:
    /// [`SpanBytes::write`](bigarray_core::memory::SpanBytes) demands it of the pager.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let target = self.at(&(offset..offset + bytes.len())).cast::<u8>();
        // SAFETY: the range is the reservation's, and exclusive as said above. `bytes` may be a view of another span;
        // of this range it cannot be.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
    }

    /// Stores zeros. No other thread may be using the range: [`SpanBytes::fill_zero`](bigarray_core::memory::SpanBytes)
    /// demands it of the pager.
    pub(crate) fn fill_zero(&self, range: &Range<usize>) {
        let target = self.at(range).cast::<u8>();
        // SAFETY: the range is the reservation's, and exclusive as said above.
        unsafe { std::ptr::write_bytes(target.as_ptr(), 0, range.end - range.start) };
    }

    /// Whether this process made the reservation. In a forked child the range does not exist, or is someone else's.
    pub(crate) fn is_ours(&self) -> bool {
        self.origin.is_here()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_ours() {
            return;
        }
        let (start, len) = self.with_guards();
        // SAFETY: every borrow of the bytes ended before this value did: views borrow what owns the span (invariant C).
        if let Err(errno) = unsafe { unmap(start, len) } {
            // To split a mapping in two can fail at the limit of mappings. The addresses are lost; the memory is not.
            let _ = self.discard(&self.bytes);
            log_raw(&format!("{len} bytes of addresses cannot be given back: {errno}"));
        }
    }
}
