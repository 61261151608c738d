//! Whether opening a file to write copies it up. overlayfs shows the file of a lower layer until some process opens it to
//! write, and copies it up then. A descriptor from before the copy reads the copy, but *maps* the old file for ever, also
//! in mappings that are made later (Linux 6.18).
//!
//! So a writer opens each file to write before it makes any descriptor or mapping that is used later. A reader copies
//! nothing up: while a file is in a lower layer, no process may write beside such a reader.

use std::fs::File;
use std::os::fd::AsRawFd;

use bigarray_core::Result;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::files::{DATA, Directory, INDEX, failed};
use super::ioctls::{DedupeRange, dedupe_range};

/// The number of overlayfs in `statfs`.
const OVERLAY: u64 = 0x794c_7630;

/// Whether opening a file of the database to write would copy it up. `false` is certain; `true` may be a mistake.
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

/// Whether the file lies in the upper layer. No attribute says so. But overlayfs refuses (`EPERM`) to share bytes of a
/// file of a lower layer, and hands the request to the upper file system for others. The request is to share one byte of
/// the file with itself, which each of those refuses (`EINVAL`), so nothing is changed. An empty file cannot be asked.
fn is_copied_up(file: &File) -> bool {
    let mut request = DedupeRange::new(file.as_raw_fd(), 1);
    match dedupe_range(file, &mut request) {
        Ok(()) => matches!(Errno::from_raw(-request.status()), Errno::EINVAL | Errno::EOPNOTSUPP),
        Err(_) => false,
    }
}
