//! Arrays that grow by a few values at a time: bytes that a commit writes, size of the files, and number of pieces that
//! reading meets.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bigarray::ndarray::{Array1, Array2, Axis, Ix1, Ix2, s};
use bigarray::{ArrayOptions, Database, Durability, Pager, Result};
use bigarray_store_lmdb::LmdbStore;

use crate::support::child::{alone, this_test};
use crate::support::process::behind;
use crate::support::random::Random;
use crate::support::{BLOCK, TestDb};

const PAGE: u64 = 4096;
const BLOCKS: [usize; 2] = [BLOCK, 2 << 20];

/// A number that the kernel counts for this process, all threads of it: tests that ask run alone.
fn counted(name: &str) -> u64 {
    let counts = fs::read_to_string("/proc/self/io").unwrap();
    let line =
        counts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).expect("a count of that name");
    line.parse().unwrap()
}

/// Bytes on disk of all files of a database.
fn bytes_on_disk(path: &Path) -> u64 {
    fs::read_dir(path).unwrap().map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// Waits for no disk, where what is written is the same as with waiting for it.
fn unsynced() -> TestDb {
    TestDb::with(Database::options().durability(Durability::NoPowerLossSafety).pager(Pager::Map))
}

/// Appends `n` times 100 bytes, in a commit each.
fn append_hundreds(db: &Database, block_bytes: usize, n: usize) -> Result<()> {
    let options = ArrayOptions::new().block_size(block_bytes);
    db.transact(|txn| txn.create_with::<u8, _>("A", 0, &options).map(drop))?;
    for i in 0..n {
        let txn = db.begin()?;
        txn.array::<u8, Ix1>("A")?.append(Axis(0), Array1::from_elem(100, i as u8).view())?;
        txn.commit()?;
    }
    Ok(())
}

fn assert_hundreds(db: &Database, n: usize) {
    let a = db.array::<u8, Ix1>("A").unwrap();
    assert_eq!(a.len(), n * 100);
    assert!(a.view().iter().enumerate().all(|(at, byte)| *byte == (at / 100) as u8));
}

#[test]
fn an_append_of_100_bytes_writes_10_pages_whatever_the_size_of_the_array_and_its_blocks() {
    if !alone(this_test!(), |_| {}) {
        return;
    }
    const N: usize = 10_000;
    for block_bytes in BLOCKS {
        let db = unsynced();
        let before = counted("wchar");
        append_hundreds(&db, block_bytes, N).unwrap();
        let pages = (counted("wchar") - before) / PAGE / N as u64;
        assert!(pages <= 10, "{pages} pages a commit, blocks of {block_bytes} bytes");
        // A million bytes, their checksums, and copies of the block that grows.
        let bytes = bytes_on_disk(db.path());
        assert!(bytes <= 8 << 20, "{bytes} bytes on disk, blocks of {block_bytes} bytes");
        assert_hundreds(&db, N);
    }
}

#[test]
fn a_durable_append_of_100_bytes_has_a_few_pages_written_to_disk() {
    if !alone(this_test!(), |_| {}) {
        return;
    }
    const N: usize = 300;
    for block_bytes in BLOCKS {
        let db = TestDb::new();
        let before = ["wchar", "write_bytes"].map(counted);
        append_hundreds(&db, block_bytes, N).unwrap();
        let after = ["wchar", "write_bytes"].map(counted);
        let [written, to_disk] = [0, 1].map(|i| (after[i] - before[i]) / PAGE / N as u64);
        assert!(written <= 12, "{written} pages a commit, blocks of {block_bytes} bytes");
        // The kernel counts what it keeps together as written together.
        assert!(to_disk <= 64, "{to_disk} pages a commit to disk, blocks of {block_bytes} bytes");
        assert_hundreds(&db, N);
    }
}

/// In how many pieces a first scan finds array "A", and its elements.
fn scanned(path: &Path) -> (usize, Array2<f64>) {
    let db = Database::options().pager(Pager::Map).open(path).unwrap();
    let a = db.array::<f64, Ix2>("A").unwrap();
    let content = a.view().to_owned();
    (behind(&a.view()).mappings, content)
}

#[test]
fn thousands_of_small_appends_leave_few_more_pieces_than_a_single_one() {
    let mut random = Random::new(7);
    let lengths: Vec<usize> = (0..10_000).map(|_| random.within(1..51)).collect();
    let rows = lengths.iter().sum();
    let content = Array2::from_shape_fn((rows, 8), |(row, column)| (row * 8 + column) as f64 + 0.5);
    for block_bytes in BLOCKS {
        let options = ArrayOptions::new().block_size(block_bytes);
        let [mut grown, mut twin] = [unsynced(), unsynced()];
        grown.transact(|txn| txn.create_with::<f64, _>("A", (0, 8), &options).map(drop)).unwrap();
        let mut at = 0;
        for rows in &lengths {
            let txn = grown.begin().unwrap();
            let mut a = txn.array::<f64, Ix2>("A").unwrap();
            a.append(Axis(0), content.slice(s![at..at + rows, ..])).unwrap();
            drop(a);
            txn.commit().unwrap();
            at += rows;
        }
        twin.transact(|txn| txn.create_with::<f64, _>("A", (0, 8), &options)?.append(Axis(0), content.view())).unwrap();

        let blocks = (rows * 64).div_ceil(block_bytes) as u64;
        grown.reopen();
        twin.reopen();
        let store = LmdbStore::open(&bigarray_store_lmdb::Options::new(grown.path())).unwrap();
        let report = store.check(false).unwrap();
        // Each block is whole but the last, and blocks lie across the borders of chunks.
        assert!(report.segments <= blocks + blocks / 16 + 30, "{report:?}, {blocks} blocks");

        let [(pieces, found), (pieces_of_twin, _)] = [&grown, &twin].map(|db| scanned(db.path()));
        assert!(found == content);
        assert!(pieces <= pieces_of_twin + 40, "{pieces} pieces, {pieces_of_twin} of the twin, {blocks} blocks");
        let [bytes, bytes_of_twin] = [&grown, &twin].map(|db| bytes_on_disk(db.path()));
        assert!(bytes <= bytes_of_twin + (8 << 20), "{bytes} bytes on disk, {bytes_of_twin} of the twin");
    }
}
