//! The limit of all files together, over all processes, and which files are evicted for it.
//!
//! The file `usage` says how many bytes the files have. It is never less than they have: what a file takes is added before
//! the file is made. It is more after a process died, or a file was replaced or removed, until the next eviction counts.
//! After a power loss it may be less, so it says in which boot it was written, and after another one the files are counted.

use std::fs::{self, DirEntry, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bigarray_process::{TemporaryFile, Unshared};

use super::{SUFFIX, directory};
use crate::checksum::crc32c;

/// The name of the file that says how much room is taken.
const USAGE: &str = "usage";

/// What the name of a file that is being written begins and ends with. Between them are
/// [`TemporaryFile::UNIQUE`] letters and digits.
const PREFIX: &str = ".new-";
const PART: &str = ".part";

/// One that is older than this, or as far in the future, was left behind by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The limit of a wait for the lock: the process that has it may be stopped.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Between two tries: the kernel's own wait for it has no end.
const LOCK_STEP: Duration = Duration::from_millis(2);

/// Bytes of a boot id.
const BOOT_BYTES: usize = 36;

/// The least that a file takes on a disk.
const CLUSTER: u64 = 4096;

/// A directory whose files may have so many bytes together.
pub(super) struct Room {
    directory: PathBuf,
    limit: u64,
    /// The kernel's boot id; zeros where there is none.
    boot: [u8; BOOT_BYTES],
    patience: Duration,
}

impl Room {
    pub(super) fn new(directory: &Path, limit: u64) -> Room {
        let id = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = id.get(..BOOT_BYTES).and_then(|id| id.try_into().ok()).unwrap_or([0; BOOT_BYTES]);
        Room { directory: directory.to_owned(), limit, boot, patience: LOCK_PATIENCE }
    }

    /// An empty file that may take so many bytes, to be [put](Room::put) in its place. Others are evicted for it. `None` if that
    /// does not help.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn new_file(&self, bytes: u64) -> io::Result<Option<TemporaryFile>> {
        let taken = on_disk(bytes);
        if taken > self.limit {
            return Ok(None);
        }
        let usage = self.lock()?;
        let fits = |used: &u64| used.saturating_add(taken) <= self.limit;
        let used = match usage.read().filter(fits) {
            Some(used) => used,
            // Some more than is needed now: to count takes a while.
            None => evict(&self.directory, |_| (self.limit / 10 * 9).min(self.limit - taken))?,
        };
        if !fits(&used) {
            usage.write(used)?;
            return Ok(None);
        }
        usage.write(used + taken)?;
        let new = TemporaryFile::new_in(&self.directory, PREFIX, PART, 0o600)?;
        // An eviction meanwhile counts all of it.
        new.as_file().set_len(bytes)?;
        Ok(Some(new))
    }

    /// Gives a file its name. Locked, since an eviction that lists the directory meanwhile could meet it by neither name,
    /// and count too little.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn put(&self, new: TemporaryFile, path: &Path) -> io::Result<()> {
        let _usage = self.lock()?;
        new.persist(path)
    }

    /// Removes a tenth of the files, whatever the limit: the disk is full.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn evict_tenth(&self) -> io::Result<()> {
        let usage = self.lock()?;
        usage.write(evict(&self.directory, |used| used / 10 * 9)?)
    }

    /// Waits for the lock on `usage`, which is made if it is absent.
    fn lock(&self) -> io::Result<Usage> {
        let path = self.directory.join(USAGE);
        let began = Instant::now();
        loop {
            let open = || {
                let mut options = File::options();
                directory::open(&path, options.read(true).write(true).create(true).truncate(false).mode(0o600))
            };
            let file = Unshared::open(open)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() || !directory::is_own(&metadata) {
                return Err(io::Error::other("usage is no file of this user's own"));
            }
            while let Err(error) = file.try_lock() {
                match error {
                    TryLockError::WouldBlock if began.elapsed() < self.patience => thread::sleep(LOCK_STEP),
                    TryLockError::WouldBlock => return Err(ErrorKind::TimedOut.into()),
                    TryLockError::Error(error) => return Err(error),
                }
            }
            let usage = Usage { file, boot: self.boot };
            // Removed while it was waited for, it is one that no other process locks.
            let now = fs::symlink_metadata(&path);
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino())) {
                return Ok(usage);
            }
        }
    }
}

/// The file `usage`, locked. It is unlocked when this is dropped.
///
/// ```text
/// 8    bytes that the files take, little endian
/// 36   the boot id
/// 4    CRC-32C of all before it, little endian
/// ```
struct Usage {
    file: Unshared<File>,
    boot: [u8; BOOT_BYTES],
}

