//! The directory of a database and its files: finding them, and explaining errors of the path.
//!
//! The path is resolved once. Every file, LMDB's too, is reached through the descriptor of the directory, so all of them
//! are in one directory, even if the path leads elsewhere meanwhile.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bigarray_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::calls::uninterrupted;
use crate::options::Options;

/// LMDB's file.
pub(crate) const INDEX: &str = "index";
/// LMDB's lock and reader table. LMDB gives it this name.
pub(crate) const LOCK_TABLE: &str = "index-lock";
/// The data file.
pub(crate) const DATA: &str = "data";
/// Says that the database is written to without syncing; see `durability`.
pub(crate) const UNSYNCED: &str = "unsynced";

/// Permissions of new files, before the umask: those that any program gives.
pub(crate) const FILE_MODE: u32 = 0o666;

/// Tells a file from every other one of this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct FileId {
    device: u64,
    pub(super) inode: u64,
}

impl FileId {
    /// The id of an open file.
    pub(crate) fn of(file: &File) -> io::Result<FileId> {
        Ok(FileId::from(&file.metadata()?))
    }
}

impl From<&Metadata> for FileId {
    fn from(found: &Metadata) -> FileId {
        FileId { device: found.dev(), inode: found.ino() }
    }
}

impl From<&FileStat> for FileId {
    fn from(found: &FileStat) -> FileId {
        FileId { device: found.st_dev, inode: found.st_ino }
    }
}

/// The directory of a database. Holding it open keeps its inode from being given to another.
pub(crate) struct Directory {
    pub(crate) file: File,
    /// As the caller spelled it, for messages.
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Finds the directory, or makes an empty one.
    pub(crate) fn find_or_make(options: &Options) -> Result<Directory> {
        let path = &options.path;
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the path of the database is empty"));
        }
        let opened = match open_directory(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make(options)?;
                open_directory(path)
            }
            opened => opened,
        };
        let file = opened.map_err(|e| match e.raw_os_error() {
            Some(nix::libc::ENOENT) if fs::read_link(path).is_ok() => dangling(path, e),
            Some(nix::libc::ENOTDIR) if fs::metadata(path).is_ok() => {
                let text = format!("{} is not a directory, as a database is; give a path that is free", path.display());
                Error::new(ErrorKind::Invalid, text)
            }
            _ => failed(path, "opening the directory", e),
        })?;
        let dir = Directory { file, path: path.clone() };
        refuse_network(path, dir.file_system()?, options.allow_network_fs)?;
        Ok(dir)
    }

    /// The kernel's number for the kind of its file system (`f_type` of `statfs`).
    pub(crate) fn file_system(&self) -> Result<u64> {
        let found = uninterrupted(|| fstatfs(&self.file));
        let found = found.map_err(|e| failed(&self.path, "asking for the file system", e.into()))?;
        Ok(found.filesystem_type().0 as u64 & 0xffff_ffff)
    }

    /// Its id.
    pub(crate) fn id(&self) -> Result<FileId> {
        FileId::of(&self.file).map_err(|e| failed(&self.path, "looking at the directory", e))
    }

    /// Looks at the entry of that name; `None` if there is none.
    fn stat(&self, name: &str) -> io::Result<Option<FileStat>> {
        match uninterrupted(|| fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The id of the file that has that name now.
    pub(crate) fn id_of(&self, name: &str) -> io::Result<Option<FileId>> {
        Ok(self.stat(name)?.as_ref().map(FileId::from))
    }

    /// The length of one of its files in bytes; `None` if there is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for anything but a plain file.
    pub(crate) fn size_of(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path.join(name);
        match self.stat(name) {
            Ok(Some(found)) if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG => {
                Ok(Some(found.st_size as u64))
            }
            Ok(Some(_)) => {
                let text = format!("{} is not a plain file, as those of a database are", path.display());
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(failed(&path, "looking at it", e)),
        }
    }

    /// Opens one of its files; a link in its place is refused.
    pub(crate) fn open(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = uninterrupted(|| openat(&self.file, name, flags, Mode::from_bits_truncate(FILE_MODE)));
        Ok(File::from(opened?))
    }

    /// Opens the directory itself once more, for a lock that belongs to the open file.
    pub(crate) fn open_again(&self) -> io::Result<File> {
        self.open(".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// A path to one of its files, for LMDB, which opens paths only. It leads through the descriptor, and so to this very
    /// directory, as long as this value lives.
    pub(crate) fn reach(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd()))
    }

    /// Removes one of its files. A file that is missing is no error.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match uninterrupted(|| unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir)) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Gives one of its files another name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(uninterrupted(|| renameat(&self.file, from, &self.file, to))?)
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let of = |e| failed(&self.path, "listing the directory (by way of /proc/self/fd, so /proc must be mounted)", e);
        fs::read_dir(self.reach("")).map_err(of)?.map(|entry| Ok(entry.map_err(of)?.file_name())).collect()
    }

    /// Makes its entries, and its own in its parent, survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| failed(&self.path, "syncing the directory", e))?;
        match self.open("..", OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Ok(parent) => parent.sync_all().map_err(|e| failed(&self.path, "syncing the directory above", e)),
            // Then this process did not make it: it may not write there.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(e) => Err(failed(&self.path, "opening the directory above", e)),
        }
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path)
}

