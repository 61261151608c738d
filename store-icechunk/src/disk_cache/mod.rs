//! Decoded chunks in files of this machine, shared by the processes of one user.
//!
//! | module | subject |
//! |---|---|
//! | `directory` | whose files are trusted |
//! | `file` | what a file has: a chunk, and behind it a seal that says which one it is |
//! | `room` | the limit of all files together, and which are evicted |
//! | `threads` | what reads and writes: a disk that hangs holds no request |
//!
//! A chunk never changes, so a file is right or it is not: there is nothing to bring up to date. Files are put in place by
//! a rename and taken away by an unlink, and never written to or cut in between: what is open or mapped stays as it is.
//! No failure of the disk is one of a read, which fetches the chunk then.
//!
//! The bytes of a file are synced before it has its name. A page that was mapped and cannot be written back could be
//! dropped, and be zeros when it is read again. The directory is not: for what a power loss left there is the checksum.

mod directory;
mod file;
mod room;
mod threads;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bigarray_core::Result;
use bytes::Bytes;
use tokio::sync::Semaphore;

pub(crate) use self::file::ChunkFile;
use self::file::USE_STEP;
use self::room::Room;
use self::threads::Threads;
use crate::options::DiskCache;

/// What the name of each chunk's file ends in.
const SUFFIX: &str = ".chunk";

/// Chunks that are on their way to the disk have so many KiB at most. A disk that is slower than the network keeps fewer of
/// them, and no reader waits for it.
const PENDING_KIB: u32 = 256 << 10;

/// A chunk counts as so many KiB at least, so that all of them have a place in the queue.
const LEAST_KIB: u32 = 64;

/// Jobs that wait for one that reads.
const READS: usize = 64;

/// Files that are read at a time: a disk gives more so than one after the other.
const READERS: usize = 8;

/// Writers wait for the disk, each file being synced; and for each other, and those of other processes, where they make room.
const WRITERS: usize = 4;

/// A disk cache. What its threads have not begun ends with it.
pub(crate) struct ChunkFiles {
    files: Arc<Files>,
    readers: Threads,
    /// Apart from those that read, for which callers wait.
    writers: Threads,
    pending: Arc<Semaphore>,
}

/// The files of a directory.
struct Files {
    directory: PathBuf,
    room: Room,
    /// Whether files can be mapped.
    maps: bool,
}

/// Which chunk a file has: what tells its bytes from those of all others.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key(String);

impl Key {
    /// The chunk that is decoded as `how` says from `length` bytes at `offset` of the object `id` of the database at `url` of
    /// `server`.
    pub(crate) fn new(server: &str, url: &str, id: &str, offset: u64, length: u64, how: &str) -> Key {
        Key(format!("{server}\n{url}\n{id}\n{offset}+{length}\n{how}"))
    }

    /// Two keys may have one name. What is in the file says which it is.
    fn file_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        format!("{:016x}{SUFFIX}", hasher.finish())
    }
}

impl ChunkFiles {
    /// Takes the directory, and makes it if it is absent. `None` where the system grants no threads.
    ///
    /// # Errors
    /// [`Invalid`](bigarray_core::ErrorKind::Invalid) for one that others may write to; what keeps it from being made.
    pub(crate) fn open(options: &DiskCache) -> Result<Option<Arc<ChunkFiles>>> {
        let directory = directory::take(&options.directory)?;
        let (room, maps) = (Room::new(&directory, options.bytes), directory::is_local(&directory));
        let (readers, writers) =
            (Threads::start(READERS, READS), Threads::start(WRITERS, (PENDING_KIB / LEAST_KIB) as usize));
        let (Ok(readers), Ok(writers)) = (readers, writers) else { return Ok(None) };
        let (files, pending) =
            (Arc::new(Files { directory, room, maps }), Arc::new(Semaphore::new(PENDING_KIB as usize)));
        Ok(Some(Arc::new(ChunkFiles { files, readers, writers, pending })))
    }

    /// Those of the chunks `wanted` that are there, each with the bytes that it must have. To be awaited on a runtime.
    pub(crate) async fn get(&self, wanted: Vec<(Key, usize)>) -> Vec<Option<Bytes>> {
        let (files, count) = (Arc::clone(&self.files), wanted.len());
        let read = move || wanted.iter().map(|(key, bytes)| files.read(key, *bytes)).collect();
        self.readers.ask(read).await.unwrap_or_else(|| vec![None; count])
    }

