//! Anonymous files in memory: for copied pages, and for a page that cannot be accessed.

use std::fs::File;

use bigarray_core::Result;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::shortage::os_error;

/// An anonymous file in memory.
pub(crate) fn memory_file(name: &str) -> Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC)
        .map_err(|errno| os_error("creating a file in memory (memfd_create)", errno))?;
    Ok(File::from(fd))
}