impl Usage {
    /// `None` if it says nothing that can be trusted.
    fn read(&self) -> Option<u64> {
        let mut bytes = [0; 8 + BOOT_BYTES + 4];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        let used = u64::from_le_bytes(bytes[..8].try_into().unwrap_or_default());
        (bytes == self.sealed(used)).then_some(used)
    }

    fn write(&self, used: u64) -> io::Result<()> {
        self.file.write_all_at(&self.sealed(used), 0)
    }

    fn sealed(&self, used: u64) -> [u8; 8 + BOOT_BYTES + 4] {
        let mut bytes = [0; 8 + BOOT_BYTES + 4];
        bytes[..8].copy_from_slice(&used.to_le_bytes());
        bytes[8..8 + BOOT_BYTES].copy_from_slice(&self.boot);
        let sum = crc32c(&bytes[..8 + BOOT_BYTES]);
        bytes[8 + BOOT_BYTES..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        // A child of `fork` may have the file open, too.
        let _ = self.file.unlock();
    }
}

fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(CLUSTER)
}

/// Removes the files that were used the longest ago until the others take as many bytes as `target` says of all: how many
/// they take.
///
/// # Errors
/// The directory cannot be read.
fn evict(directory: &Path, target: impl FnOnce(u64) -> u64) -> io::Result<u64> {
    let mut used = 0;
    let mut chunks = Vec::new();
    for entry in fs::read_dir(directory)? {
        // It may be gone by now.
        let Some(Found { modified, bytes, is_new }) = entry.as_ref().ok().and_then(found) else { continue };
        let path = entry?.path();
        let age = modified.elapsed().unwrap_or_else(|error| error.duration());
        if is_new && age > ABANDONED && fs::remove_file(&path).is_ok() {
            continue;
        }
        used += bytes;
        if !is_new {
            chunks.push((modified, bytes, path));
        }
    }
    // A time to come is of a clock that was ahead. As the latest it would keep its file for ever.
    let now = SystemTime::now();
    chunks.sort_unstable_by_key(|(modified, ..)| Some(*modified).filter(|modified| *modified <= now));
    let target = target(used);
    for (_, bytes, path) in chunks {
        if used <= target {
            break;
        }
        let is_gone = fs::remove_file(path).map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true);
        used -= if is_gone { bytes } else { 0 };
    }
    Ok(used)
}

/// A file of the cache.
struct Found {
    modified: SystemTime,
    bytes: u64,
    /// Whether it is being written.
    is_new: bool,
}

