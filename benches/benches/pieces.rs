//! What the single steps cost: a first fault of each kind, a scan, write tracking, the search for writes, a commit, a
//! refresh, opening and reading one element, an append.
//!
//! The data file stays in the page cache, and a database that is opened anew has no span that knows its blocks: what
//! is measured as *first* is the pager and the kernel, not the disk. Commits are durable, so they wait for it.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bigarray::ndarray::{Array2, Axis, Ix1, Ix2};
use bigarray::{Access, ArrayOptions, BigArray, Database, Pager, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const PAGE: usize = 4096;
const BLOCK: usize = 64 << 10;
/// Bytes of the array that is read and written.
const LEN: usize = 64 << 20;

/// A database in a directory of its own, with the array "bytes" of ones.
struct Stored {
    _dir: TempDir,
    path: PathBuf,
}

impl Stored {
    fn new() -> Result<Stored> {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let path = dir.path().join("bench.bigarray");
        let small_blocks = ArrayOptions::new().block_size(BLOCK);
        Database::open(&path)?.transact(|txn| {
            txn.create_with::<u8, _>("bytes", LEN, &small_blocks)?.view_mut().fill(1);
            txn.create::<f64, _>("rows", (0, 64)).map(drop)
        })?;
        Ok(Stored { _dir: dir, path })
    }

    fn open(&self, pager: Pager) -> Result<Database> {
        Database::options().pager(pager).open(&self.path)
    }
}

/// The time that `n` calls of `measured` take, each time with the number of a block that was never touched; when there
/// are none left, the array is opened anew.
fn for_each_cold_block(
    path: &Path,
    pager: Pager,
    n: u64,
    measured: impl Fn(&BigArray<u8, Ix1>, usize),
) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    let mut left = n;
    while left > 0 {
        let array = Database::options().pager(pager).open(path)?.array::<u8, Ix1>("bytes")?;
        array.advise(Access::Random); // load the touched block only
        let blocks = left.min((LEN / BLOCK) as u64);
        let start = Instant::now();
        (0..blocks as usize).for_each(|block| measured(&array, block));
        spent += start.elapsed();
        left -= blocks;
    }
    Ok(spent)
}

