//! A disk cache: shared by handles and processes, bounded, and never believed where it is not right.

use std::collections::HashMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bigarray_core::{BlockNo, PAGE};
use bigarray_store_icechunk::{DiskCache, IcechunkStore, Options};
use bigarray_testing::{Edit, Rng, array_of};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::{assert_page, id_of, now, open, url};

/// Blocks of a chunk.
pub(crate) const BLOCKS: u64 = 16;

const CHUNK_BYTES: u64 = 1 << 20;

/// What a chunk's file takes.
pub(crate) const FILE_BYTES: u64 = CHUNK_BYTES + PAGE as u64;

/// More than all chunks of a test.
pub(crate) const ROOMY: u64 = 1 << 30;

/// Makes a database whose array has so many chunks, each with a page of its own.
fn fill(url: &str, chunks: u64) {
    let store = open(url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of((chunks * BLOCKS) as usize))]).unwrap();
    let base = now(&*store);
    let edit = (0..chunks).fold(Edit::of(&*base, "a"), |edit, chunk| edit.page(&*base, chunk * BLOCKS, 0, chunk));
    Edit::commit(&*store, &*base, &[edit]).unwrap();
}

pub(crate) fn filled(chunks: u64) -> String {
    let url = url();
    fill(&url, chunks);
    url
}

pub(crate) fn options(dir: &Path, bytes: u64) -> Options {
    let disk_cache = Some(DiskCache { directory: dir.to_owned(), bytes });
    Options { disk_cache, ..crate::options() }
}

/// A handle with that disk cache, and nothing in memory.
pub(crate) fn cached(url: &str, dir: &Path, bytes: u64) -> Arc<IcechunkStore> {
    IcechunkStore::open(url, &options(dir, bytes)).expect("a database")
}

/// Reads `chunks`, and sees that they are right: how many were fetched.
pub(crate) fn fetched(store: &IcechunkStore, chunks: impl IntoIterator<Item = u64>) -> u64 {
    let snapshot = now(store);
    // The manifest is fetched for that, and no chunk.
    snapshot.block(id_of(&*snapshot, "a"), BlockNo(0)).unwrap();
    let before = store.requests().gets;
    chunks.into_iter().for_each(|chunk| assert_page(&*snapshot, chunk * BLOCKS, 0, Some(chunk)));
    store.requests().gets - before
}

/// The files of chunks.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = all.filter(|path| path.extension().is_some_and(|end| end == "chunk")).collect();
    files.sort();
    files
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until so many chunks are kept.
pub(crate) fn wait_for(dir: &Path, chunks: u64) {
    wait_until(&format!("{chunks} files"), || files(dir).len() as u64 == chunks);
}

/// Removes a directory in which a cache may just be writing: a file that appears meanwhile makes an attempt fail.
pub(crate) fn remove(dir: &Path) {
    wait_until("the directory is removed", || {
        let _ = fs::remove_dir_all(dir);
        !dir.exists()
    });
}

/// A disk cache with all chunks of a new database.
pub(crate) fn full(chunks: u64) -> (String, TempDir) {
    let (url, dir) = (filled(chunks), tempfile::tempdir().unwrap());
    let store = cached(&url, dir.path(), ROOMY);
    fetched(&store, 0..chunks);
    wait_for(dir.path(), chunks);
    (url, dir)
}

#[test]
fn what_one_handle_fetched_no_other_one_fetches() {
    let (url, dir) = full(10);
    assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..10), 0);
    assert_eq!(fetched(&open(&url), 0..10), 10, "without the cache");
    // Another database has other chunks.
    let other = filled(3);
    assert_eq!(fetched(&cached(&other, dir.path(), ROOMY), 0..3), 3);
}

