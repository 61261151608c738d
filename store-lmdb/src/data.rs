//! The data file: reading, writing, lengthening, syncing.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bigarray_core::metrics::{Counter, Metrics};
use bigarray_core::signals;
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, FirstFailure, PAGE, Result};
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::libc;
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use crate::alloc::{CHUNK, Pages};
use crate::calls::{allocate, uninterrupted};
use crate::record::{DatabaseId, decode_header};

/// A file of at least this many chunks is allocated when it is lengthened, and by more than is needed. A smaller one stays
/// sparse, so that a small database takes little.
const PREALLOCATED_FROM: u64 = 64;
/// Preallocated beyond need: this part of the file,
const PREALLOCATED_PART: u64 = 32;
/// but at most this many chunks.
const PREALLOCATED_CHUNKS: u64 = 32;

/// What a failure means that leaves the content of the disk unknown.
const UNTIL_OPENED_AGAIN: &str = "nothing is written until the database is opened again";

/// The data file, mapped and read through a read-only descriptor.
pub(crate) struct Data {
    read_only: File,
    writable: Option<File>,
    /// The database, for messages.
    pub(crate) dir: PathBuf,
    /// Whether a commit waits for the disk.
    pub(crate) syncs: bool,
    /// Whether the file system copies blocks that are written to (btrfs).
    copies: bool,
    /// The length of the file when it was last synced here: it has that on disk.
    synced_bytes: AtomicU64,
    /// Why nothing is written until the database is opened again.
    failure: FirstFailure,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    bytes_read: Counter,
    bytes_written: Counter,
    syncs: Counter,
    sync_nanos: Counter,
}

impl Data {
    /// The file `data` of `dir`.
    pub(crate) fn new(read_only: File, writable: Option<File>, dir: &Path, syncs: bool) -> Data {
        let (synced_bytes, failure) = (AtomicU64::new(0), FirstFailure::new());
        let copies = fstatfs(&read_only).is_ok_and(|fs| fs.filesystem_type() == BTRFS_SUPER_MAGIC);
        let counters = Counters::default();
        Data { read_only, writable, dir: dir.to_owned(), syncs, copies, synced_bytes, failure, counters }
    }

