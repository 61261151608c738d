//! overlayfs, which shows files of a lower layer until somebody opens them to write, and copies them up then. A descriptor
//! from before reads the copy, and *maps* the old file for ever, also in mappings that are made later (Linux 6.18).
//!
//! So who writes opens each file to write before it makes any descriptor or mapping that is used later; and who only
//! reads copies nothing up: while a file is in a lower layer, nobody may write beside such a reader.

use std::fs::File;
use std::os::fd::AsRawFd;

use bigarray_core::Result;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::files::{Directory, failed};
use super::ioctls::{DedupeRange, dedupe_range};
use super::{DATA, INDEX};

/// Its number in `statfs`.
const OVERLAY: u64 = 0x794c_7630;

/// Whether to open a file of the database to write would copy it up, as far as can be told: no means no.
pub(super) fn would_copy_up(dir: &Directory) -> Result<bool> {
    if dir.file_system()? != OVERLAY {
        return Ok(false);
    }
    for name in [DATA, INDEX] {
        let file = dir.open(name, OFlag::O_RDONLY).map_err(|e| failed(&dir.path.join(name), "opening it", e))?;
        if !is_copied_up(&file) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// overlayfs tells by no attribute where a file is. But it refuses (`EPERM`) to share bytes of a file of a lower layer with
/// another, and leaves it to the upper file system if there is one. A file is asked to share a byte with itself, which
/// each of those refuses otherwise (`EINVAL`): nothing is changed. An empty file cannot be asked.
fn is_copied_up(file: &File) -> bool {
    let mut request = DedupeRange::new(file.as_raw_fd(), 1);
    match dedupe_range(file, &mut request) {
        Ok(()) => matches!(Errno::from_raw(-request.status()), Errno::EINVAL | Errno::EOPNOTSUPP),
        Err(_) => false,
    }
}
