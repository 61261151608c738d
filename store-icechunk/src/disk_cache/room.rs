//! The limit of all files together, over all processes, and which files are evicted for it.
//!
//! The file `usage` says how many bytes the files have. It is never less than they have: what a file takes is added before
//! the file is made. It is more after a process died, or a file was replaced or removed, until the next eviction counts.

use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bigarray_process::Unshared;
use tempfile::NamedTempFile;

use super::SUFFIX;

/// The name of the file that says how much room is taken.
const USAGE: &str = "usage";

/// What the name of a file begins with that is being written.
const PREFIX: &str = ".new-";

/// One that is older than this was left behind by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The least that a file takes on a disk.
const CLUSTER: u64 = 4096;

/// A directory whose files may have so many bytes together.
pub(super) struct Room {
    directory: PathBuf,
    limit: u64,
}

impl Room {
    pub(super) fn new(directory: &Path, limit: u64) -> Room {
        Room { directory: directory.to_owned(), limit }
    }

    /// An empty file that may take so many bytes, to be [put](Room::put) in its place. Others are evicted for it. `None` if that
    /// does not help.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn new_file(&self, bytes: u64) -> io::Result<Option<NamedTempFile>> {
        let taken = on_disk(bytes);
        let usage = Usage::lock(&self.directory)?;
        let fits = |used: &u64| used.saturating_add(taken) <= self.limit;
        let used = match usage.read().filter(fits) {
            Some(used) => used,
            // Some more than is needed now: to count takes a while.
            None => evict(&self.directory, (self.limit / 10 * 9).min(self.limit.saturating_sub(taken)))?,
        };
        if !fits(&used) {
            usage.write(used)?;
            return Ok(None);
        }
        usage.write(used + taken)?;
        let new = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.directory)?;
        // An eviction meanwhile counts all of it.
        new.as_file().set_len(bytes)?;
        Ok(Some(new))
    }

    /// Gives a file its name. Locked, since an eviction that lists the directory meanwhile could meet it by neither name,
    /// and count too little.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn put(&self, new: NamedTempFile, path: &Path) -> io::Result<()> {
        let _usage = Usage::lock(&self.directory)?;
        new.persist(path)?;
        Ok(())
    }
}

/// The file `usage`, locked. It is unlocked when this is dropped.
struct Usage(Unshared<File>);

impl Usage {
    fn lock(directory: &Path) -> io::Result<Usage> {
        let path = directory.join(USAGE);
        let open = || File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = Unshared::open(open)?;
        file.lock()?;
        Ok(Usage(file))
    }

    /// `None` if it says nothing that can be trusted.
    fn read(&self) -> Option<u64> {
        let mut bytes = [0; 12];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let (used, sum) = bytes.split_at(8);
        (crc32c::crc32c(used).to_le_bytes() == *sum).then(|| u64::from_le_bytes(used.try_into().unwrap_or_default()))
    }

    fn write(&self, used: u64) -> io::Result<()> {
        let used = used.to_le_bytes();
        self.0.write_all_at(&[&used[..], &crc32c::crc32c(&used).to_le_bytes()].concat(), 0)
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        // A child of `fork` may have the file open, too.
        let _ = self.0.unlock();
    }
}

fn on_disk(bytes: u64) -> u64 {
    bytes.next_multiple_of(CLUSTER)
}

/// Removes the files that were used the longest ago until the others take `target` bytes: how many they take.
///
/// # Errors
/// The directory cannot be read.
fn evict(directory: &Path, target: u64) -> io::Result<u64> {
    let mut used = 0;
    let mut chunks = Vec::new();
    for entry in fs::read_dir(directory)? {
        // It may be gone by now.
        let Some(Found { modified, bytes, is_new }) = entry.as_ref().ok().and_then(found) else { continue };
        let path = entry?.path();
        if is_new && modified.elapsed().is_ok_and(|age| age > ABANDONED) && fs::remove_file(&path).is_ok() {
            continue;
        }
        used += bytes;
        if !is_new {
            chunks.push((modified, bytes, path));
        }
    }
    chunks.sort_unstable();
    for (_, bytes, path) in chunks {
        if used <= target {
            break;
        }
        let is_gone = fs::remove_file(path).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true);
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
    let is_new = name.starts_with(PREFIX);
    let is_hash = |hash: &str| hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
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
        let usage = Usage::lock(dir.path()).unwrap();
        assert_eq!(usage.read(), Some(148 * KIB));
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_kept() {
        let dir = chunks(1);
        let room = Room::new(dir.path(), 32 * KIB);
        assert!(room.new_file(33 * KIB).unwrap().is_none());
        assert!(room.new_file(32 * KIB).unwrap().is_some());
    }

    #[test]
    fn a_damaged_usage_file_is_made_anew_by_counting() {
        for damaged in [&b""[..], b"short", &[0; 12], &[0xff; 12]] {
            let dir = chunks(10);
            fs::write(dir.path().join(USAGE), damaged).unwrap();
            let room = Room::new(dir.path(), 200 * KIB);
            drop(room.new_file(16 * KIB).unwrap().unwrap());
            assert_eq!(Usage::lock(dir.path()).unwrap().read(), Some(176 * KIB), "{damaged:?}");
        }
    }

    #[test]
    fn files_that_a_dead_process_left_are_removed_and_others_files_are_not() {
        let dir = chunks(2);
        let others = ["0.chunk", "000000000000000z.chunk", "data", "+00000000000000f.chunk"];
        for name in others {
            fs::write(dir.path().join(name), vec![0; 64 << 10]).unwrap();
        }
        let (old, recent) = (dir.path().join(".new-old"), dir.path().join(".new-recent"));
        for new in [&old, &recent] {
            File::create(new).unwrap().set_len(4 * KIB).unwrap();
        }
        File::open(&old).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        assert_eq!(evict(dir.path(), 0).unwrap(), 4 * KIB);
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
}