fn first_fault(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let touch = |array: &BigArray<u8, Ix1>, block: usize| {
        black_box(array.view()[block * BLOCK]);
    };
    let mut group = c.benchmark_group("first fault of a block");
    for (name, pager) in [("mapped", Pager::Map), ("copied", Pager::Copy)] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| for_each_cold_block(&stored.path, pager, n, touch).expect("an open array"));
        });
    }
    let db = stored.open(Pager::Map).expect("an open database");
    group.bench_function("hole", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for _ in 0..n {
                let txn = db.begin().expect("a transaction");
                let mut new = txn.create::<u8, _>("new", LEN).expect("a new array");
                let start = Instant::now();
                new.view_mut()[LEN / 2] = 1;
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

fn scan(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let sum = |array: &BigArray<u8, Ix1>| array.view().iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let mut group = c.benchmark_group("scan of 64 MiB");
    group.throughput(Throughput::Bytes(LEN as u64));
    for (name, pager) in [("mapped, first", Pager::Map), ("copied, first", Pager::Copy)] {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let mut spent = Duration::ZERO;
                for _ in 0..n {
                    let db = stored.open(pager).expect("an open database");
                    let array = db.array::<u8, Ix1>("bytes").expect("an array");
                    let start = Instant::now();
                    assert_eq!(sum(&array), LEN as u64);
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    let array = stored.open(Pager::Map).and_then(|db| db.array::<u8, Ix1>("bytes")).expect("an array");
    group.bench_function("mapped, again", |b| b.iter(|| assert_eq!(sum(&array), LEN as u64)));
    group.finish();
}

fn commit(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let db = stored.open(Pager::Map).expect("an open database");
    let mut group = c.benchmark_group("transaction that changes");
    for pages in [1, 1000] {
        group.bench_function(format!("{pages} pages of 16384"), |b| {
            b.iter(|| {
                db.transact(|txn| {
                    let mut array = txn.array::<u8, Ix1>("bytes")?;
                    let mut view = array.view_mut();
                    (0..pages).for_each(|n| view[n * 16 * PAGE] = view[n * 16 * PAGE].wrapping_add(1));
                    Ok(())
                })
                .expect("a commit");
            });
        });
    }
    group.bench_function("nothing", |b| {
        b.iter(|| db.transact(|txn| txn.array::<u8, Ix1>("bytes").map(drop)).expect("a commit"));
    });
    group.finish();
}

/// All of an array of 400 MiB, in blocks as they are by default: 102,400 pages.
fn commit_of_all(c: &mut Criterion) {
    const PAGES: usize = 102_400;
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let db = Database::open(dir.path().join("all.bigarray")).expect("a database");
    db.transact(|txn| txn.create::<u8, _>("bytes", PAGES * PAGE).map(drop)).expect("a new array");
    let mut group = c.benchmark_group("commit of");
    group.throughput(Throughput::Bytes((PAGES * PAGE) as u64));
    group.bench_function("all 102,400 pages", |b| {
        b.iter_custom(|n| {
            let mut spent = Duration::ZERO;
            for round in 0..n {
                let txn = db.begin().expect("a transaction");
                txn.array::<u8, Ix1>("bytes").expect("an array").view_mut().fill(round as u8 | 1);
                let start = Instant::now();
                txn.commit().expect("a commit");
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

/// What a transaction pays at its end that was handed all of a resident array mutably: the first searches page by page,
/// the second does and tracks, later ones search what is tracked.
fn search(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let mut group = c.benchmark_group("end of a transaction, 64 MiB handed out");
    group.throughput(Throughput::Bytes(LEN as u64));
    for (nth, name) in
        [(1, "the first: search"), (2, "the second: search, then track"), (3, "the third: search tracked")]
    {
        group.bench_function(name, |b| {
            b.iter_custom(|n| {
                let mut spent = Duration::ZERO;
                for _ in 0..n {
                    let db = stored.open(Pager::Map).expect("an open database");
                    for round in 1..=nth {
                        let txn = db.begin().expect("a transaction");
                        let mut array = txn.array::<u8, Ix1>("bytes").expect("an array");
                        black_box(array.view_mut().iter().step_by(PAGE).max());
                        drop(array);
                        let start = Instant::now();
                        txn.abort();
                        if round == nth {
                            spent += start.elapsed();
                        }
                    }
                }
                spent
            });
        });
    }
    group.finish();
}

/// A span is brought up to date for a new transaction: nothing changed, this process changed a page, or many blocks.
fn refresh(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let db = stored.open(Pager::Map).expect("an open database");
    let mut group = c.benchmark_group("begin and open, 1024 blocks resident");
    for blocks in [0, 1, 512] {
        group.bench_function(format!("{blocks} blocks changed since"), |b| {
            b.iter_custom(|n| {
                let mut spent = Duration::ZERO;
                for _ in 0..n {
                    // Two spans: what one changes, the other has to learn.
                    let reader = db.array::<u8, Ix1>("bytes").expect("an array");
                    black_box(reader.view().iter().step_by(PAGE).max());
                    let changed = db.transact(|txn| {
                        let mut array = txn.array::<u8, Ix1>("bytes")?;
                        for block in 0..blocks {
                            let page = &mut array.rows_mut(block * BLOCK..block * BLOCK + 1)?;
                            page[0] = page[0].wrapping_add(1) | 1;
                        }
                        Ok(())
                    });
                    changed.expect("a commit");
                    drop(reader);
                    let start = Instant::now();
                    let txn = db.begin().expect("a transaction");
                    black_box(txn.array::<u8, Ix1>("bytes").expect("an array").len());
                    spent += start.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

fn open_and_read(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let db = stored.open(Pager::Map).expect("an open database");
    let mut group = c.benchmark_group("begin, open, read one element");
    group.bench_function("snapshot", |b| {
        b.iter(|| db.array::<u8, Ix1>("bytes").expect("an array").view()[LEN / 2]);
    });
    group.bench_function("database opened anew", |b| {
        b.iter(|| {
            stored.open(Pager::Map).and_then(|db| db.array::<u8, Ix1>("bytes")).expect("an array").view()[LEN / 2]
        });
    });
    group.bench_function("transaction", |b| {
        b.iter(|| {
            let txn = db.begin().expect("a transaction");
            let array = txn.array::<u8, Ix1>("bytes").expect("an array");
            array.view()[LEN / 2]
        });
    });
    group.finish();
}

fn append(c: &mut Criterion) {
    let stored = Stored::new().expect("a database");
    let db = stored.open(Pager::Map).expect("an open database");
    let mut group = c.benchmark_group("append and commit");
    for rows in [1, 128] {
        let new = Array2::from_elem((rows, 64), 1.5);
        group.bench_function(format!("{rows} rows of 512 bytes"), |b| {
            b.iter(|| {
                db.transact(|txn| txn.array::<f64, Ix2>("rows")?.append(Axis(0), new.view())).expect("a commit");
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = first_fault, scan, commit, commit_of_all, search, refresh, open_and_read, append
}
criterion_main!(benches);
