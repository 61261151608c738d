//! Bytes that are stored, and how.

use std::ops::ControlFlow;

use bigarray_core::store::{BlockRecord, Committed, Origin, Snapshot};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Descriptor, ErrorKind, FillValue, PAGE, Version};

use super::super::{Edit, array_of, page_of};
use super::{MakeStore, photograph};

fn id_of(snapshot: &dyn Snapshot, name: &str) -> ArrayId {
    array(snapshot, name).id
}

fn array(snapshot: &dyn Snapshot, name: &str) -> Descriptor {
    snapshot.array(name).expect("array").expect("there")
}

/// Asserts that a page of array `a` is [`page_of`] that tag, or zero.
#[track_caller]
fn assert_page(snapshot: &dyn Snapshot, block: u64, page: u32, tag: Option<u64>) {
    let mut read = vec![0xee; PAGE];
    snapshot.read(id_of(snapshot, "a"), BlockNo(block), page, &mut read).expect("read");
    assert!(read == tag.map_or(vec![0; PAGE], page_of), "page {page} of block {block} is not that of {tag:?}");
}

/// What is written whole reads as it was written.
pub fn a_whole_block_reads_back(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(3);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 1, 100)]);
    let now = store.now();
    store.photograph_of(&*now);
    for page in 0..16 {
        assert_page(&*now, 1, page, Some(100 + u64::from(page)));
    }
    assert_eq!(store.stored_blocks(&*now, id_of(&*now, "a")), [1], "other blocks stay absent");
}

/// A commit of one page leaves the other pages of its block as they were.
pub fn one_page_is_laid_over_the_rest(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 0, 100)]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 5, 7)]);
    let now = store.now();
    store.photograph_of(&*now);
    for page in 0..16 {
        assert_page(&*now, 0, page, Some(if page == 5 { 7 } else { 100 + u64::from(page) }));
    }
}

/// Zeros are no less written than other bytes: where a fill value is shown of what is absent, a block of them is there.
pub fn a_block_of_zeros_is_stored_where_there_is_a_fill_value(make: MakeStore<'_>) {
    let mut store = make();
    let base = store.now();
    let filled = Descriptor { fill: FillValue::new(&[7]), ..array_of(80) };
    assert!(store.check_fill(&filled).is_ok());
    store.pass(&*base, &[Edit::create("a", filled)]);
    let base = store.now();
    let zeros = (0..16).fold(Edit::of(&*base, "a"), |edit, page| edit.zero(&*base, 1, page));
    store.pass(&*base, &[zeros.block(&*base, 70, 100)]);
    let base = store.now();
    // A part of what is stored now.
    store.pass(&*base, &[Edit::of(&*base, "a").zero(&*base, 70, 3)]);
    drop(base);
    store.reopen();
    let now = store.now();
    let stored = array(&*now, "a");
    assert_eq!(stored.fill, FillValue::new(&[7]));
    let record = |block| now.block(stored.id, BlockNo(block)).expect("block");
    assert!(record(1).is_some_and(|record| record.version != Version(0)), "it is not absent any more");
    assert_eq!(record(40), None, "absent");
    for page in 0..16 {
        assert_page(&*now, 1, page, None);
        assert_page(&*now, 70, page, (page != 3).then_some(100 + u64::from(page)));
    }
}

/// Pages written as zero take no space, where blocks are not stored with their neighbours.
pub fn zero_pages_become_holes(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 0, 100)]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").zero(&*base, 0, 0).zero(&*base, 0, 1).page(&*base, 0, 2, 7)]);
    let now = store.now();
    store.photograph_of(&*now);
    let record = now.block(id_of(&*now, "a"), BlockNo(0)).expect("block").expect("there");
    let first = &record.segments[0];
    assert!(!store.has_numbers() || (first.pages.clone(), first.origin) == (0..2, Origin::Hole), "{record:?}");
    assert_page(&*now, 0, 1, None);
    assert_page(&*now, 0, 2, Some(7));
    assert_page(&*now, 0, 3, Some(103));
}

