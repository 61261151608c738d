//! What is stored of arrays: chunks at their ends, in other shapes, small ones together, names that move.

use std::thread;
use std::time::{Duration, Instant};

use bigarray_core::store::Snapshot;
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, Order, PAGE};
use bigarray_store_icechunk::{IcechunkStore, Options};
use bigarray_testing::{Edit, array_of};

use crate::{assert_page, id_of, now, open, url};

const BLOCK: usize = BlockSize::MIN.bytes();

fn a(base: &dyn Snapshot) -> Edit {
    Edit::of(base, "a")
}

/// An array that was shorter for a while shows zeros where it grew again: in the chunk of its end, and behind.
#[test]
fn what_was_cut_off_does_not_come_back() {
    let store = open(&url());
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(40))]).unwrap();
    let base = now(&*store);
    let filled = [0, 3, 5, 20, 39].into_iter().fold(a(&*base), |edit, block| edit.block(&*base, block, 100 * block));
    Edit::commit(&*store, &*base, &[filled]).unwrap();
    let base = now(&*store);
    // The end is within the first chunk.
    Edit::commit(&*store, &*base, &[a(&*base).reshape(&[4 * BLOCK]).drop_from(&*base, 4)]).unwrap();
    let base = now(&*store);
    Edit::commit(&*store, &*base, &[a(&*base).reshape(&[40 * BLOCK])]).unwrap();
    let now = now(&*store);
    assert_page(&*now, 3, 7, Some(307));
    for block in [4, 5, 20, 39] {
        assert_page(&*now, block, 0, None);
    }
}

/// Another shape of the same elements moves no byte, whether or not the chunks can stay.
#[test]
fn another_shape_has_the_same_bytes() {
    for shape in
        [vec![4, 10 * BLOCK], vec![10 * BLOCK / 64, 256], vec![5, 8, BLOCK], vec![40, BLOCK], vec![8 * BLOCK, 5]]
    {
        let store = open(&url());
        Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(40))]).unwrap();
        let base = now(&*store);
        let filled = [0, 20, 39].into_iter().fold(a(&*base), |edit, block| edit.block(&*base, block, 100 * block));
        Edit::commit(&*store, &*base, &[filled.attr("unit", Some("K".into()))]).unwrap();
        let base = now(&*store);
        let edit = a(&*base).reshape(&shape).page(&*base, 21, 0, 7);
        Edit::commit(&*store, &*base, &[edit]).unwrap();
        let now = now(&*store);
        for block in [0, 20, 39] {
            assert_page(&*now, block, 5, Some(100 * block + 5));
        }
        assert_page(&*now, 21, 0, Some(7));
        assert_page(&*now, 1, 0, None);
        let array = now.array("a").unwrap().unwrap();
        assert_eq!(array.shape, shape);
        assert_eq!(now.attr(array.id, "unit").unwrap(), Some("K".into()));
    }
}

/// Chunks that compress to little share objects; each is found in its own.
#[test]
fn small_chunks_share_an_object() {
    let store = open(&url());
    let array = Descriptor { codec: Codec::Zstd { level: 3, shuffle: false }, ..array_of(160) };
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array)]).unwrap();
    let base = now(&*store);
    let filled = (0..160).fold(a(&*base), |edit, block| edit.smooth_page(&*base, block, 1, block));
    let before = store.requests();
    Edit::commit(&*store, &*base, &[filled]).unwrap();
    let puts = store.requests().puts - before.puts;
    // Ten chunks; and the manifest, the snapshot, two logs, and what the first commit asks.
    assert!(puts <= 1 + 4 + 4, "{puts} puts");
    let fresh = now(&*store);
    let mut page = vec![0; PAGE];
    for block in 0..160 {
        fresh.read(id_of(&*fresh, "a"), BlockNo(block), 1, &mut page).unwrap();
        assert!(page == bigarray_testing::smooth_page_of(block), "block {block}");
    }
}

