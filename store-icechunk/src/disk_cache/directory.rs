//! Which files are trusted: those that no other user can have written, reached by no link.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bigarray_core::{Error, ErrorKind, Result};
use nix::fcntl::OFlag;
use nix::sys::statfs::statfs;
use nix::unistd::geteuid;

/// Bits of a mode by which others than the owner may write.
const WRITABLE: u32 = 0o022;

/// With this bit of a directory's mode, only the owner of what is in it may rename and remove that, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// File systems (`f_type` of `statfs`) of this machine alone: ext2 to ext4, XFS, btrfs, tmpfs, overlayfs, F2FS, ZFS, bcachefs.
const LOCAL: [u64; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e];

/// Makes `directory` if it is absent, and gives its path, in which is no link.
///
/// # Errors
/// [`ErrorKind::Invalid`] if others may write to it, or put another one in its place: what is read from it passes for the
/// database's.
pub(super) fn take(directory: &Path) -> Result<PathBuf> {
    let failed = |e| Error::io(format_args!("the disk cache {}", directory.display()), e);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let path = fs::canonicalize(directory).map_err(failed)?;
    let metadata = fs::symlink_metadata(&path).map_err(failed)?;
    if !is_own(&metadata) {
        let text = format!(
            "the disk cache {} {}: only user {}, whose process this is, may be able to write to it, so name another \
             directory, or one that does not exist yet",
            directory.display(),
            owner_and_mode(&metadata),
            geteuid()
        );
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    for above in path.ancestors().skip(1) {
        let metadata = fs::symlink_metadata(above).map_err(failed)?;
        let is_safe = metadata.mode() & WRITABLE == 0 || metadata.mode() & STICKY != 0;
        if !is_safe || !is_trusted(metadata.uid()) {
            let text = format!(
                "the disk cache {} is below {} which {}: other users may put another directory in its place, so name one \
                 below directories that only user {} and root may write to",
                directory.display(),
                above.display(),
                owner_and_mode(&metadata),
                geteuid()
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    Ok(path)
}

/// Whether a file that is mapped stays as it is when it is unlinked: so it is where no other machine reaches the file, which
/// could unlink it for good.
pub(super) fn is_local(directory: &Path) -> bool {
    statfs(directory).is_ok_and(|fs| LOCAL.contains(&(fs.filesystem_type().0 as u64 & 0xffff_ffff)))
}

/// Whether the owner of a directory above is this user or root. In a user namespace that has no number for root, as an
/// unprivileged container, its directories are shown as those of `overflowuid`, which stands for all that have none.
fn is_trusted(uid: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let is_overflow = || read("/proc/sys/kernel/overflowuid").trim().parse() == Ok(uid);
    uid == 0 || uid == geteuid().as_raw() || (is_overflow() && !has_number(&read("/proc/self/uid_map"), uid))
}

/// Whether `uid` is one of the numbers of a user namespace: a line has the first, what it is outside, and how many follow.
fn has_number(uid_map: &str, uid: u32) -> bool {
    let line_has = |line: &str| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (first..first + count).contains(&u64::from(uid)).then_some(())
    };
    // What cannot be read tells nothing of it: it counts as a user.
    uid_map.is_empty() || uid_map.lines().any(|line| line_has(line).is_some())
}

fn owner_and_mode(metadata: &Metadata) -> String {
    format!("belongs to user {} and has mode {:o}", metadata.uid(), metadata.mode() & 0o7777)
}

/// Opens a file of the cache. A link is not followed, and there is no wait for the other end of a pipe.
///
/// # Errors
/// Those of the disk; `ELOOP` for a link.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path)
}

/// Whether this user alone can have written it.
pub(super) fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & WRITABLE == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_tells_its_numbers() {
        let nobody = 65534;
        assert!(has_number("         0          0 4294967295\n", nobody));
        assert!(has_number("0 100000 65536\n", nobody));
        assert!(!has_number("      1000       1000          1\n", nobody));
        assert!(!has_number("0 1000 1\n1 100000 65533\n", nobody));
        assert!(has_number("", nobody));
    }
}
