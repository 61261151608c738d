//! The directory and its files: finding them, and saying what is wrong with the path.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bigarray_core::{Error, ErrorKind, Result};
use nix::fcntl::OFlag;
use nix::sys::statfs::fstatfs;

use crate::options::Options;

/// Permissions of new files, before the umask: as any program's.
pub(crate) const FILE_MODE: u32 = 0o666;

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
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let text = format!("{} is not a directory; a database is one", path.display());
                return Err(Error::new(ErrorKind::Invalid, text));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => make(options)?,
            Err(e) => return Err(failed(path, "looking for the database", e)),
        }
        let file = File::open(path).map_err(|e| failed(path, "opening the directory", e))?;
        let magic =
            fstatfs(&file).map_err(|e| failed(path, "asking for the file system", e.into()))?.filesystem_type().0;
        refuse_network(path, magic as u64, options.allow_network_fs)?;
        Ok(Directory { file, path: path.clone() })
    }

    /// Device and inode.
    pub(crate) fn id(&self) -> Result<(u64, u64)> {
        let found = self.file.metadata().map_err(|e| failed(&self.path, "looking at the directory", e))?;
        Ok((found.dev(), found.ino()))
    }

    /// Bytes of one of its files; `None` if it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for anything but a plain file.
    pub(crate) fn size_of(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => {
                let text = format!("{} is not a plain file, as those of a database are", path.display());
                Err(Error::new(ErrorKind::Corrupt, text))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path, "looking at it", e)),
        }
    }

    /// Opens one of its files as `options` say.
    pub(crate) fn open(&self, name: &str, options: &mut OpenOptions) -> io::Result<File> {
        options.mode(FILE_MODE).custom_flags(OFlag::O_NOFOLLOW.bits()).open(self.path.join(name))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> Result<Vec<std::ffi::OsString>> {
        let of = |e| failed(&self.path, "listing the directory", e);
        fs::read_dir(&self.path).map_err(of)?.map(|entry| Ok(entry.map_err(of)?.file_name())).collect()
    }

    /// Makes its entries, and its own in its parent, survive a power loss.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| failed(&self.path, "syncing the directory", e))?;
        match File::open(self.path.join("..")) {
            Ok(parent) => parent.sync_all().map_err(|e| failed(&self.path, "syncing the directory above", e)),
            // It was not made by us then: we could not have written there.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(e) => Err(failed(&self.path, "opening the directory above", e)),
        }
    }
}

fn make(options: &Options) -> Result<()> {
    let path = &options.path;
    if !options.create || options.read_only {
        let why = if options.read_only { "it is opened read-only" } else { "create(false) was asked for" };
        let text = format!("there is no database at {}, and none is created since {why}", path.display());
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    match fs::DirBuilder::new().mode(0o777).create(path) {
        // Another process was faster; a dangling link shows when it is opened.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let text = format!("{} cannot be created: there is no directory {}", path.display(), parent.display());
            Err(Error::new(ErrorKind::NotFound, text).with_source(e))
        }
        made => made.map_err(|e| failed(path, "creating the database", e)),
    }
}

/// An error of the system with what can be done about it.
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

/// Locks and shared mappings of another machine's files are promises that network file systems break.
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
