//! Reads into a mutable view that go past the page table, to pages that the kernel has pinned for a device or a file
//! system, while memory is short and blocks are evicted.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::mpsc;
use std::time::Duration;

use bigarray::ndarray::{ArrayViewMut1, Axis, Ix1};
use bigarray::{ArrayOptions, Database};
use nix::libc;

use crate::support::fuse::Fuse;
use crate::support::{BLOCK, Faults, PAGE, TestDb, faults, runs_if, skip, small_blocks};

const LEN: usize = 24 << 20;
const BUDGET: usize = 4 << 20;

/// Ends hangs only.
const PATIENCE: Duration = Duration::from_secs(120);

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / PAGE * 7 + n % 251) as u8 | 1).collect()
}

/// Whether what the kernel has pinned stays where it is (UFFDIO_MOVE): else such reads are not promised to work.
fn keeps_pinned_pages() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    runs_if(faults() == Faults::All, "system calls do not wait for pages")
        && runs_if(version >= (6, 8), "no UFFDIO_MOVE before Linux 6.8")
}

fn slice<'v>(view: &'v mut ArrayViewMut1<'_, u8>) -> &'v mut [u8] {
    view.as_slice_mut().unwrap()
}

/// A read that takes until all other blocks have been written to, which is more than fits.
fn read_slowly(array: &ArrayOptions) {
    let part = 2 * BLOCK;
    let (asked, was_asked) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    let dir = tempfile::tempdir().unwrap();
    let before = move || {
        let _ = asked.send(());
        let _ = may_answer.recv_timeout(PATIENCE);
    };
    let Some(fuse) = Fuse::mount(dir.path(), content(part), before) else {
        return skip("FUSE cannot be mounted: needs root and /dev/fuse");
    };
    let mut db = TestDb::with(Database::options().memory_budget(BUDGET));
    let txn = db.begin().unwrap();
    let mut a = txn.create_with::<u8, _>("A", LEN, array).unwrap();
    let mut view = a.view_mut();
    let mut file = fuse.file();
    std::thread::scope(|scope| {
        let (mut to, mut rest) = view.view_mut().split_at(Axis(0), part);
        let reading = scope.spawn(move || file.read_exact(slice(&mut to)).unwrap());
        was_asked.recv_timeout(PATIENCE).expect("the file is read");
        rest.fill(9);
        rest.fill(8);
        drop(answer); // from here on all answers come at once
        reading.join().unwrap();
    });
    assert!(slice(&mut view)[..part] == content(part), "what was read is not there");
    drop(a);
    txn.commit().unwrap();
    db.reopen();
    let a = db.array::<u8, Ix1>("A").unwrap();
    let stored = a.view();
    assert!(stored.as_slice().unwrap()[..part] == content(part), "what was read is not stored");
    assert!(stored.iter().skip(part).all(|byte| *byte == 8));
}

#[test]
fn a_slow_read_into_a_view_is_kept_while_other_blocks_are_spilled() {
    if keeps_pinned_pages() {
        for array in [small_blocks(), ArrayOptions::new()] {
            read_slowly(&array);
        }
    }
}

#[test]
fn a_read_around_the_page_cache_into_a_view_is_kept_while_other_blocks_are_spilled() {
    const PART: usize = 8 << 20;
    if !keeps_pinned_pages() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    std::fs::write(&path, content(PART)).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    let Ok(file) = File::options().read(true).custom_flags(libc::O_DIRECT).open(&path) else {
        return skip("the file system of temporary files has no O_DIRECT");
    };
    for array in [small_blocks(), ArrayOptions::new()] {
        let mut db = TestDb::with(Database::options().memory_budget(BUDGET));
        let txn = db.begin().unwrap();
        let mut a = txn.create_with::<u8, _>("A", LEN, &array).unwrap();
        let mut view = a.view_mut();
        std::thread::scope(|scope| {
            let (mut to, mut rest) = view.view_mut().split_at(Axis(0), PART);
            let file = &file;
            scope.spawn(move || {
                for (n, chunk) in slice(&mut to).chunks_mut(BLOCK).enumerate() {
                    file.read_exact_at(chunk, (n * BLOCK) as u64).unwrap();
                }
            });
            for round in 0..4 {
                rest.fill(round);
            }
        });
        assert!(slice(&mut view)[..PART] == content(PART), "what was read is not there");
        drop(a);
        txn.commit().unwrap();
        db.reopen();
        let a = db.array::<u8, Ix1>("A").unwrap();
        assert!(a.view().as_slice().unwrap()[..PART] == content(PART), "what was read is not stored");
    }
}
