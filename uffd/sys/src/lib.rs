//! `<linux/userfaultfd.h>` in Rust, as the crate `userfaultfd` wants it.
//!
//! Stands in for the published `userfaultfd-sys`, which generates the same with bindgen while it is built and so needs
//! libclang. The interface is frozen by the kernel: structures and numbers below are what every kernel since 4.11
//! understands, whatever headers a machine has.

#![no_std]
#![forbid(unsafe_code)]
// The names are the kernel's.
#![allow(non_camel_case_types)]

/// An event, as `read` returns it. The kernel packs it; without padding to leave out, natural alignment is the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct uffd_msg {
    /// Which event: `UFFD_EVENT_…`.
    pub event: u8,
    /// Zero.
    pub reserved1: u8,
    /// Zero.
    pub reserved2: u16,
    /// Zero.
    pub reserved3: u32,
    /// What the event tells.
    pub arg: uffd_msg_arg,
}

/// What an event tells; which field counts is up to [`uffd_msg::event`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union uffd_msg_arg {
    /// Of `UFFD_EVENT_PAGEFAULT`.
    pub pagefault: uffd_msg_pagefault,
    /// Of `UFFD_EVENT_FORK`.
    pub fork: uffd_msg_fork,
    /// Of `UFFD_EVENT_REMAP`.
    pub remap: uffd_msg_remap,
    /// Of `UFFD_EVENT_REMOVE` and `UFFD_EVENT_UNMAP`.
    pub remove: uffd_msg_remove,
    /// Fixes the size.
    pub reserved: [u64; 3],
}

/// A page fault.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct uffd_msg_pagefault {
    /// `UFFD_PAGEFAULT_FLAG_…`.
    pub flags: u64,
    /// Where.
    pub address: u64,
    /// Of the thread.
    pub feat: uffd_msg_pagefault_feat,
}

/// Set if `UFFD_FEATURE_THREAD_ID` was asked for.
#[repr(C)]
#[derive(Clone, Copy)]
pub union uffd_msg_pagefault_feat {
    /// Thread id.
    pub ptid: u32,
}

/// A fork.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct uffd_msg_fork {
    /// The child's userfaultfd.
    pub ufd: u32,
}

/// A range moved by mremap.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct uffd_msg_remap {
    /// Old address.
    pub from: u64,
    /// New address.
    pub to: u64,
    /// Bytes.
    pub len: u64,
}

/// A range removed or unmapped.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct uffd_msg_remove {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

/// Argument of `UFFDIO_API`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_api {
    /// [`UFFD_API`].
    pub api: u64,
    /// Wanted; the kernel answers with those it has.
    pub features: u64,
    /// Answer: the ioctls there are, as bits.
    pub ioctls: u64,
}

/// A range of addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
}

/// Argument of `UFFDIO_REGISTER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_register {
    /// What to register.
    pub range: uffdio_range,
    /// `UFFDIO_REGISTER_MODE_…`.
    pub mode: u64,
    /// Answer: the ioctls for the range, as bits.
    pub ioctls: u64,
}

/// Argument of `UFFDIO_COPY`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_copy {
    /// To.
    pub dst: u64,
    /// From.
    pub src: u64,
    /// Bytes.
    pub len: u64,
    /// `UFFDIO_COPY_MODE_…`.
    pub mode: u64,
    /// Answer: bytes copied, or an error number, negative.
    pub copy: i64,
}

/// Argument of `UFFDIO_ZEROPAGE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_zeropage {
    /// What to fill.
    pub range: uffdio_range,
    /// `UFFDIO_ZEROPAGE_MODE_…`.
    pub mode: u64,
    /// Answer: bytes filled, or an error number, negative.
    pub zeropage: i64,
}

/// Argument of `UFFDIO_WRITEPROTECT`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_writeprotect {
    /// What to protect, or to release.
    pub range: uffdio_range,
    /// `UFFDIO_WRITEPROTECT_MODE_…`.
    pub mode: u64,
}

/// Argument of `UFFDIO_CONTINUE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct uffdio_continue {
    /// What to map.
    pub range: uffdio_range,
    /// `UFFDIO_CONTINUE_MODE_…`.
    pub mode: u64,
    /// Answer: bytes mapped, or an error number, negative.
    pub mapped: i64,
}

// What the kernel encodes in its ioctl numbers.
const _: () = assert!(size_of::<uffd_msg>() == 32);
const _: () = assert!(size_of::<uffdio_api>() == 24);
const _: () = assert!(size_of::<uffdio_register>() == 32);
const _: () = assert!(size_of::<uffdio_copy>() == 40);
const _: () = assert!(size_of::<uffdio_zeropage>() == 32);
const _: () = assert!(size_of::<uffdio_writeprotect>() == 24);
const _: () = assert!(size_of::<uffdio_continue>() == 32);

macro_rules! constants {
    ($kind:ty: $($name:ident = $value:expr,)*) => {
        $(#[doc = concat!("As in `<linux/userfaultfd.h>`: ", stringify!($value), ".")] pub const $name: $kind = $value;)*
    };
}

constants! { u8:
    USERFAULTFD_IOC = 0xAA,
    UFFDIO = 0xAA,
    UFFD_EVENT_PAGEFAULT = 0x12,
    UFFD_EVENT_FORK = 0x13,
    UFFD_EVENT_REMAP = 0x14,
    UFFD_EVENT_REMOVE = 0x15,
    UFFD_EVENT_UNMAP = 0x16,
    _UFFDIO_REGISTER = 0x00,
    _UFFDIO_UNREGISTER = 0x01,
    _UFFDIO_WAKE = 0x02,
    _UFFDIO_COPY = 0x03,
    _UFFDIO_ZEROPAGE = 0x04,
    _UFFDIO_WRITEPROTECT = 0x06,
    _UFFDIO_CONTINUE = 0x07,
    _UFFDIO_API = 0x3F,
    UFFD_USER_MODE_ONLY = 1,
}

constants! { u64:
    UFFD_API = 0xAA,
    UFFD_PAGEFAULT_FLAG_WRITE = 1 << 0,
    UFFD_PAGEFAULT_FLAG_WP = 1 << 1,
    UFFD_PAGEFAULT_FLAG_MINOR = 1 << 2,
    UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0,
    UFFD_FEATURE_EVENT_FORK = 1 << 1,
    UFFD_FEATURE_EVENT_REMAP = 1 << 2,
    UFFD_FEATURE_EVENT_REMOVE = 1 << 3,
    UFFD_FEATURE_MISSING_HUGETLBFS = 1 << 4,
    UFFD_FEATURE_MISSING_SHMEM = 1 << 5,
    UFFD_FEATURE_EVENT_UNMAP = 1 << 6,
    UFFD_FEATURE_SIGBUS = 1 << 7,
    UFFD_FEATURE_THREAD_ID = 1 << 8,
    UFFDIO_REGISTER_MODE_MISSING = 1 << 0,
    UFFDIO_REGISTER_MODE_WP = 1 << 1,
    UFFDIO_REGISTER_MODE_MINOR = 1 << 2,
    UFFDIO_COPY_MODE_DONTWAKE = 1 << 0,
    UFFDIO_COPY_MODE_WP = 1 << 1,
    UFFDIO_ZEROPAGE_MODE_DONTWAKE = 1 << 0,
    UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0,
    UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1,
    UFFDIO_CONTINUE_MODE_DONTWAKE = 1 << 0,
}