#[test]
fn what_one_process_fetched_no_other_one_fetches() {
    const ROLE: &str = "BIGARRAY_TEST_DISK_CACHE";
    if let Ok(dir) = std::env::var(ROLE) {
        let dir = Path::new(&dir);
        let url = format!("file://{}", dir.join("a").display());
        assert_eq!(fetched(&cached(&url, &dir.join("cache"), ROOMY), 0..5), 0);
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("a").display());
    fill(&url, 5);
    let cache = dir.path().join("cache");
    let store = cached(&url, &cache, ROOMY);
    assert_eq!(fs::metadata(&cache).unwrap().mode() & 0o777, 0o700);
    fetched(&store, 0..5);
    wait_for(&cache, 5);
    assert!(files(&cache).iter().all(|file| fs::metadata(file).unwrap().mode() & 0o777 == 0o600));
    let test = "disk_cache::what_one_process_fetched_no_other_one_fetches";
    let other = Command::new("/proc/self/exe").args([test, "--exact"]).env(ROLE, dir.path()).status().unwrap();
    assert!(other.success());
}

#[test]
fn a_file_that_is_not_right_is_fetched_again() {
    let flip = |file: &Path, at: u64| {
        let file = File::options().read(true).write(true).open(file).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
    };
    let len = |file: &Path| fs::metadata(file).unwrap().len();
    let set_len = |file: &Path, len: u64| File::options().write(true).open(file).unwrap().set_len(len).unwrap();
    type Damage<'a> = &'a dyn Fn(&Path);
    let damages: [(&str, Damage<'_>); 9] = [
        ("empty", &|file| set_len(file, 0)),
        ("torn", &|file| set_len(file, 3 * PAGE as u64)),
        ("a byte short", &|file| set_len(file, len(file) - 1)),
        ("longer", &|file| set_len(file, len(file) + 1)),
        ("zeros behind a power loss", &|file| {
            let len = len(file);
            set_len(file, 0);
            set_len(file, len);
        }),
        ("a bit of a page flipped", &|file| flip(file, 77)),
        ("a bit of the key flipped", &|file| flip(file, CHUNK_BYTES + 3)),
        ("a bit of the checksum flipped", &|file| flip(file, len(file) - 1)),
        ("others may write to it", &|file| fs::set_permissions(file, Permissions::from_mode(0o606)).unwrap()),
    ];
    let (url, dir) = full(3);
    for (damage, inflict) in damages {
        files(dir.path()).iter().for_each(|file| inflict(file));
        let reader = cached(&url, dir.path(), ROOMY);
        assert_eq!(fetched(&reader, 0..3), 3, "{damage}");
        wait_for(dir.path(), 3);
        assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..3), 0, "{damage}");
    }
}

#[test]
fn a_file_of_another_chunk_is_fetched_again() {
    let (url, dir) = full(4);
    let files = files(dir.path());
    let aside = dir.path().join("aside");
    for (from, to) in [(&files[0], &aside), (&files[1], &files[0]), (&files[2], &files[1]), (&aside, &files[2])] {
        fs::rename(from, to).unwrap();
    }
    let reader = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&reader, 0..4), 3);
    wait_for(dir.path(), 4);
    assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..4), 0);
}

#[test]
fn what_came_damaged_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("a").display());
    fill(&url, 1);
    let object = fs::read_dir(dir.path().join("a/chunks")).unwrap().next().unwrap().unwrap().path();
    let right = fs::read(&object).unwrap();
    let mut wrong = right.clone();
    wrong[5000] ^= 1;
    fs::write(&object, wrong).unwrap();
    let cache = dir.path().join("cache");
    let store = cached(&url, &cache, ROOMY);
    let snapshot = now(&*store);
    let mut page = vec![0; PAGE];
    let error = snapshot.read(id_of(&*snapshot, "a"), BlockNo(0), 0, &mut page).unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    fs::write(&object, right).unwrap();
    assert_page(&*snapshot, 0, 0, Some(0));
    wait_for(&cache, 1);
    let again = cached(&url, &cache, ROOMY);
    assert_page(&*now(&*again), 0, 0, Some(0));
}

/// Takes the lock under which room is made, so that no file comes or goes, and counts.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(usage) = File::options().write(true).open(dir.join("usage")) else { return 0 };
    usage.lock().unwrap();
    // A file that is renamed meanwhile is met twice, or by neither name.
    let mut found = HashMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if let Ok(metadata) = entry.metadata()
            && entry.file_name() != "usage"
        {
            found.insert(metadata.ino(), metadata.len());
        }
    }
    found.values().sum()
}

