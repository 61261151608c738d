//! Only reading an element loads it: opening, slicing and printing are O(1) in the data.
//!
//! A binary with a single test, because its global allocator counts the allocations of all threads.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray::Database;
use bigarray::ndarray::{Axis, Ix1, Ix2, Ix3, s};
use support::process::behind;
use support::{BLOCK, TestDb, small_blocks};

/// Counts what is asked of the heap.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that all threads of this process asked the heap for in `work`.
fn allocated<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let result = work();
    (ALLOCATED.load(Ordering::Relaxed) - before, result)
}

/// Bytes on disk.
fn stored_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().blocks() * 512).sum()
}

/// One test, since all threads' allocations are counted.
#[test]
fn handles_views_and_slices_of_a_tebibyte_load_and_allocate_next_to_nothing() {
    const MIB: usize = 1 << 20;
    let db = TestDb::new();
    db.transact(|txn| {
        // 1 TiB of holes with an island, and 64 MiB that are stored.
        txn.create::<f64, _>("sparse", (1 << 17, 1 << 10, 1 << 10))?.view_mut()[[77, 7, 7]] = 1.0;
        txn.create_with::<u64, _>("stored", (1024, 8192), &small_blocks())?.view_mut().fill(3);
        Ok(())
    })
    .unwrap();

    let (bytes, fresh) = allocated(|| Database::open(db.path()).unwrap());
    assert!(bytes < MIB, "opening allocates {bytes} bytes");
    let (bytes, (sparse, stored)) = allocated(|| {
        let snapshot = fresh.snapshot().unwrap();
        let sparse = snapshot.array::<f64, Ix3>("sparse").unwrap();
        let stored = snapshot.array::<u64, Ix2>("stored").unwrap();
        let view = sparse.view();
        assert_eq!(view.slice(s![..;2, 5.., ..-1]).dim(), (1 << 16, 1019, 1023));
        assert_eq!(view.axis_iter(Axis(0)).len(), 1 << 17);
        assert_eq!(view.axis_chunks_iter(Axis(1), 10).nth(50).unwrap().dim(), (1 << 17, 10, 1 << 10));
        assert_eq!(view.permuted_axes([2, 0, 1]).dim(), (1 << 10, 1 << 17, 1 << 10));
        assert_eq!(stored.view().slice(s![100..200, ..;-1]).dim(), (100, 8192));
        assert_eq!(sparse.rows(1 << 10..1 << 11).unwrap().dim().0, 1 << 10);
        assert_eq!(sparse.blocks().nth(1 << 10).unwrap(), 1 << 10..(1 << 10) + 1);
        let other = sparse.clone();
        assert_eq!(snapshot.arrays().unwrap().len(), 2);
        for text in [format!("{fresh:?}"), format!("{snapshot:?}"), format!("{other:?}"), format!("{stored:?}")] {
            assert!(text.len() < 1000, "{text}");
        }
        (sparse, stored)
    });
    assert!(bytes < MIB, "handles and views allocate {bytes} bytes");
    assert_eq!(behind(&sparse.view()).resident_bytes, 0);
    assert_eq!(behind(&stored.view()).resident_bytes, 0);

    // The same in a transaction, where views can be written through.
    let (bytes, ()) = allocated(|| {
        let txn = fresh.begin().unwrap();
        let mut a = txn.array::<f64, Ix3>("sparse").unwrap();
        assert_eq!(a.view_mut().slice_mut(s![..;2, .., ..]).dim().0, 1 << 16);
        assert!(format!("{a:?} {txn:?}").len() < 1000);
        a.resize((1 << 18, 1 << 10, 1 << 10)).unwrap();
        a.resize((1 << 16, 1 << 10, 1 << 10)).unwrap();
        drop(a);
        txn.abort();
    });
    assert!(bytes < MIB, "a transaction that writes nothing allocates {bytes} bytes");

    // It would have shown.
    assert_eq!(sparse.view()[[77, 7, 7]], 1.0);
    assert!(behind(&sparse.view()).resident_bytes > 0);
    assert_eq!(stored.view()[[1000, 0]], 3);
    assert!(behind(&stored.view()).resident_bytes > 0);

    // Reading holes stores nothing, and takes no memory worth the name.
    let before = stored_bytes(db.path());
    let view = sparse.view();
    let sum: f64 = (0..1000).map(|i| view[[i * 131, 5, 5]]).sum();
    assert_eq!(sum, 0.0);
    assert_eq!(stored_bytes(db.path()), before);

    // Writing one element of 8 TiB stores kilobytes. Space is set aside in steps, so the first commit may find it.
    db.transact(|txn| txn.create::<f64, _>("huge", 1 << 40).map(drop)).unwrap();
    let before = stored_bytes(db.path());
    for i in 0..10 {
        let (bytes, ()) = allocated(|| {
            db.transact(|txn| {
                txn.array::<f64, Ix1>("huge")?.view_mut()[(i + 1) * (1 << 36)] = i as f64;
                Ok(())
            })
            .unwrap();
        });
        // A block is put together in a buffer that each thread keeps: this one's and two resolvers' may be their first.
        assert!(bytes < 7 * MIB, "a commit of one element allocates {bytes} bytes");
    }
    let grown = stored_bytes(db.path()) - before;
    assert!(grown <= 10 * (64 << 10), "ten elements grew the files by {grown} bytes");
    let huge = db.array::<f64, Ix1>("huge").unwrap();
    assert!((0..10).all(|i| huge.view()[(i + 1) * (1 << 36)] == i as f64));
    assert_eq!(huge.view()[BLOCK], 0.0);
}