    /// The file of a chunk that has so many bytes, if it is there and whole, and can be mapped: the chunk begins where the
    /// file does. To be awaited on a runtime.
    pub(crate) async fn file(&self, key: Key, bytes: usize) -> Option<Arc<ChunkFile>> {
        if !self.files.maps {
            return None;
        }
        let files = Arc::clone(&self.files);
        self.readers.ask(move || files.open(&key, bytes)).await.flatten()
    }

    /// Sees that the file counts as used, where it is used without being opened again. Waits for nothing.
    pub(crate) fn used(&self, file: &Arc<ChunkFile>) {
        if file.is_to_be_marked() {
            let file = Arc::clone(file);
            self.writers.begin(move || used(&file.file));
        }
    }

    /// Begins to keep chunks, for which no thread waits. Each is a job: all of them, synced one after the other, would take
    /// longer than a disk that hangs.
    pub(crate) fn keep(&self, chunks: Vec<(Key, Bytes)>) {
        let failed = Arc::new(AtomicBool::new(false));
        for (key, chunk) in chunks {
            let kib = u32::try_from(chunk.len() >> 10).unwrap_or(u32::MAX).clamp(LEAST_KIB, PENDING_KIB);
            let Ok(permit) = Arc::clone(&self.pending).try_acquire_many_owned(kib) else { return };
            let (files, failed) = (Arc::clone(&self.files), Arc::clone(&failed));
            self.writers.begin(move || {
                // On a disk that fails, or where the lock is not to be had, none of the others is kept either.
                if !failed.load(Ordering::Relaxed) && files.write(&key, &chunk).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                drop(permit);
            });
        }
    }
}

impl Files {
    /// The chunk, if it is there and whole. A file that is anything else is removed.
    fn read(&self, key: &Key, bytes: usize) -> Option<Bytes> {
        let (chunk, _) = self.found(key, |file| file::read(file, &key.0, bytes))?;
        Some(chunk.into())
    }

    /// The file of the chunk, likewise.
    fn open(&self, key: &Key, bytes: usize) -> Option<Arc<ChunkFile>> {
        let ((), file) = self.found(key, |file| Ok(file::is_right(file, &key.0, bytes)?.then_some(())))?;
        Some(Arc::new(ChunkFile::new(file)))
    }

    /// What `look` finds in the file of a chunk, and the file.
    fn found<T>(&self, key: &Key, look: impl FnOnce(&File) -> io::Result<Option<T>>) -> Option<(T, File)> {
        let path = self.directory.join(key.file_name());
        let file = directory::open(&path, File::options().read(true)).ok()?;
        match look(&file) {
            Ok(Some(found)) => {
                used(&file);
                Some((found, file))
            }
            Ok(None) | Err(_) => {
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn write(&self, key: &Key, chunk: &[u8]) -> io::Result<()> {
        let path = self.directory.join(key.file_name());
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            // Another process brought it meanwhile.
            return Ok(());
        }
        let seal = file::seal(&key.0, chunk);
        match self.write_to(&path, chunk, &seal) {
            // The limit is more than the disk has, or others fill it.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                self.room.evict_tenth()?;
                self.write_to(&path, chunk, &seal)
            }
            written => written,
        }
    }

    fn write_to(&self, path: &Path, chunk: &[u8], seal: &[u8]) -> io::Result<()> {
        let Some(mut new) = self.room.new_file((chunk.len() + seal.len()) as u64)? else { return Ok(()) };
        new.write_all(chunk)?;
        new.write_all(seal)?;
        new.as_file().sync_data()?;
        self.room.put(new, path)
    }
}

/// Marks the file as used now, which is what it is evicted by.
fn used(file: &File) {
    let now = SystemTime::now();
    let Ok(last) = file.metadata().and_then(|metadata| metadata.modified()) else { return };
    // A time to come is of a clock that was set back.
    if now.duration_since(last).map_or(true, |age| age >= USE_STEP) {
        let _ = file.set_modified(now);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// As small chunks of one object are, of which a request brings many.
    #[test]
    fn all_chunks_that_come_together_are_kept() {
        const CHUNKS: u64 = 500;
        let dir = tempfile::tempdir().unwrap();
        let options = DiskCache { directory: dir.path().join("cache"), bytes: 1 << 30 };
        let cache = ChunkFiles::open(&options).unwrap().unwrap();
        let key = |n: u64| Key::new("server", "url", "object", n, 1, "plain");
        cache.keep((0..CHUNKS).map(|n| (key(n), Bytes::from(vec![n as u8; 4096]))).collect());
        let began = Instant::now();
        while !(0..CHUNKS).all(|n| cache.files.read(&key(n), 4096).is_some_and(|chunk| chunk[..] == [n as u8; 4096])) {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(10));
        }
    }
}