#[test]
fn two_handles_together_keep_the_limit() {
    const CHUNKS: u64 = 40;
    const LIMIT: u64 = 8 * FILE_BYTES;
    let (url, dir) = (filled(CHUNKS), tempfile::tempdir().unwrap());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = bytes_in(dir.path()).max(most);
                thread::sleep(Duration::from_millis(1));
            }
            most
        });
        let readers = [1, 2].map(|round| {
            let options = Options { cache_bytes: 0, ..options(dir.path(), LIMIT) };
            let store = IcechunkStore::open(&url, &options).unwrap();
            scope.spawn(move || {
                for _ in 0..round {
                    fetched(&store, 0..CHUNKS);
                    fetched(&store, (0..CHUNKS).rev());
                }
                store
            })
        });
        let stores = readers.map(|reader| reader.join().unwrap());
        let is_new = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".new-");
        wait_until("all files are written", || {
            !fs::read_dir(dir.path()).unwrap().any(|entry| is_new(&entry.unwrap().path()))
        });
        is_over.store(true, Ordering::Relaxed);
        let most = watcher.join().unwrap();
        assert!(most <= LIMIT, "{most} bytes");
        drop(stores);
    });
    let kept = files(dir.path()).len();
    assert!((4..=8).contains(&kept), "{kept} files");
}

#[test]
fn the_chunk_that_was_used_the_longest_ago_goes_first() {
    const LIMIT: u64 = 4 * FILE_BYTES;
    let (url, dir) = (filled(6), tempfile::tempdir().unwrap());
    let store = cached(&url, dir.path(), LIMIT);
    let mut of_chunk: Vec<PathBuf> = Vec::new();
    for chunk in 0..4 {
        fetched(&store, [chunk]);
        wait_for(dir.path(), chunk + 1);
        let new = files(dir.path()).into_iter().find(|file| !of_chunk.contains(file)).unwrap();
        of_chunk.push(new);
    }
    for (file, hours) in of_chunk.iter().zip([9, 8, 6, 7]) {
        File::open(file).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
    }
    // A use of the oldest.
    assert_eq!(fetched(&cached(&url, dir.path(), LIMIT), [0]), 0);
    for (chunk, goes) in [(4, 1), (5, 3)] {
        fetched(&store, [chunk]);
        wait_until("one comes, one goes", || files(dir.path()).len() == 4 && !of_chunk[goes].exists());
    }
    assert!(of_chunk[0].exists() && of_chunk[2].exists());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| IcechunkStore::open(&url(), &options(path, ROOMY)).map(drop).unwrap_err();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o770)).unwrap();
    let error = refusal(dir.path());
    assert!(error.is_invalid() && error.to_string().contains("mode 770"), "{error}");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    cached(&url(), dir.path(), ROOMY);
    let file = dir.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let error = refusal(&file);
    assert!(error.to_string().contains(&format!("disk cache {}", file.display())), "{error}");
    if !geteuid().is_root() {
        println!("SKIPPED: a directory of another user needs root");
        return;
    }
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    chown(&other, Some(12345), None).unwrap();
    let error = refusal(&other);
    assert!(error.is_invalid() && error.to_string().contains("belongs to user 12345"), "{error}");
}

#[test]
fn a_full_disk_and_one_that_cannot_be_written_to_are_no_errors() {
    if !geteuid().is_root() {
        println!("SKIPPED: mounting needs root");
        return;
    }
    let (url, dir) = (filled(6), tempfile::tempdir().unwrap());
    let nothing = None::<&str>;
    let mounted = |flags, options| mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some(options));
    // Seen by this thread alone, and the threads of stores that it opens.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mounted(MsFlags::empty(), "size=3500k,mode=0700").unwrap();
    let store = cached(&url, dir.path(), ROOMY);
    for chunk in 0..3 {
        fetched(&store, [chunk]);
        wait_for(dir.path(), chunk + 1);
    }
    // The disk has room for three: others give way, here as where other programs fill it.
    for chunk in 3..6 {
        let before = files(dir.path());
        assert_eq!(fetched(&store, [chunk]), 1);
        wait_until("one comes, one goes", || {
            let now = files(dir.path());
            now.len() == 3 && now != before && fs::read_dir(dir.path()).unwrap().count() == 4
        });
    }
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    wait_until("no file is open for writing", || mounted(read_only, "size=3500k").is_ok());
    let reader = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&reader, 3..6), 0);
    assert_eq!(fetched(&reader, 0..3), 3);
    drop(reader);
    umount(dir.path()).unwrap();
}

