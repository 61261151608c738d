//! A word of memory that is zero in every new child: it lies in a page that the kernel wipes on `fork`
//! (`MADV_WIPEONFORK`, Linux 4.14), by whatever call the child was made. A child of `clone` that shares its parent's
//! memory shares the word too.
//!
//! Nothing here takes a lock: another thread of the parent may have held it when the process forked.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use bigarray_core::PAGE;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::handlers::{self, ZEROED_IN_CHILD};

/// The word, once it is made.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// A word that all values of this process share.
#[derive(Clone, Copy)]
pub(crate) struct Word {
    pub(crate) value: &'static AtomicU64,
    /// The kernel sets it to zero in every child.
    pub(crate) is_wiped: bool,
}

impl Word {
    /// The word of this process.
    pub(crate) fn get() -> Word {
        let mut at = WORD.load(Ordering::Acquire);
        if at.is_null() {
            let new = wiped_page().unwrap_or_else(|| ptr::from_ref(Word::fallback().value).cast_mut());
            match WORD.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => at = new,
                Err(first) => {
                    at = first;
                    unmap(new);
                }
            }
        }
        // SAFETY: `WORD` is the fallback or a page that is never unmapped, and is used as this atomic only.
        Word { value: unsafe { &*at }, is_wiped: !ptr::eq(at, &ZEROED_IN_CHILD) }
    }

    /// The word where the kernel wipes nothing. Children of other calls than `fork` are recognised by their number.
    pub(crate) fn fallback() -> Word {
        handlers::install();
        Word { value: &ZEROED_IN_CHILD, is_wiped: false }
    }
}

/// A page that is zero in every child; `None` where the kernel cannot do that.
fn wiped_page() -> Option<*mut AtomicU64> {
    let flags = MapFlags::MAP_PRIVATE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe {
        mmap_anonymous(None, NonZeroUsize::new(PAGE)?, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags).ok()?
    };
    // SAFETY: advice for the page just made, which changes what children see of it.
    if unsafe { libc::madvise(page.as_ptr(), PAGE, libc::MADV_WIPEONFORK) } == 0 {
        return Some(page.as_ptr().cast());
    }
    unmap(page.as_ptr().cast());
    None
}

/// Gives back a page that is not the process's word.
fn unmap(page: *mut AtomicU64) {
    if let Some(page) =
        NonNull::new(page.cast::<c_void>()).filter(|page| !ptr::eq(page.as_ptr().cast(), &ZEROED_IN_CHILD))
    {
        // SAFETY: made by `wiped_page`, and its address was not published.
        let _ = unsafe { munmap(page, PAGE) };
    }
}
