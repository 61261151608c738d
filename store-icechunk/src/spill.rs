//! Where a transaction writes before its commit: a file of this machine without a name. A page sent to object storage
//! before its commit would be a request each, and an object that nothing refers to if the transaction aborts.

use std::any::Any;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bigarray_core::store::{SpillArea, SpillSlot, SpilledPages};
use bigarray_core::{Descriptor, Error, ErrorKind, PAGE, Result};
use bigarray_process::unnamed_file_in;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::checksum::crc32c;

/// The spill area of one transaction. The file is made by the first write.
pub(crate) struct LocalSpillArea {
    file: OnceLock<Arc<SpillFile>>,
    dir: Box<Path>,
}

impl LocalSpillArea {
    /// A spill area in a file of the directory `dir`.
    pub(crate) fn new(dir: &Path) -> LocalSpillArea {
        LocalSpillArea { file: OnceLock::new(), dir: dir.into() }
    }

    fn file(&self) -> Result<&Arc<SpillFile>> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = unnamed_file_in(&self.dir)
            .map_err(|e| Error::io(format_args!("{}: making a file to spill to", self.dir.display()), e))?;
        Ok(self.file.get_or_init(|| Arc::new(SpillFile { file, end: AtomicU64::new(0), dir: self.dir.clone() })))
    }
}

impl SpillArea for LocalSpillArea {
    fn write(&self, _: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>> {
        let slot = self.file()?.write(first_page, bytes)?;
        Ok(vec![SpilledPages { pages: slot.pages(), slot: Arc::new(slot) }])
    }

    /// Never worth it: the commit encodes whole chunks, and would have to decode this first.
    fn write_packed(&self, _: &Descriptor, _: &[u8], _: u32) -> Result<Option<SpilledPages>> {
        Ok(None)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A file that only grows. What is given back is punched out of it, so that it takes the room of what is held.
struct SpillFile {
    file: File,
    /// Where the next slot begins.
    end: AtomicU64,
    dir: Box<Path>,
}

impl SpillFile {
    fn write(self: &Arc<Self>, first_page: u32, bytes: &[u8]) -> Result<LocalSlot> {
        let at = self.end.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let checksums = bytes.chunks_exact(PAGE).map(crc32c).collect();
        let slot = LocalSlot { file: Arc::clone(self), at, first_page, checksums };
        // After an error the slot gives the room back.
        self.file.write_all_at(bytes, at).map_err(|e| self.error("spilling to it", e))?;
        Ok(slot)
    }

    fn error(&self, what: &str, error: std::io::Error) -> Error {
        Error::io(format_args!("a temporary file in {}: {what}", self.dir.display()), error)
    }
}

/// Spilled pages that follow each other.
pub(crate) struct LocalSlot {
    file: Arc<SpillFile>,
    at: u64,
    first_page: u32,
    checksums: Box<[u32]>,
}

impl LocalSlot {
    fn pages(&self) -> std::ops::Range<u32> {
        self.first_page..self.first_page + self.checksums.len() as u32
    }
}

impl SpillSlot for LocalSlot {
    fn read(&self, first_page: u32, buf: &mut [u8]) -> Result<()> {
        let first = (first_page - self.first_page) as usize;
        let at = self.at + (first * PAGE) as u64;
        self.file.file.read_exact_at(buf, at).map_err(|e| self.file.error("reading what was spilled to it", e))?;
        for (page, (bytes, checksum)) in buf.chunks_exact(PAGE).zip(&self.checksums[first..]).enumerate() {
            if crc32c(bytes) != *checksum {
                let text = format!(
                    "a temporary file in {}: spilled page {} of a block does not fit its checksum",
                    self.file.dir.display(),
                    first_page + page as u32
                );
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
        }
        Ok(())
    }

    /// Nothing here is mapped: the file is not that of a snapshot.
    fn extent(&self, _: u32) -> Option<u64> {
        None
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for LocalSlot {
    fn drop(&mut self) {
        let bytes = (self.checksums.len() * PAGE) as i64;
        let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // A file system without holes keeps the room until the transaction ends.
        let _ = fallocate(&self.file.file, how, self.at as i64, bytes);
    }
}