#[test]
fn a_directory_that_is_removed_is_no_error() {
    let (url, dir) = full(3);
    let store = cached(&url, dir.path(), ROOMY);
    remove(dir.path());
    assert_eq!(fetched(&store, 0..3), 3);
}

/// As while another process that makes room is stopped.
#[test]
fn no_reader_waits_for_the_lock() {
    let (url, dir) = (filled(3), tempfile::tempdir().unwrap());
    let usage = File::create(dir.path().join("usage")).unwrap();
    usage.lock().unwrap();
    let store = cached(&url, dir.path(), ROOMY);
    assert_eq!(fetched(&store, 0..3), 3);
    assert_eq!(files(dir.path()).len(), 0);
    usage.unlock().unwrap();
    // Those for which the lock was not to be had in time are kept when they come again.
    wait_until("all are kept", || {
        fetched(&cached(&url, dir.path(), ROOMY), 0..3);
        files(dir.path()).len() == 3
    });
    assert_eq!(fetched(&cached(&url, dir.path(), ROOMY), 0..3), 0);
}

#[test]
fn what_another_machine_commits_is_seen() {
    let (url, dir) = full(3);
    let reader = cached(&url, dir.path(), ROOMY);
    let before = now(&*reader);
    assert_page(&*before, BLOCKS, 0, Some(1));
    let writer = open(&url);
    let base = now(&*writer);
    Edit::commit(&*writer, &*base, &[Edit::of(&*base, "a").page(&*base, BLOCKS, 0, 77)]).unwrap();
    for store in [reader, cached(&url, dir.path(), ROOMY)] {
        let after = now(&*store);
        assert_page(&*after, BLOCKS, 0, Some(77));
        assert_page(&*after, 2 * BLOCKS, 0, Some(2));
    }
    assert_page(&*before, BLOCKS, 0, Some(1));
    wait_for(dir.path(), 4);
}

/// Files are torn, flipped, exchanged and removed all the time, under three readers and evictions.
#[test]
fn nothing_wrong_is_ever_read_while_files_are_damaged() {
    const CHUNKS: u64 = 12;
    const ROUNDS: usize = 8;
    let (url, dir) = (filled(CHUNKS), tempfile::tempdir().unwrap());
    let (reading, damaged) = (AtomicUsize::new(3), AtomicUsize::new(0));
    thread::scope(|scope| {
        for reader in 0..3 {
            let options = Options { cache_bytes: 0, ..options(dir.path(), 9 * FILE_BYTES) };
            let store = IcechunkStore::open(&url, &options).unwrap();
            let (reading, mut rng) = (&reading, Rng::new(reader));
            scope.spawn(move || {
                let _counted = CountDown(reading);
                for _ in 0..ROUNDS * CHUNKS as usize {
                    fetched(&store, [rng.below(CHUNKS as usize) as u64]);
                }
            });
        }
        let mut rng = Rng::new(77);
        while reading.load(Ordering::Relaxed) > 0 {
            let files = files(dir.path());
            if files.is_empty() {
                thread::yield_now();
                continue;
            }
            let (one, other) = (&files[rng.below(files.len())], &files[rng.below(files.len())]);
            // It may be gone by now.
            let file = File::options().write(true).open(one);
            let is_done = match rng.below(4) {
                0 => file.and_then(|file| file.set_len(rng.below(FILE_BYTES as usize) as u64)),
                1 => file.and_then(|file| file.write_all_at(b"!", rng.below(PAGE) as u64)),
                2 => fs::rename(one, other),
                _ => fs::remove_file(one),
            };
            damaged.fetch_add(usize::from(is_done.is_ok()), Ordering::Relaxed);
            thread::sleep(Duration::from_micros(300));
        }
    });
    assert!(damaged.load(Ordering::Relaxed) > 0, "there was nothing to damage");
}

/// Counts down when it is dropped, by a panic, too.
struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
