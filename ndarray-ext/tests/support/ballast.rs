//! Mappings that leave few for others.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::{PAGE, runs_if};

/// `vm.max_map_count`: how many mappings a process may have.
pub(crate) fn most_mappings() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap()
}

/// Whether that are few enough for a test to use them up.
pub(crate) fn are_few_mappings() -> bool {
    runs_if(most_mappings() <= 300_000, "vm.max_map_count is so high that to come near it takes minutes")
}

/// Mappings of a page each. Gone when dropped.
pub(crate) struct Ballast(Vec<(NonNull<c_void>, usize)>);

impl Ballast {
    /// As many as bring the process to `mappings`.
    pub(crate) fn up_to(mappings: usize) -> Ballast {
        let mut ballast = Ballast(Vec::with_capacity(1 << 10));
        ballast.add(mappings - super::process::mappings()).unwrap();
        ballast
    }

    /// All that there are.
    pub(crate) fn all() -> Ballast {
        let mut ballast = Ballast::up_to(most_mappings() - 100);
        while ballast.add(2).is_ok() {}
        ballast
    }

    fn add(&mut self, mappings: usize) -> Result<(), Errno> {
        let len = NonZeroUsize::new(mappings * PAGE).unwrap();
        // SAFETY: a new mapping, which no other code knows.
        let at = unsafe { mmap_anonymous(None, len, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }?;
        self.0.push((at, len.get()));
        // The first page is left as it is: whatever comes to lie before it may be read.
        for page in (1..mappings).step_by(2) {
            // SAFETY: a page of it. Its protection differs from that of its neighbours, so they are not one mapping.
            unsafe { mprotect(at.byte_add(page * PAGE), PAGE, ProtFlags::PROT_READ) }?;
        }
        Ok(())
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        for &(at, len) in &self.0 {
            // SAFETY: its own, and no reference points into it.
            unsafe { munmap(at, len) }.unwrap();
        }
    }
}