/// A block that is all holes stores no page, and has a version all the same, or is absent.
pub fn a_block_of_zeros_keeps_a_version(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(2);
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 3, 1).page(&*base, 0, 9, 2)]);
    let base = store.now();
    let written = array(&*base, "a").changed;
    store.pass(&*base, &[Edit::of(&*base, "a").zero(&*base, 0, 3).zero(&*base, 0, 9)]);
    let now = store.now();
    store.photograph_of(&*now);
    let record = now.block(id_of(&*now, "a"), BlockNo(0)).expect("block");
    if store.has_numbers() {
        assert_eq!(record.as_ref().expect("there").version, array(&*now, "a").changed);
        assert!(array(&*now, "a").changed > written, "the array changed by it");
    }
    assert!(record.as_ref().is_none_or(BlockRecord::is_hole), "{record:?}");
    assert_ne!(array(&*now, "a").changed, written, "the array changed by it");
    assert_page(&*now, 0, 3, None);
}

/// To store what was there changes nothing but the version of a block, where the store has another one for that.
pub fn a_block_that_was_stored_to_keeps_its_bytes(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(3);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 0, 100).page(&*base, 1, 3, 7)]);
    let base = store.now();
    let edit = (0..3).fold(Edit::of(&*base, "a"), |edit, block| edit.touch(&*base, block));
    let committed = store.pass(&*base, &[edit]);
    let now = store.now();
    store.photograph_of(&*now);
    let id = id_of(&*now, "a");
    for block in 0..3 {
        let record = now.block(id, BlockNo(block)).expect("block");
        if store.has_numbers() {
            assert_eq!(record.as_ref().expect("there").version, committed.version, "block {block}");
        }
        let before = base.block(id, BlockNo(block)).expect("block");
        assert_eq!(record.as_ref().is_none_or(BlockRecord::is_hole), before.is_none());
        let is_where_it_was = before.is_none_or(|before| record.is_some_and(|now| now.segments == before.segments));
        assert!(is_where_it_was, "block {block} lies elsewhere");
    }
    assert_page(&*now, 0, 3, Some(103));
    assert_page(&*now, 1, 3, Some(7));
    assert_page(&*now, 2, 3, None);
}

/// What was never written reads as zeros.
pub fn a_hole_reads_as_zeros_and_stores_nothing(make: MakeStore<'_>) {
    let store = make();
    let now = store.with_array(4);
    let id = id_of(&*now, "a");
    assert_eq!(now.block(id, BlockNo(2)).expect("block"), None);
    let mut read = vec![0xee; 16 * PAGE];
    now.read(id, BlockNo(2), 0, &mut read).expect("read");
    assert!(read.iter().all(|b| *b == 0));
    assert!(photograph::records(&*now, id).is_empty());
}

/// One read may begin and end anywhere in a block of many segments.
pub fn reading_crosses_segments(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let edit = Edit::of(&*base, "a").page(&*base, 0, 0, 10).page(&*base, 0, 1, 11).page(&*base, 0, 6, 16);
    store.pass(&*base, &[edit]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 1, 21).page(&*base, 0, 7, 17)]);
    let now = store.now();
    let expected = [Some(10), Some(21), None, None, None, None, Some(16), Some(17), None];
    for first in 0..expected.len() {
        for last in first..expected.len() {
            let mut read = vec![0xee; (last + 1 - first) * PAGE];
            now.read(id_of(&*now, "a"), BlockNo(0), first as u32, &mut read).expect("read");
            let pages = expected[first..=last].iter();
            let wanted: Vec<u8> = pages.flat_map(|tag| tag.map_or(vec![0; PAGE], page_of)).collect();
            assert!(read == wanted, "pages {first}..={last}");
        }
    }
}

/// A block in many pieces is written whole, so that reading it stays fast.
pub fn many_small_commits_leave_few_segments(make: MakeStore<'_>) {
    let store = make();
    let block_size = BlockSize::new(1 << 20).expect("a size");
    let array = Descriptor { block_size, shape: vec![1 << 20], ..array_of(1) };
    store.pass(&*store.now(), &[Edit::create("a", array)]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 0, 1000)]);
    for n in 0..80 {
        let base = store.now();
        store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, n * 3 + 1, u64::from(n))]);
        let now = store.now();
        let record = now.block(id_of(&*now, "a"), BlockNo(0)).expect("block").expect("there");
        assert!(record.segments.len() <= 32, "{} segments after {n} commits", record.segments.len());
    }
    let now = store.now();
    store.photograph_of(&*now);
    for page in 0..256 {
        let changed = page % 3 == 1 && page / 3 < 80;
        assert_page(&*now, 0, page, Some(if changed { u64::from(page / 3) } else { 1000 + u64::from(page) }));
    }
}

