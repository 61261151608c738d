//! The data file: reading, writing, lengthening, syncing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, Result};

/// The data file, mapped and read through a read-only descriptor.
pub(crate) struct Data {
    read_only: File,
    writable: Option<File>,
    dir: PathBuf,
}

impl Data {
    /// The file `data` of `dir`.
    pub(crate) fn new(read_only: File, writable: Option<File>, dir: &Path) -> Data {
        Data { read_only, writable, dir: dir.to_owned() }
    }
}

impl DataFile for Data {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_only.read_exact_at(buf, offset).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::new(
                ErrorKind::Corrupt,
                format!("the data file of {} ends before byte {}", self.dir.display(), offset + buf.len() as u64),
            ),
            _ => Error::io(format!("reading the data file of {}", self.dir.display()), e),
        })
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.read_only)
    }
}