/// The link `path` leads nowhere.
fn dangling(path: &Path, e: io::Error) -> Error {
    let to = fs::read_link(path).unwrap_or_default();
    let (link, to) = (path.display(), to.display());
    let text = format!("{link} is a link to {to}, where there is nothing: create that directory, or remove the link");
    Error::new(ErrorKind::NotFound, text).with_source(e)
}

fn make(options: &Options) -> Result<()> {
    let path = &options.path;
    if !options.create || options.read_only {
        let why = if options.read_only { "it is opened read-only" } else { "create(false) was asked for" };
        let text = format!("there is no database at {}, and none is created since {why}", path.display());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    match fs::DirBuilder::new().mode(0o777).create(path) {
        // Another process made it meanwhile. A dangling link shows when it is opened.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let is_home = path.components().next().is_some_and(|first| first.as_os_str() == "~");
            let hint = if is_home { "; a shell makes a home directory of ~, a program does not" } else { "" };
            let text =
                format!("{} cannot be created: there is no directory {}{hint}", path.display(), parent.display());
            Err(Error::new(ErrorKind::NotFound, text).with_source(e))
        }
        // There is nothing to be read yet.
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            let text = format!(
                "{} cannot be created: {e}; give a path below a directory that you may write to",
                path.display()
            );
            Err(Error::new(ErrorKind::Io, text).with_source(e))
        }
        made => made.map_err(|e| failed(path, "creating the database", e)),
    }
}

/// Turns an error of the system into one with a hint.
pub(crate) fn failed(path: &Path, what: &str, e: io::Error) -> Error {
    let (kind, hint) = match e.kind() {
        io::ErrorKind::PermissionDenied => {
            (None, "; if reading is enough, and permitted, open it with read_only(true)")
        }
        io::ErrorKind::ReadOnlyFilesystem => (None, "; what is there already can be opened with read_only(true)"),
        io::ErrorKind::NotFound => (Some(ErrorKind::NotFound), ""),
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (Some(ErrorKind::Invalid), "")
        }
        _ if e.raw_os_error() == Some(nix::libc::ELOOP) => (Some(ErrorKind::Invalid), ""),
        _ => return Error::io(format_args!("{}: {what}", path.display()), e),
    };
    let text = format!("{}: {what}: {e}{hint}", path.display());
    Error::new(kind.unwrap_or(ErrorKind::Io), text).with_source(e)
}

/// Refuses network file systems: locks and shared mappings of their files cannot be relied on.
fn refuse_network(path: &Path, magic: u64, allowed: bool) -> Result<()> {
    let Some((_, name)) = NETWORK.iter().find(|(number, _)| *number == magic & 0xffff_ffff) else { return Ok(()) };
    if allowed {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "{} lies on a file system of kind {name}, where locks and mappings cannot be relied on: use a local disk, or \
             allow_network_fs(true) if only this machine ever opens it",
            path.display()
        ),
    ))
}

/// File systems (`f_type` of `statfs`) whose files may live on another machine, or behind a program.
const NETWORK: [(u64, &str); 16] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x564c, "NCP"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "vboxsf"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_refused_unless_allowed() {
        let path = Path::new("/mnt/share/a.bigarray");
        for magic in [0x6969, 0x6573_5546, 0xff53_4d42, 0xffff_ffff_ff53_4d42] {
            let error = refuse_network(path, magic, false).unwrap_err();
            assert!(error.is_unsupported() && error.to_string().contains("/mnt/share/a.bigarray"), "{error}");
            assert!(error.to_string().contains("allow_network_fs"), "{error}");
            refuse_network(path, magic, true).unwrap();
        }
        // ext4, tmpfs, overlayfs, btrfs
        for magic in [0xef53, 0x0102_1994, 0x794c_7630, 0x9123_683e] {
            refuse_network(path, magic, false).unwrap();
        }
    }
}
