//! Whose files are trusted: those that no other user can have written.

use std::fs::{self, DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bigarray_core::{Error, ErrorKind, Result};
use nix::unistd::geteuid;

/// Bits of a mode by which others than the owner may write.
const WRITABLE: u32 = 0o022;

/// Makes `directory` if it is absent, and gives its path, which does not depend on the working directory.
///
/// # Errors
/// [`ErrorKind::Invalid`] if others may write to it: what is read from it passes for the database's.
pub(super) fn take(directory: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io(format_args!("the disk cache {}", directory.display()), e);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let metadata = fs::metadata(directory).map_err(failed)?;
    if !is_own(&metadata) {
        let text = format!(
            "the disk cache {} belongs to user {} and has mode {:o}: only user {}, whose process this is, may be able to \
             write to it, so name another directory, or one that does not exist yet",
            directory.display(),
            metadata.uid(),
            metadata.mode() & 0o7777,
            geteuid()
        );
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    fs::canonicalize(directory).map_err(failed)
}

/// Whether this user alone can have written it.
pub(super) fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & WRITABLE == 0
}