/// A rename alone keeps the array's id; one to a new group, or with a write, makes a new node of the same chunks.
#[test]
fn a_rename_moves_no_chunk() {
    let store = open(&url());
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(40))]).unwrap();
    let base = now(&*store);
    Edit::commit(&*store, &*base, &[a(&*base).block(&*base, 0, 1000).block(&*base, 30, 5000)]).unwrap();
    let base = now(&*store);
    Edit::commit(&*store, &*base, &[a(&*base).rename("b")]).unwrap();
    let moved = now(&*store);
    assert_eq!(id_of(&*moved, "b"), id_of(&*base, "a"));
    let before = store.requests();
    let edit = Edit::of(&*moved, "b").rename("of/several/groups");
    Edit::commit(&*store, &*moved, &[edit]).unwrap();
    let grouped = now(&*store);
    assert!(store.requests().bytes_put - before.bytes_put < 100_000, "chunks were moved");
    let edit = Edit::of(&*grouped, "of/several/groups").rename("a").page(&*grouped, 0, 3, 7);
    Edit::commit(&*store, &*grouped, &[edit]).unwrap();
    let back = now(&*store);
    assert_page(&*back, 0, 3, Some(7));
    assert_page(&*back, 0, 4, Some(1004));
    assert_page(&*back, 30, 15, Some(5015));
    let below = Edit::create("a/b", array_of(1));
    let error = Edit::commit(&*store, &*back, &[below]).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("below an array"), "{error}");
    let error = Edit::commit(&*store, &*back, &[Edit::create("of", array_of(1))]).unwrap_err();
    assert!(error.is_already_exists(), "{error}");
}

/// Fortran order, a structure, and an axis that is cut: blocks cross chunks as they fall.
#[test]
fn blocks_cross_chunks_of_any_grid() {
    for order in [Order::RowMajor, Order::ColumnMajor] {
        let store = open(&url());
        // A row of 12 MB is cut along the next axis; 24 bytes do not divide a page.
        let mut shape = vec![3, 5_000, 101];
        if order == Order::ColumnMajor {
            shape.reverse();
        }
        let dtype = "[('a', '<f8'), ('b', '<i8'), ('c', '<f8')]".to_owned();
        let array = Descriptor { dtype, item_size: 24, shape, order, ..array_of(1) };
        let blocks = BlockSize::MIN.blocks_for(array.nbytes());
        Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array.clone())]).unwrap();
        let base = now(&*store);
        let written: Vec<u64> = (0..blocks - 1).step_by(7).collect();
        let edit = written.iter().fold(a(&*base), |edit, block| edit.block(&*base, *block, 100 * block));
        Edit::commit(&*store, &*base, &[edit]).unwrap();
        let now = now(&*store);
        for block in 0..blocks - 1 {
            for page in [0, 7, 15] {
                let tag = written.contains(&block).then_some(100 * block + u64::from(page));
                assert_page(&*now, block, page, tag);
            }
        }
        assert_eq!(now.array("a").unwrap().unwrap().shape, array.shape);
    }
}

/// What is announced is fetched without a thread that waits, further than the window as it is read; a read of it needs no
/// request then.
#[test]
fn announced_blocks_are_fetched_ahead() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(160))]).unwrap();
    let base = now(&*store);
    let filled = (0..160).fold(a(&*base), |edit, block| edit.page(&*base, block, 0, block));
    Edit::commit(&*store, &*base, &[filled]).unwrap();
    // The cache lets the window be two chunks.
    let options = Options { cache_bytes: 8 << 20, ..crate::options() };
    let reader = IcechunkStore::open(&url, &options).unwrap();
    let snapshot = now(&*reader);
    let before = reader.requests().gets;
    let wait_for = |gets: u64| {
        let began = Instant::now();
        while reader.requests().gets < before + gets {
            assert!(began.elapsed() < Duration::from_secs(60), "{} requests", reader.requests().gets - before);
            thread::sleep(Duration::from_millis(1));
        }
    };
    snapshot.will_need(id_of(&*snapshot, "a"), 0..160, false);
    // The manifest and two chunks.
    wait_for(3);
    assert_page(&*snapshot, 1, 0, Some(1));
    wait_for(4);
    assert_page(&*snapshot, 17, 0, Some(17));
    wait_for(5);
}