/// Walking the blocks begins and ends where it is told to.
pub fn blocks_visits_a_range_ascending_until_told_to_stop(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(400);
    // Numbers on both sides of a byte's end, and another array's blocks behind.
    let stored = [1_u64, 2, 7, 255, 256, 300];
    let edit = stored.iter().fold(Edit::of(&*base, "a"), |edit, n| edit.page(&*base, *n, 0, *n));
    let other = Edit::create("b", array_of(2)).page(&*base, 0, 0, 1).page(&*base, 1, 0, 1);
    store.pass(&*base, &[edit, other]);
    let now = store.now();
    let walk = |range, most: usize| {
        let mut met = Vec::new();
        let visit = &mut |block: BlockNo, _| {
            met.push(block.0);
            if met.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        now.blocks(id_of(&*now, "a"), range, visit).expect("blocks");
        met
    };
    let all = walk(0..u64::MAX, 999);
    assert_eq!(store.stored_blocks(&*now, id_of(&*now, "a")), stored);
    assert!(if store.has_numbers() { all == stored } else { stored.iter().all(|n| all.contains(n)) }, "{all:?}");
    for range in [2..256, 3..7, 7..7, 301..u64::MAX, 2..u64::MAX] {
        let within: Vec<u64> = all.iter().copied().filter(|n| range.contains(n)).collect();
        assert_eq!(walk(range.clone(), 999), within);
        assert_eq!(walk(range, 2), within[..within.len().min(2)]);
    }
    assert_eq!(walk(0..u64::MAX, 1), all[..1]);
}

/// An array that was shorter for a while shows zeros where it grew again, and what was written then.
pub fn what_drops_is_gone_before_what_is_written_lands(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(4);
    let edit = (0..4).fold(Edit::of(&*base, "a"), |edit, n| edit.block(&*base, n, 100 * (n + 1)));
    store.pass(&*base, &[edit]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").drop_from(&*base, 1).page(&*base, 2, 3, 7).page(&*base, 0, 0, 8)]);
    let now = store.now();
    store.photograph_of(&*now);
    assert_eq!(store.stored_blocks(&*now, id_of(&*now, "a")), [0, 2]);
    assert_page(&*now, 0, 0, Some(8));
    assert_page(&*now, 0, 1, Some(101));
    assert_page(&*now, 2, 2, None);
    assert_page(&*now, 2, 3, Some(7));
    assert_page(&*now, 2, 4, None);
    assert_page(&*now, 3, 0, None);
}

/// The blocks before that of the first row go, with all that is counted by them; the others stay where they are, also in
/// a MiB that both have part of.
pub fn blocks_before_the_first_row_are_gone(make: MakeStore<'_>) {
    let mut store = make();
    let block = BlockSize::MIN.bytes();
    let base = store.with_array(60);
    let filled = (0..60).fold(Edit::of(&*base, "a"), |edit, block| edit.page(&*base, block, 3, 1000 + block));
    store.pass(&*base, &[filled]);
    let old = store.now();
    if !store.drops_front() {
        store.refuse(ErrorKind::Unsupported, &*old, &[Edit::of(&*old, "a").drop_front(block)]);
        return;
    }
    let mut first = 0;
    // Part of a block, a block, several MiB, and nothing.
    for bytes in [100, block, 5 * block + 1, 34 * block, 0] {
        let base = store.now();
        let written = 50 + first % 7;
        let edit = Edit::of(&*base, "a").drop_front(bytes).page(&*base, written, 9, 2000 + bytes as u64);
        let before = array(&*base, "a");
        store.pass(&*base, &[edit]);
        let now = store.now();
        let after = array(&*now, "a");
        assert_eq!((after.skip, after.nbytes()), (before.skip + bytes, before.nbytes() - bytes));
        assert_eq!(after.reshaped == before.reshaped, bytes == 0);
        first = after.first_block().0;
        assert_eq!(store.stored_blocks(&*now, after.id), (first..60).collect::<Vec<_>>());
        assert_page(&*now, first, 3, Some(1000 + first));
        assert_page(&*now, written, 9, Some(2000 + bytes as u64));
        store.photograph_of(&*now);
    }
    let now = store.now();
    // All of it, and then it is counted from 0 again.
    let Descriptor { skip, shape, .. } = array(&*now, "a");
    let none = Edit::of(&*now, "a").reshape(&[0]).drop_from(&*now, 0).skip(0).block(&*now, 1, 300);
    store.pass(&*now, &[none.reshape(&[2 * block])]);
    let again = store.now();
    assert_eq!(store.stored_blocks(&*again, id_of(&*again, "a")), [1]);
    assert_page(&*again, 1, 5, Some(305));
    // An older state has what it had.
    assert_eq!((array(&*now, "a").skip, array(&*now, "a").shape), (skip, shape));
    assert_page(&*old, 0, 3, Some(1000));
    assert_page(&*now, 59, 3, Some(1059));
    drop((base, old, now, again));
    store.reopen();
    assert_page(&*store.now(), 1, 5, Some(305));
}

/// Megabytes in one commit, holes between.
pub fn a_large_commit_reads_back(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(100);
    let edit = (0..100).step_by(2).fold(Edit::of(&*base, "a"), |edit, n| edit.block(&*base, n, 100 * n));
    store.pass(&*base, &[edit]);
    let now = store.now();
    store.photograph_of(&*now);
    for block in 0..100 {
        for page in 0..16 {
            let tag = (block % 2 == 0).then_some(100 * block + u64::from(page));
            assert_page(&*now, block, page, tag);
        }
    }
}

/// Equal versions mean equal bytes, and what was not touched keeps its version; a neighbour may get another one.
pub fn versions_move_only_with_the_bytes(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(2);
    let id = id_of(&*base, "a");
    let version = |n| store.now().block(id, BlockNo(n)).expect("block").map_or(Version(0), |record| record.version);
    let changed = || array(&*store.now(), "a").changed;

    let mut last = changed();
    let mut is_changed_by = |committed: Committed, expected: [bool; 2]| {
        let (before, now) = (std::mem::replace(&mut last, changed()), changed());
        assert_ne!(before, now, "the array changed");
        let there = [version(0) != Version(0), version(1) != Version(0)];
        assert!(
            there == expected || !store.has_numbers() && there[0] >= expected[0] && there[1] >= expected[1],
            "{there:?}"
        );
        assert_eq!(committed.changed, [now]);
        if store.has_numbers() {
            assert_eq!(now, committed.version);
        }
        committed.version
    };

    let first = store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)]);
    let first = is_changed_by(first, [true, false]);
    assert!(!store.has_numbers() || version(0) == first);

    let base = store.now();
    let second = store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 1, 0, 1)]);
    let second = is_changed_by(second, [true, true]);
    assert!(!store.has_numbers() || (version(0), version(1)) == (first, second));

    let before = (version(0), version(1), changed());
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").attr("unit", Some("K".into()))]);
    let base = store.now();
    store.pass(&*base, &[Edit::create("b", array_of(1)).page(&*base, 0, 0, 1)]);
    assert_eq!((version(0), version(1), changed()), before, "others do not move them");

    let base = store.now();
    let shorter = Edit::of(&*base, "a").reshape(&[BlockSize::MIN.bytes()]).drop_from(&*base, 1);
    let third = store.pass(&*base, &[shorter]);
    is_changed_by(third, [true, false]);
    assert!(!store.has_numbers() || version(0) == first);
}

/// Closing and opening changes nothing.
pub fn a_reopened_store_is_as_it_was(make: MakeStore<'_>) {
    let mut store = make();
    let base = store.with_array(3);
    let edit = Edit::of(&*base, "a").block(&*base, 0, 100).page(&*base, 2, 5, 7).attr("unit", Some(1.into()));
    store.pass(&*base, &[edit]);
    drop(base);
    let before = store.photograph();
    store.reopen();
    before.assert_same(&store.photograph(), "opened again");
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 1, 9)]);
    drop(base);
    store.reopen();
    assert_page(&*store.now(), 0, 0, Some(100));
    assert_page(&*store.now(), 0, 1, Some(9));
    assert_page(&*store.now(), 2, 5, Some(7));
}
