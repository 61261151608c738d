//! The handlers of `fork` (`pthread_atfork`). The one that runs in the child makes system calls and
//! touches atomics only: other threads of the parent may have held any lock, that of the allocator too.

use std::alloc::{Layout, handle_alloc_error};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::thread;

use nix::libc;

const FREE: RawFd = -1;

/// A descriptor that children lose, in a list that only grows: to as many as were open at once.
pub(crate) struct Slot {
    fd: AtomicI32,
    next: *const Slot,
}

// SAFETY: `next` is set before a slot is published, and slots live for ever.
unsafe impl Sync for Slot {}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Set to zero in every child of `fork`, once the handlers are installed.
pub(crate) static ZEROED_IN_CHILD: AtomicU64 = AtomicU64::new(0);

/// Forks that have begun, and those of them that are over.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

impl Slot {
    /// To be called before the descriptor is closed: its number may be another's then.
    pub(crate) fn release(&self) {
        self.fd.store(FREE, Ordering::Release);
    }
}

/// How many forks of this process there were, when none is under way.
pub(crate) fn forks() -> u64 {
    install();
    loop {
        let begun = BEGUN.load(Ordering::SeqCst);
        if begun <= ENDED.load(Ordering::SeqCst) {
            return begun;
        }
        // Another thread is inside `fork`, which takes as long as it takes to copy the page tables.
        thread::yield_now();
    }
}

/// From now on children of `fork` lose this descriptor.
pub(crate) fn register(fd: RawFd) -> &'static Slot {
    let mut at = SLOTS.load(Ordering::Acquire).cast_const();
    // SAFETY: slots live for ever.
    while let Some(slot) = unsafe { at.as_ref() } {
        if slot.fd.compare_exchange(FREE, fd, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
            return slot;
        }
        at = slot.next;
    }
    let new = Box::into_raw(Box::new(Slot { fd: AtomicI32::new(fd), next: ptr::null() }));
    let mut first = SLOTS.load(Ordering::Acquire);
    loop {
        // SAFETY: the slot is not published yet.
        unsafe { (*new).next = first };
        match SLOTS.compare_exchange(first, new, Ordering::SeqCst, Ordering::Acquire) {
            // SAFETY: leaked.
            Ok(_) => return unsafe { &*new },
            Err(other) => first = other,
        }
    }
}

/// Installs the handlers. Two threads may both do it, which does no harm: each set of handlers counts its own.
pub(crate) fn install() {
    if INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: the handlers are functions of this program that neither unwind nor allocate.
    if unsafe { libc::pthread_atfork(Some(before), Some(after_in_parent), Some(in_child)) } != 0 {
        // Its only failure: no memory for an entry of the C library's list.
        handle_alloc_error(Layout::new::<[usize; 4]>());
    }
    INSTALLED.store(true, Ordering::Release);
}

unsafe extern "C" fn before() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn after_in_parent() {
    ENDED.fetch_add(1, Ordering::SeqCst);
}

unsafe extern "C" fn in_child() {
    ZEROED_IN_CHILD.store(0, Ordering::Relaxed);
    // Forks of other threads are not under way here.
    ENDED.store(BEGUN.load(Ordering::SeqCst), Ordering::SeqCst);
    // SAFETY: a name that ends with zero.
    let empty = unsafe { libc::memfd_create(c"bigarray-forked".as_ptr(), libc::MFD_CLOEXEC) };
    // The kernel copies the table of descriptors before the memory. What another thread opened and registered between
    // the two is in the list, but its number is free here, and may have become that of the empty file itself.
    let mut is_in_list = false;
    let mut at = SLOTS.load(Ordering::Acquire).cast_const();
    // SAFETY: slots live for ever.
    while let Some(slot) = unsafe { at.as_ref() } {
        let fd = slot.fd.load(Ordering::Acquire);
        at = slot.next;
        if fd == FREE {
            continue;
        }
        if fd == empty {
            is_in_list = true;
            continue;
        }
        // The number stays taken, so that what is left of its owner can never mean another file.
        // SAFETY: the descriptor is this crate's own, and its owner is not used in the child.
        if unsafe { libc::dup3(empty, fd, libc::O_CLOEXEC) } < 0 {
            // No file could be had to put in its place.
            // SAFETY: as above.
            unsafe { libc::close(fd) };
        }
    }
    if empty >= 0 && !is_in_list {
        // SAFETY: made above.
        unsafe { libc::close(empty) };
    }
}
