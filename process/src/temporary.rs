//! Temporary files: with a name that goes with them, and without one.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::Origin;

/// Names that are tried: one that is taken stands for a file of another process, or one that a killed process left.
const TRIES: u32 = 64;

/// A new file under a name of its own, which is removed when this is dropped, unless it was given its [last
/// name](TemporaryFile::persist) before. A child of `fork` removes nothing, and renames nothing.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    /// `None` once the file has its last name.
    path: Option<PathBuf>,
    origin: Origin,
}

impl TemporaryFile {
    /// Letters and digits between prefix and suffix of the name.
    pub const UNIQUE: usize = 16;

    /// Makes a file in `directory`, to be read and written. Its name is `prefix`, [`UNIQUE`](TemporaryFile::UNIQUE) letters
    /// and digits, and `suffix`; its mode is `mode` without the bits of the umask.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new_in(directory: &Path, prefix: &str, suffix: &str, mode: u32) -> io::Result<TemporaryFile> {
        let mut options = File::options();
        options.read(true).write(true).mode(mode);
        // The current directory may change before the file is renamed or removed.
        let (file, path) = create(&std::path::absolute(directory)?, prefix, suffix, &mut options)?;
        Ok(TemporaryFile { file, path: Some(path), origin: Origin::here() })
    }

    /// The open file.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Renames the file to `path`, where it replaces another one, and stays.
    ///
    /// # Errors
    /// Those of the file system: the file is removed then. `PermissionDenied` in a forked child, whose parent's it is.
    pub fn persist(mut self, path: &Path) -> io::Result<()> {
        if !self.origin.is_here() {
            return Err(ErrorKind::PermissionDenied.into());
        }
        if let Some(own) = &self.path {
            fs::rename(own, path)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.take().filter(|_| self.origin.is_here()) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A new file on the file system of `directory` that has no name, to be read and written. Its room is free again when the
/// last descriptor of it is closed.
///
/// # Errors
/// Those of the file system.
pub fn unnamed_file_in(directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let flags = (OFlag::O_TMPFILE | OFlag::O_EXCL).bits();
    match options.clone().custom_flags(flags).open(directory) {
        // Overlayfs on some kernels, NFS and FUSE have no such files. A kernel that does not know the flag takes it for the
        // directory.
        Err(error) if lacks_unnamed_files(&error) => unlinked_file_in(directory, &mut options),
        opened => opened,
    }
}

/// The same where the file system makes no file without a name.
fn unlinked_file_in(directory: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let (file, path) = create(directory, ".bigarray-", ".tmp", options)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn lacks_unnamed_files(error: &io::Error) -> bool {
    let known = [Errno::EOPNOTSUPP, Errno::EISDIR, Errno::ENOENT, Errno::EINVAL];
    error.raw_os_error().is_some_and(|code| known.contains(&Errno::from_raw(code)))
}

/// Makes a file that was not there.
fn create(directory: &Path, prefix: &str, suffix: &str, options: &mut OpenOptions) -> io::Result<(File, PathBuf)> {
    let mut last = None;
    for _ in 0..TRIES {
        // Each has keys of its own. Where another program guesses a name, the next one is tried.
        let unique = RandomState::new().hash_one(std::process::id());
        let path = directory.join(format!("{prefix}{unique:0width$x}{suffix}", width = TemporaryFile::UNIQUE));
        match options.create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = Some(error),
            opened => return opened.map(|file| (file, path)),
        }
    }
    Err(last.unwrap_or_else(|| ErrorKind::AlreadyExists.into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_goes_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = TemporaryFile::new_in(dir.path(), ".new-", ".part", 0o600).unwrap();
        let [name] = &names(dir.path())[..] else { panic!("one file") };
        let unique = name.strip_prefix(".new-").and_then(|rest| rest.strip_suffix(".part")).unwrap();
        assert!(unique.len() == TemporaryFile::UNIQUE && unique.bytes().all(|c| c.is_ascii_alphanumeric()), "{name}");
        assert_eq!(file.as_file().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        drop(file);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn files_that_are_made_at_once_are_different_ones() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..100).map(|_| TemporaryFile::new_in(dir.path(), "", "", 0o600).unwrap()).collect();
        assert_eq!(names(dir.path()).len(), files.len());
    }

    #[test]
    fn the_last_name_stays_and_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        fs::write(&path, "old").unwrap();
        let mut file = TemporaryFile::new_in(dir.path(), ".new-", ".part", 0o644).unwrap();
        file.write_all(b"new").unwrap();
        file.persist(&path).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), names(dir.path()).len()), (&b"new"[..], 1));
    }

    #[test]
    fn a_file_that_cannot_be_renamed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let file = TemporaryFile::new_in(dir.path(), ".new-", ".part", 0o600).unwrap();
        file.persist(&dir.path().join("absent/out")).unwrap_err();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_file_without_a_name_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = File::options();
        options.read(true).write(true);
        for mut file in [unnamed_file_in(dir.path()).unwrap(), unlinked_file_in(dir.path(), &mut options).unwrap()] {
            file.write_all(b"spilled").unwrap();
            file.rewind().unwrap();
            let mut back = String::new();
            file.read_to_string(&mut back).unwrap();
            assert_eq!((back.as_str(), file.metadata().unwrap().nlink()), ("spilled", 0));
            assert!(names(dir.path()).is_empty());
        }
    }

    #[test]
    fn a_directory_that_is_absent_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert_eq!(unnamed_file_in(&absent).unwrap_err().kind(), ErrorKind::NotFound);
        let named = TemporaryFile::new_in(&absent, "", "", 0o600).unwrap_err();
        assert_eq!(named.kind(), ErrorKind::NotFound);
    }
}