    /// The descriptor for writing.
    ///
    /// # Errors
    /// If the database is open read-only, or an earlier failure forbids writing.
    pub(crate) fn writable(&self) -> Result<&File> {
        self.failure.check(UNTIL_OPENED_AGAIN)?;
        self.writable.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("the database {} is open for reading only", self.dir.display()))
        })
    }

    /// Forbids all further writing, after an error that leaves the content of the disk unknown.
    pub(crate) fn fail(&self, why: &Error) {
        let event = format!("{UNTIL_OPENED_AGAIN}: {why}");
        // The event is emitted on a new thread. A subscriber may take a lock whose holder waits for a page, and this thread may
        // be the one that loads that page.
        let _ = thread::Builder::new().spawn(move || tracing::error!("{event}"));
        self.failure.set(why.clone());
    }

    /// Whether an earlier failure forbids writing.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Writes pages that no snapshot sees. Their way to the disk begins here, so that less is left for
    /// [`sync`](Data::sync) to wait for.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: the part that was written takes no room any more.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = self.writable()?;
        self.write_unstarted(offset, bytes)?;
        if self.syncs {
            // SAFETY: the file is open, and the call touches no memory of the process. A failure only means that nothing
            // starts.
            unsafe {
                let (start, len) = (offset as i64, bytes.len() as i64);
                libc::sync_file_range(file.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE);
            }
        }
        Ok(())
    }

    /// As [`write_at`](Data::write_at), but the way to the disk begins with the next sync. For pages that the next commits
    /// write again: on a full btrfs, where they were on their way already, LMDB found no room for its meta page.
    pub(crate) fn write_unstarted(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.writable()?.write_all_at(bytes, offset).map_err(|e| {
            let error = self.io(&format!("writing {} bytes to", bytes.len()), e);
            if error.is_store_full() {
                self.punch_hole(&(offset..offset + bytes.len() as u64));
            }
            error
        })?;
        self.counters.bytes_written.add(bytes.len());
        Ok(())
    }

    /// Gives the room of those `bytes` back to the file system: they read as zeros, and writing to them takes room again.
    /// Where the file system cannot do that, nothing changes.
    pub(crate) fn punch_hole(&self, bytes: &Range<u64>) {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Some(file) = self.writable.as_ref().filter(|_| bytes.start < bytes.end && bytes.end <= i64::MAX as u64) {
            let _ = allocate(file, flags, bytes.start as i64, (bytes.end - bytes.start) as i64);
        }
    }

    /// Punches a hole over pages that are about to be written, on a file system that copies blocks: it would keep their old
    /// content until the new one is written beside it, and need room for both.
    pub(crate) fn prepare_for_writing(&self, pages: &Pages) {
        if self.copies {
            self.punch_hole(&bytes_of(pages));
        }
    }

    /// Bytes that the file takes on disk.
    pub(crate) fn stored_bytes(&self) -> Result<u64> {
        Ok(512 * self.metadata()?.blocks())
    }

    /// Whether byte `offset` has a block on disk, or one is about to be allocated. Then a write there takes no room. True
    /// where the file system does not say.
    pub(crate) fn has_bytes_at(&self, offset: u64) -> bool {
        // This moves the position of the descriptor, which no read or write uses.
        match uninterrupted(|| lseek(&self.read_only, offset as i64, Whence::SeekData)) {
            Ok(next) => next == offset as i64,
            Err(errno) => errno != Errno::ENXIO,
        }
    }

    /// Makes the file hold `chunks` chunks, and some more once it is large. Returns whether it must be synced before a record
    /// may rely on the length.
    ///
    /// # Errors
    /// [`ErrorKind::StoreFull`]: it is as long as it was, or preallocated in part.
    pub(crate) fn lengthen(&self, chunks: u64) -> Result<bool> {
        let file = self.writable()?;
        let length = self.length()?;
        if chunks <= length / CHUNK {
            return Ok(chunks > self.synced_bytes.load(Ordering::Relaxed) / CHUNK);
        }
        let Some(bytes) = chunks.checked_mul(CHUNK).filter(|b| *b <= i64::MAX as u64) else {
            return Err(self.io("lengthening", Errno::EFBIG.into()));
        };
        let lengthening = format!("adding {} bytes to", bytes - length);
        // Not on btrfs, for two reasons. One `fallocate` ends compression of the file for good. Allocated blocks are copied
        // when they are written to, so allocation guarantees no room.
        if !self.copies && chunks >= PREALLOCATED_FROM {
            let beyond = bytes.saturating_add((chunks / PREALLOCATED_PART).min(PREALLOCATED_CHUNKS) * CHUNK);
            for end in [beyond, bytes] {
                match allocate(file, FallocateFlags::empty(), length as i64, (end - length) as i64) {
                    Ok(()) => return Ok(true),
                    Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG) if end > bytes => {}
                    Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => break,
                    Err(e) => return Err(self.io(&lengthening, e.into())),
                }
            }
        }
        file.set_len(bytes).map_err(|e| self.io(&lengthening, e))?;
        Ok(true)
    }

    /// Syncs written bytes and the length.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], and from then on for every write: the kernel forgets bytes that it could not write.
    pub(crate) fn sync(&self) -> Result<()> {
        let file = self.writable()?;
        if self.syncs {
            let length = self.length()?;
            let began = Instant::now();
            let synced = signals::let_through(|| file.sync_data());
            self.counters.syncs.add(1);
            self.counters.sync_nanos.add_nanos(began.elapsed());
            synced.map_err(|e| {
                let text = format!("syncing the data file of {}: {e}", self.dir.display());
                let why = Error::new(ErrorKind::Io, text).with_source(e);
                self.fail(&why);
                why.context(UNTIL_OPENED_AGAIN)
            })?;
            self.synced_bytes.fetch_max(length, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds what was counted so far.
    pub(crate) fn add_metrics(&self, metrics: &mut Metrics) {
        metrics.bytes_read += self.counters.bytes_read.get();
        metrics.bytes_written += self.counters.bytes_written.get();
        metrics.syncs += self.counters.syncs.get();
        metrics.sync_nanos += self.counters.sync_nanos.get();
    }

    /// Checks that the file is of the database `id`, as the index is.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it has no header, or that of another database; [`ErrorKind::Unsupported`] for another
    /// format.
    pub(crate) fn check_header(&self, id: DatabaseId) -> Result<()> {
        let mut page = [0; PAGE];
        self.read_at(0, &mut page)?;
        let dir = self.dir.display();
        let found = decode_header(&page).map_err(|e| e.context(format_args!("the data file of {dir}")))?;
        if found == id {
            return Ok(());
        }
        let text = format!(
            "{dir}: the file index is of database {id}, and the file data of database {found}: files of two databases \
             were put together, as by a copy or a restore that was cut short; restore both from one backup"
        );
        Err(Error::new(ErrorKind::Corrupt, text))
    }

    /// Checks that the file has the `bytes` that the index says.
    pub(crate) fn check_length(&self, bytes: u64) -> Result<()> {
        let length = self.length()?;
        if length < bytes {
            let dir = self.dir.display();
            let text =
                format!("the data file of {dir} was cut off: it has {length} bytes and should have {bytes} or more");
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        Ok(())
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn metadata(&self) -> Result<Metadata> {
        self.read_only.metadata().map_err(|e| self.io("asking for the length of", e))
    }

    fn io(&self, what: &str, e: io::Error) -> Error {
        let free = match fstatfs(&self.read_only) {
            Ok(disk) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                let bytes = disk.blocks_available().saturating_mul(disk.block_size() as u64);
                format!(" ({bytes} bytes of its file system are free)")
            }
            _ => String::new(),
        };
        Error::io(format!("{what} the data file of {}{free}", self.dir.display()), e)
    }
}

/// The bytes of `pages` in the file.
pub(crate) fn bytes_of(pages: &Pages) -> Range<u64> {
    pages.start.saturating_mul(PAGE as u64)..pages.end.saturating_mul(PAGE as u64)
}

impl DataFile for Data {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read_only.read_exact_at(buf, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                let end = offset.saturating_add(buf.len() as u64);
                let text = format!("the data file of {} ends before byte {end}", self.dir.display());
                Error::new(ErrorKind::Corrupt, text)
            }
            _ => self.io("reading", e),
        })?;
        self.counters.bytes_read.add(buf.len());
        Ok(())
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.read_only)
    }
}

#[cfg(test)]
mod tests {
    use bigarray_core::store::Store as _;
    use bigarray_core::{Error, ErrorKind};
    use bigarray_testing::{Edit, array_of};

    use crate::{LmdbStore, Options};

    #[test]
    fn after_a_failed_sync_nothing_is_written_until_reopened_but_all_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("a.bigarray"));
        let store = LmdbStore::open(&options).unwrap();
        let commit = |store: &LmdbStore, name: &str| {
            let base = store.snapshot().unwrap();
            Edit::commit(store, &*base, &[Edit::create(name, array_of(1)).page(&*base, 0, 0, 1)])
        };
        commit(&store, "before").unwrap();
        store.shared.data.fail(&Error::new(ErrorKind::Io, "syncing the data file failed: a test says so"));

        let error = commit(&store, "after").unwrap_err();
        assert!(error.is_io() && error.to_string().contains("a test says so"), "{error}");
        assert!(store.snapshot().unwrap().array("before").unwrap().is_some());
        drop(store);
        let store = LmdbStore::open(&options).unwrap();
        commit(&store, "after").unwrap();
        store.check(true).unwrap();
    }
}
