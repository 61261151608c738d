//! Write protection (UFFDIO_WRITEPROTECT): stores to memory wait, so that it may be written out and taken away while other
//! threads use it. A span's `Protect` calls this.
//!
//! Write-protected memory is registered with the synchronous userfaultfd, for missing pages and for protection: present
//! pages can be read, a write to one waits, and so does any access to a missing page. Copied pages arrive so. Zero
//! memory becomes so by [`register_and_protect`]: registering comes first and protecting second, so that from the
//! moment on at which a page is found not to be there, no access can make the kernel fill it with zeros unseen.
//!
//! What may happen to a page meanwhile, and why no write is lost:
//!
//! - *A write began before it was protected.* It went through before the kernel looked at the page's entry, or it
//!   faults: both hold the lock of the page table, and the processors forget the old entry before protecting returns.
//! - *It is read for the first time in zero memory*, before it is protected: the kernel's zero page is there, and is
//!   protected as any other. After: it is missing, and its reader waits.
//! - *It is a part of a huge page* (the huge zero page too): that is protected whole if all of it is protected, and is
//!   split up first if not. The kernel makes no huge page of small ones where a userfaultfd waits for missing pages,
//!   so none that is missing is filled behind our back.
//! - *It goes to swap, or comes back*: the mark is in the swap entry and in the page's entry after.
//! - *It is taken away*: anonymous memory keeps no mark where nothing is, so what is copied there later is protected or
//!   not as the copying says.

use std::ops::Range;

use nix::errno::Errno;
use userfaultfd::{RegisterMode, Uffd};

use crate::shortage::errno_of;
use crate::stderr::fatal;

/// Registers `addresses` for faults of missing and of protected pages. Nothing is protected yet.
pub(crate) fn register(uffd: &Uffd, addresses: &Range<usize>) -> Result<(), Errno> {
    let mode = RegisterMode::MISSING | RegisterMode::WRITE_PROTECT;
    uffd.register_with_mode(addresses.start as *mut _, addresses.len(), mode).map(drop).map_err(errno_of)
}

/// Protects what is there of `addresses`; ENOENT unless all of them are registered.
pub(crate) fn protect(uffd: &Uffd, addresses: &Range<usize>) -> Result<(), Errno> {
    again(|| uffd.write_protect(addresses.start as *mut _, addresses.len()))
}

/// Lets writes through, and wakes the threads that wait to write.
pub(crate) fn let_through(uffd: &Uffd, addresses: &Range<usize>) -> Result<(), Errno> {
    again(|| uffd.remove_write_protection(addresses.start as *mut _, addresses.len(), true))
}

/// The address space may be changing just then.
fn again(mut call: impl FnMut() -> userfaultfd::Result<()>) -> Result<(), Errno> {
    loop {
        match call().map_err(errno_of) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
}

/// Write-protects zero memory or copied pages. Returns whether that may have taken mappings. After an error all is as
/// it was.
pub(crate) fn register_and_protect(uffd: &Uffd, addresses: &Range<usize>) -> Result<bool, Errno> {
    // Copied pages are registered as it is, and stay so.
    match protect(uffd, addresses) {
        Err(Errno::ENOENT) => {}
        other => return other.map(|()| false),
    }
    let outcome = register(uffd, addresses).and_then(|()| protect(uffd, addresses));
    if let Err(errno) = outcome {
        // A part may be registered, when a mapping could not be split.
        if let Err(again) = unregister(uffd, addresses) {
            fatal(&format!(
                "memory cannot be write-protected ({errno}), and then writes not be let through again ({again})"
            ));
        }
    }
    outcome.map(|()| true)
}

/// Makes zero memory that was protected plain zero memory.
pub(crate) fn unprotect_and_unregister(uffd: &Uffd, addresses: &Range<usize>) -> Result<(), Errno> {
    // Before Linux 6.0 the mark outlives the registration. That harms no write, but it would be there again in the
    // next protection, when it would hide that the page was written to.
    let_through(uffd, addresses)?;
    unregister(uffd, addresses)
}

/// Unregisters the range, then wakes it once more: the kernel's own wake comes before that and misses late waiters.
fn unregister(uffd: &Uffd, addresses: &Range<usize>) -> Result<(), Errno> {
    uffd.unregister(addresses.start as *mut _, addresses.len()).map_err(errno_of)?;
    uffd.wake(addresses.start as *mut _, addresses.len()).map_err(errno_of)
}
