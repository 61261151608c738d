//! Bytes read from the disk, the kernel's page cache, and a disk of limited size.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use super::PAGE;

/// Makes the kernel drop the cached pages of the files in the directory, but for mapped ones.
pub(crate) fn drop_page_cache(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        forget(&File::open(entry.unwrap().path()).unwrap());
    }
}

fn forget(file: &File) {
    file.sync_all().unwrap();
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

/// Bytes that were read from disks so far on behalf of this process and of those of its threads that have ended.
pub(crate) fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap()
}

/// Has all of this program and its libraries in memory, so that running it reads nothing that [`bytes_read`] counts. To be
/// called before anything else is mapped from files.
pub(crate) fn read_in_the_program() {
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, access, path) = (fields.next().unwrap(), fields.next().unwrap(), fields.nth(3).unwrap_or_default());
        if !access.starts_with('r') || !path.starts_with('/') {
            continue;
        }
        let [start, end] = [0, 1].map(|n| usize::from_str_radix(range.split('-').nth(n).unwrap(), 16).unwrap());
        // SAFETY: this advice changes no byte, of no mapping. It fails where one is gone by now, lies beyond the end of its
        // file, or on an old kernel: then it reads less.
        let _ = unsafe { madvise(NonNull::new(start as *mut _).unwrap(), end - start, MmapAdvise::MADV_POPULATE_READ) };
    }
}

/// Whether files of `dir` leave the page cache, and come back by reads that [`bytes_read`] counts.
pub(crate) fn is_on_disk(dir: &Path) -> bool {
    let path = dir.join("is on disk");
    fs::write(&path, [1; 16 * PAGE]).unwrap();
    let file = File::open(&path).unwrap();
    forget(&file);
    let (left, before) = (cached_bytes(&file), bytes_read());
    assert_eq!(fs::read(&path).unwrap(), [1; 16 * PAGE]);
    fs::remove_file(&path).unwrap();
    left == 0 && bytes_read() > before
}

/// Bytes of the file that are in the page cache.
pub(crate) fn cached_bytes(file: &File) -> usize {
    let Some(len) = NonZeroUsize::new(file.metadata().unwrap().len() as usize) else { return 0 };
    let mut pages = vec![0_u8; len.get().div_ceil(PAGE)];
    // SAFETY: a mapping of its own, through which nothing is read, and which is gone before this returns; `pages` has a
    // byte for each of its pages.
    let asked = unsafe {
        let at = mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0).unwrap();
        let asked = libc::mincore(at.as_ptr(), len.get(), pages.as_mut_ptr());
        munmap(at, len.get()).unwrap();
        asked
    };
    assert_eq!(asked, 0, "mincore: {}", std::io::Error::last_os_error());
    pages.iter().filter(|page| **page & 1 != 0).count() * PAGE
}

/// A file system of so many MiB that only this process sees, gone with it. Needs root.
pub(crate) fn small_disk(at: &Path, mib: usize) {
    let nothing = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={mib}m").as_str())).unwrap();
}

/// Changes a byte of each page of the data file, behind its header, that has something in it; doing it again undoes it.
pub(crate) fn damage(path: &Path) {
    let file = File::options().read(true).write(true).open(path.join("data")).unwrap();
    let mut page = vec![0; PAGE];
    for at in (PAGE as u64..file.metadata().unwrap().len()).step_by(PAGE) {
        file.read_exact_at(&mut page, at).unwrap();
        if page.iter().any(|&byte| byte != 0) {
            file.write_all_at(&[page[0] ^ 0x40], at).unwrap();
        }
    }
}