/// What `entry` is; `None` for what is not the cache's own, which it leaves alone.
fn found(entry: &DirEntry) -> Option<Found> {
    let name = entry.file_name().into_string().ok()?;
    let random = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(PART));
    let is_new = random.is_some_and(|random| {
        random.len() == TemporaryFile::UNIQUE && random.bytes().all(|c| c.is_ascii_alphanumeric())
    });
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    let is_chunk = name.strip_suffix(SUFFIX).is_some_and(is_hash);
    let metadata = entry.metadata().ok().filter(|metadata| (is_new || is_chunk) && metadata.is_file())?;
    Some(Found { modified: metadata.modified().ok()?, bytes: on_disk(metadata.len()), is_new })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;

    /// A directory with chunks of 16 KiB, each used a minute before the one after it.
    fn chunks(count: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..count {
            let file = File::create(dir.path().join(format!("{number:016x}{SUFFIX}"))).unwrap();
            file.set_len(16 * KIB).unwrap();
            let age = Duration::from_secs(60 * (count - number));
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        dir
    }

    fn patient(dir: &tempfile::TempDir, limit: u64) -> Room {
        Room { patience: Duration::from_secs(60), ..Room::new(dir.path(), limit) }
    }

    fn is_there(dir: &tempfile::TempDir, number: u64) -> bool {
        dir.path().join(format!("{number:016x}{SUFFIX}")).exists()
    }

    #[test]
    fn the_least_recently_used_files_go_first() {
        let dir = chunks(10);
        let new = Room::new(dir.path(), 160 * KIB).new_file(20 * KIB).unwrap().unwrap();
        assert_eq!(new.as_file().metadata().unwrap().len(), 20 * KIB);
        let kept: Vec<u64> = (0..10).filter(|number| is_there(&dir, *number)).collect();
        // No more than 140 KiB leave room for the new one; eight are 128.
        assert_eq!(kept, (2..10).collect::<Vec<_>>());
        let usage = patient(&dir, 0).lock().unwrap();
        assert_eq!(usage.read(), Some(148 * KIB));
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_kept() {
        let dir = chunks(1);
        let room = Room::new(dir.path(), 32 * KIB);
        assert!(room.new_file(33 * KIB).unwrap().is_none());
        assert!(is_there(&dir, 0), "others went for it");
        assert!(room.new_file(32 * KIB).unwrap().is_some());
    }

    #[test]
    fn a_damaged_usage_file_is_made_anew_by_counting() {
        for damaged in [&b""[..], b"short", &[0; 12], &[0xff; 48]] {
            let dir = chunks(10);
            fs::write(dir.path().join(USAGE), damaged).unwrap();
            let room = Room::new(dir.path(), 200 * KIB);
            drop(room.new_file(16 * KIB).unwrap().unwrap());
            assert_eq!(patient(&dir, 0).lock().unwrap().read(), Some(176 * KIB), "{damaged:?}");
        }
    }

    #[test]
    fn files_that_a_dead_process_left_are_removed_and_others_files_are_not() {
        let dir = chunks(2);
        let others = [
            "0.chunk",
            "000000000000000z.chunk",
            "data",
            "+00000000000000f.chunk",
            "000000000000000F.chunk",
            ".new-config",
            ".new-000000000000000",
            ".new-000000000000000-.part",
        ];
        for name in others {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_len(64 * KIB).unwrap();
            file.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        }
        let (old, recent) =
            (dir.path().join(".new-old0000000000000.part"), dir.path().join(".new-recent0000000000.part"));
        for new in [&old, &recent] {
            File::create(new).unwrap().set_len(4 * KIB).unwrap();
        }
        File::open(&old).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        assert_eq!(evict(dir.path(), |_| 0).unwrap(), 4 * KIB);
        assert!(!old.exists() && recent.exists() && !is_there(&dir, 0) && !is_there(&dir, 1));
        assert!(others.iter().all(|name| dir.path().join(name).exists()));
    }

    /// Whatever became of the others, the limit holds for all that they are making.
    #[test]
    fn files_that_are_being_written_count_whole() {
        let dir = tempfile::tempdir().unwrap();
        let rooms = [Room::new(dir.path(), 100 * KIB), Room::new(dir.path(), 100 * KIB)];
        let made: Vec<_> = (0..20).filter_map(|n| rooms[n % 2].new_file(20 * KIB).unwrap()).collect();
        assert_eq!(made.len(), 5);
        drop(made);
        assert!(rooms[0].new_file(20 * KIB).unwrap().is_some());
    }

    /// A clock that was ahead, or is set back, makes such times.
    #[test]
    fn a_time_to_come_is_the_oldest() {
        let dir = chunks(4);
        let ahead = SystemTime::now() + 24 * ABANDONED;
        let new = dir.path().join(".new-0123456789abcdef.part");
        File::create(&new).unwrap().set_modified(ahead).unwrap();
        File::open(dir.path().join(format!("{:016x}{SUFFIX}", 2))).unwrap().set_modified(ahead).unwrap();
        assert_eq!(evict(dir.path(), |_| 48 * KIB).unwrap(), 48 * KIB);
        assert_eq!([0, 1, 2, 3].map(|number| is_there(&dir, number)), [true, true, false, true]);
        assert!(!new.exists());
    }

    /// As while a process that makes room is stopped.
    #[test]
    fn the_wait_for_the_lock_has_an_end() {
        let dir = chunks(1);
        let held = File::create(dir.path().join(USAGE)).unwrap();
        held.lock().unwrap();
        let error = Room::new(dir.path(), 1 << 20).new_file(4 * KIB).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    /// Two that each lock a file of that name must not be two files.
    #[test]
    fn the_locked_file_is_the_one_that_has_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(USAGE);
        let first = patient(&dir, 0).lock().unwrap();
        let second = std::thread::scope(|scope| {
            let second = scope.spawn(|| patient(&dir, 0).lock().unwrap());
            let opened = || {
                let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
                open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == path)).count()
            };
            while opened() < 2 {
                std::thread::yield_now();
            }
            fs::remove_file(&path).unwrap();
            drop(first);
            second.join().unwrap()
        });
        let ino = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|metadata| metadata.ino());
        assert_eq!(ino(second.file.metadata()), ino(fs::metadata(&path)));
    }

    /// A power loss may leave files of which the number does not know, for neither is synced.
    #[test]
    fn after_another_boot_the_files_are_counted() {
        let dir = chunks(10);
        let before = Room { boot: [b'x'; BOOT_BYTES], ..patient(&dir, 200 * KIB) };
        before.lock().unwrap().write(16 * KIB).unwrap();
        drop(patient(&dir, 200 * KIB).new_file(16 * KIB).unwrap().unwrap());
        assert_eq!(patient(&dir, 0).lock().unwrap().read(), Some(176 * KIB));
    }
}
