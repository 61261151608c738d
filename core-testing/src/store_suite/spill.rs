//! Spilling.

use std::thread;

use bigarray_core::store::{
    ArrayChange, Change, Committed, Origin, PageRun, PageSource, Snapshot, SpillArea, SpilledPages,
};
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, ErrorKind, PAGE, Result};

use super::super::{Edit, Rng, array_of, page_of};
use super::{MakeStore, StoreFixture};

/// The pages of those tags, one behind the other.
fn bytes_of(tags: impl Iterator<Item = u64>) -> Vec<u8> {
    tags.flat_map(page_of).collect()
}

/// Spills pages: `tag` and those after it.
#[track_caller]
fn write(area: &dyn SpillArea, array: &Descriptor, first: u32, pages: u32, tag: u64) -> Vec<SpilledPages> {
    let bytes = bytes_of(tag..tag + u64::from(pages));
    let written = area.write(array, first, &bytes).expect("room");
    let mut at = first;
    for run in &written {
        assert!(run.pages.start == at && at < run.pages.end, "{written:?} of {pages} pages from {first} on");
        at = run.pages.end;
    }
    assert_eq!(at, first + pages, "{written:?}");
    written
}

/// Whether all of it reads as it was written.
#[track_caller]
fn assert_reads(written: &[SpilledPages], tag_of_first: u64) {
    let first = written[0].pages.start;
    for run in written {
        for from in run.pages.clone() {
            let mut read = vec![0xee; (run.pages.end - from) as usize * PAGE];
            run.slot.read(from, &mut read).expect("reading spilled pages");
            let tag = |page: u32| tag_of_first + u64::from(page - first);
            assert!(read == bytes_of((from..run.pages.end).map(tag)), "pages from {from} on of {run:?}");
        }
    }
}

/// A block that a commit lays pages over.
struct Laid(u64, Vec<PageRun>);

fn spilled_runs(written: &[SpilledPages]) -> Vec<PageRun> {
    let source = |pages: &SpilledPages| PageSource::Spilled(pages.clone());
    written.iter().map(|pages| PageRun { pages: pages.pages.clone(), source: source(pages) }).collect()
}

/// Commits `blocks` of array `a`, besides what `edit` does to it.
fn commit(
    store: &StoreFixture,
    base: &dyn Snapshot,
    edit: Edit,
    area: &dyn SpillArea,
    blocks: &[Laid],
) -> Result<Committed> {
    // A page of zeros gives each block an entry, in which it is then replaced.
    let edit = blocks.iter().fold(edit, |edit, Laid(block, runs)| {
        let first = runs[0].pages.start;
        edit.zero(base, *block, first)
    });
    Edit::with_change(base, &[edit], |change| {
        let mut arrays = Vec::new();
        for array in &change.arrays {
            let mut laid = array.blocks.clone();
            for Laid(number, runs) in blocks {
                let block = laid.iter_mut().find(|block| block.block.0 == *number).expect("an entry");
                block.pages.retain(|old| runs.iter().all(|run| !overlap(run, old)));
                block.pages.extend(runs.iter().cloned());
                block.pages.sort_by_key(|run| run.pages.start);
            }
            arrays.push(ArrayChange {
                before: array.before.clone(),
                after: array.after.clone(),
                dropped: array.dropped.clone(),
                blocks: laid,
                attrs: array.attrs.clone(),
                depends: Vec::new(),
                ..*array
            });
        }
        store.commit(&Change { base: change.base, arrays, attrs: Vec::new(), spill_area: Some(area) }, None)
    })
}

fn overlap(one: &PageRun, other: &PageRun) -> bool {
    one.pages.start < other.pages.end && other.pages.start < one.pages.end
}

fn array(snapshot: &dyn Snapshot) -> Descriptor {
    snapshot.array("a").expect("array").expect("there")
}

#[track_caller]
fn assert_pages(snapshot: &dyn Snapshot, block: u64, tags: &[Option<u64>]) {
    let mut read = vec![0xee; tags.len() * PAGE];
    snapshot.read(array(snapshot).id, BlockNo(block), 0, &mut read).expect("read");
    for (page, (read, tag)) in read.chunks_exact(PAGE).zip(tags).enumerate() {
        let expected = tag.map_or(vec![0; PAGE], page_of);
        assert!(read == expected, "page {page} of block {block} is not that of {tag:?}");
    }
}

fn tags(from: u64) -> Vec<Option<u64>> {
    (0..16).map(|page| Some(from + page)).collect()
}

/// Spilled pages are in no snapshot until they are committed; then in every one, and after opening again.
pub fn spilled_pages_are_invisible_until_the_commit(make: MakeStore<'_>) {
    let mut store = make();
    let base = store.with_array(3);
    let before = store.photograph_of(&*base);
    let area = store.spill_area().expect("a spill area");
    let written = write(&*area, &array(&*base), 0, 16, 100);
    assert_reads(&written, 100);
    before.assert_same_content(&store.photograph(), "spilled");
    commit(&store, &*base, Edit::of(&*base, "a"), &*area, &[Laid(1, spilled_runs(&written))]).expect("a commit");
    before.assert_same_content(&store.photograph_of(&*base), "an older snapshot");
    drop((area, written, base));
    for _ in 0..2 {
        let now = store.now();
        store.photograph_of(&*now);
        assert_pages(&*now, 1, &tags(100));
        assert_eq!(store.stored_blocks(&*now, array(&*now).id), [1]);
        drop(now);
        store.reopen();
    }
}

/// Spilled pages, pages from memory, zeros, and what was stored, side by side in one block.
pub fn sources_mix_in_one_block(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 0, 1000)]);
    let base = store.now();
    let area = store.spill_area().expect("a spill area");
    let (one, other) = (write(&*area, &array(&*base), 2, 3, 200), write(&*area, &array(&*base), 9, 2, 300));
    let runs: Vec<PageRun> = [one, other].iter().flat_map(|written| spilled_runs(written)).collect();
    let edit = Edit::of(&*base, "a").page(&*base, 0, 1, 7).zero(&*base, 0, 6).page(&*base, 0, 11, 8);
    commit(&store, &*base, edit, &*area, &[Laid(0, runs)]).expect("a commit");
    let mut expected = tags(1000);
    expected[1] = Some(7);
    expected[2..5].copy_from_slice(&[Some(200), Some(201), Some(202)]);
    expected[6] = None;
    expected[9..12].copy_from_slice(&[Some(300), Some(301), Some(8)]);
    store.photograph();
    assert_pages(&*store.now(), 0, &expected);
}

/// A commit may take a part of what was written together, and much from memory besides.
pub fn a_part_of_what_was_written_is_committed(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(60);
    let area = store.spill_area().expect("a spill area");
    let written = write(&*area, &array(&*base), 0, 16, 100);
    let mut runs = Vec::new();
    for run in &written {
        for page in run.pages.clone().filter(|page| page % 3 > 0) {
            runs.push(PageRun { pages: page..page + 1, source: PageSource::Spilled(run.part(page..page + 1)) });
        }
    }
    let edit = (1..60).fold(Edit::of(&*base, "a"), |edit, n| edit.block(&*base, n, 1000 * n));
    commit(&store, &*base, edit, &*area, &[Laid(0, runs)]).expect("a commit");
    drop((area, written, base));
    let now = store.now();
    store.photograph_of(&*now);
    let expected: Vec<_> = (0..16).map(|page| (page % 3 > 0).then_some(100 + page)).collect();
    assert_pages(&*now, 0, &expected);
    for block in 1..60 {
        assert_pages(&*now, block, &tags(1000 * block));
    }
}

/// Without a commit nothing changes, and what comes after finds the place it took.
pub fn dropped_without_a_commit_it_leaves_nothing(make: MakeStore<'_>) {
    let mut store = make();
    let base = store.with_array(4);
    store.pass(&*base, &[Edit::of(&*base, "a").block(&*base, 3, 500)]);
    drop(base);
    let before = store.photograph();
    for round in 0..3 {
        let area = store.spill_area().expect("a spill area");
        let written = write(&*area, &array(&*store.now()), 0, 16, 100 * round);
        // Either may go first.
        if round == 1 {
            drop((written, area))
        } else {
            drop((area, written))
        }
        before.assert_same_content(&store.photograph(), "an abort");
    }
    store.reopen();
    before.assert_same_content(&store.photograph(), "opened again after aborts");
}

/// Each of several has its own places, and commits them or not.
pub fn several_transactions_spill_at_once(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(4);
    let areas: Vec<_> = (0..4).map(|_| store.spill_area().expect("a spill area")).collect();
    let array = array(&*base);
    let written: Vec<_> = (0..).zip(&areas).map(|(n, area)| write(&**area, &array, 0, 16, 100 * n)).collect();
    for (n, written) in (0..).zip(&written) {
        assert_reads(written, 100 * n);
    }
    for n in [2, 0, 3] {
        let laid = Laid(n as u64, spilled_runs(&written[n]));
        commit(&store, &*base, Edit::of(&*base, "a"), &*areas[n], &[laid]).expect("different blocks");
    }
    assert_reads(&written[1], 100);
    drop((areas, written));
    let now = store.now();
    store.photograph_of(&*now);
    for n in [0, 2, 3] {
        assert_pages(&*now, n, &tags(100 * n));
    }
    assert_pages(&*now, 1, &[None; 16]);
}

/// After a conflict the loser may drop what it spilled, or commit it on top of the winner.
pub fn a_conflict_leaves_the_spilled_pages(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(2);
    let area = store.spill_area().expect("a spill area");
    let written = write(&*area, &array(&*base), 0, 16, 100);
    let more = write(&*area, &array(&*base), 0, 16, 200);
    store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 5, 1)]);
    let before = store.photograph();
    let laid = [Laid(0, spilled_runs(&written)), Laid(1, spilled_runs(&more))];
    let error = commit(&store, &*base, Edit::of(&*base, "a"), &*area, &laid).expect_err("a conflict");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    before.assert_same_content(&store.photograph(), "a conflict");
    assert_reads(&written, 100);
    assert_reads(&more, 200);
    let now = store.now();
    commit(&store, &*now, Edit::of(&*now, "a"), &*area, &laid[..1]).expect("nothing stands against it now");
    store.photograph();
    assert_pages(&*store.now(), 0, &tags(100));
    assert_pages(&*store.now(), 1, &[None; 16]);
}

/// Places are used again as they are given back; what is still held never changes.
pub fn a_slot_is_used_again_only_once_it_is_released(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(8);
    let array = array(&*base);
    let area = store.spill_area().expect("a spill area");
    let mut rng = Rng::new(7);
    let mut held: Vec<(u64, Vec<SpilledPages>)> = Vec::new();
    for n in 0..300 {
        if held.len() > 6 || (rng.one_in(3) && !held.is_empty()) {
            let (tag, written) = held.swap_remove(rng.below(held.len()));
            assert_reads(&written, tag);
        }
        let pages = 1 + rng.below(16) as u32;
        let first = rng.below(17 - pages as usize) as u32;
        held.push((100 * n, write(&*area, &array, first, pages, 100 * n)));
        let extents = |written: &[SpilledPages]| -> Vec<u64> {
            written.iter().flat_map(|run| run.pages.clone().filter_map(|page| run.slot.extent(page))).collect()
        };
        let mut all: Vec<u64> = held.iter().flat_map(|(_, written)| extents(written)).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "two places in one page of the file");
    }
    held.truncate(8);
    let laid: Vec<Laid> = (0..).zip(&held).map(|(n, (_, written))| Laid(n, spilled_runs(written))).collect();
    commit(&store, &*base, Edit::of(&*base, "a"), &*area, &laid).expect("a commit");
    let now = store.now();
    store.photograph_of(&*now);
    for (block, (tag, written)) in (0..).zip(&held) {
        let mut expected = [None; 16];
        let first = written[0].pages.start;
        for page in written.iter().flat_map(|run| run.pages.clone()) {
            expected[page as usize] = Some(tag + u64::from(page - first));
        }
        assert_pages(&*now, block, &expected);
    }
}

/// Many threads write at once, and each finds what it wrote.
pub fn several_threads_spill_at_once(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(64);
    let array = array(&*base);
    let area = store.spill_area().expect("a spill area");
    let written: Vec<Vec<SpilledPages>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (area, array) = (&area, &array);
                scope.spawn(move || {
                    let of_thread = (16 * thread..16 * (thread + 1)).map(|block| {
                        drop(write(&**area, array, 3, 5, 9999));
                        write(&**area, array, 0, 16, 100 * block)
                    });
                    of_thread.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let laid: Vec<Laid> = (0..).zip(&written).map(|(n, written)| Laid(n, spilled_runs(written))).collect();
    commit(&store, &*base, Edit::of(&*base, "a"), &*area, &laid).expect("a commit");
    let now = store.now();
    store.photograph_of(&*now);
    for block in 0..64 {
        assert_pages(&*now, block, &tags(100 * block));
    }
}

/// What may be mapped is where it says, byte for byte; and so it is in the state that a commit makes.
pub fn a_spilled_extent_is_where_it_says(make: MakeStore<'_>) {
    let store = make();
    if !store.maps {
        return;
    }
    let base = store.with_array(1);
    let area = store.spill_area().expect("a spill area");
    let bytes = bytes_of(100..116);
    let written = area.write(&array(&*base), 0, &bytes).expect("room");
    let mut extents = Vec::new();
    for run in &written {
        for page in run.pages.clone() {
            let offset = run.slot.extent(page).expect("written plain");
            let mut in_file = vec![0; PAGE];
            base.file().read_at(offset, &mut in_file).expect("in the file");
            assert!(in_file == page_of(100 + u64::from(page)), "page {page}");
            extents.push(offset);
        }
    }
    commit(&store, &*base, Edit::of(&*base, "a"), &*area, &[Laid(0, spilled_runs(&written))]).expect("a commit");
    let now = store.now();
    let record = now.block(array(&*now).id, BlockNo(0)).expect("block").expect("there");
    let stored = record.segments.iter().flat_map(|segment| match segment.origin {
        Origin::Extent(offset) => (0..segment.pages.len()).map(|n| offset + (n * PAGE) as u64).collect(),
        _ => Vec::new(),
    });
    assert_eq!(stored.collect::<Vec<u64>>(), extents);
}

/// A block of an array with a codec is as it was given, whole or in part, plain or not, where the store has the codec.
pub fn blocks_with_a_codec_read_as_they_were_written(make: MakeStore<'_>) {
    let store = make();
    let codec = Codec::Lz4 { shuffle: false };
    if store.check_codec(codec).is_err() {
        return;
    }
    store.pass(&*store.now(), &[Edit::create("a", Descriptor { codec, ..array_of(3) })]);
    let base = store.now();
    let array = array(&*base);
    let area = store.spill_area().expect("a spill area");
    // Bytes that shrink.
    let block: Vec<u8> = (0..BlockSize::MIN.bytes()).map(|at| (at / 1000) as u8 + 1).collect();
    let packed: Vec<SpilledPages> = area.write_packed(&array, &block, 16).expect("room").into_iter().collect();
    let is_packed = matches!(&packed[..], [all] if all.pages == (0..16));
    assert!(is_packed || !store.maps, "{packed:?}");
    let plain = area.write(&array, 0, &block).expect("room");
    let whole = if is_packed { packed } else { area.write(&array, 0, &block).expect("room") };
    let part = area.write(&array, 2, &block[2 * PAGE..7 * PAGE]).expect("room");
    let is_mapped = |run: &SpilledPages| run.slot.extent(run.pages.start).is_some();
    let may_be_mapped = plain.iter().chain(&part).all(is_mapped);
    assert!(!whole.iter().any(is_mapped) && may_be_mapped == store.maps, "{whole:?} {plain:?} {part:?}");
    for run in whole.iter().chain(&plain).chain(&part) {
        let mut read = vec![0; run.pages.len() * PAGE];
        run.slot.read(run.pages.start, &mut read).expect("reading");
        assert!(read == block[run.pages.start as usize * PAGE..run.pages.end as usize * PAGE], "{run:?}");
    }
    let laid = [Laid(0, spilled_runs(&whole)), Laid(1, spilled_runs(&plain)), Laid(2, spilled_runs(&part))];
    commit(&store, &*base, Edit::of(&*base, "a"), &*area, &laid).expect("a commit");
    let now = store.now();
    store.photograph_of(&*now);
    for (n, pages) in [(0, 0..16), (1, 0..16), (2, 2..7)] {
        let mut read = vec![0; pages.len() * PAGE];
        now.read(array.id, BlockNo(n), pages.start as u32, &mut read).expect("reading");
        assert!(read == block[pages.start * PAGE..pages.end * PAGE], "block {n}");
    }
    let origins = |n| now.block(array.id, BlockNo(n)).expect("block").expect("there").segments;
    assert!(origins(0).iter().all(|segment| segment.origin == Origin::Produced), "{:?}", origins(0));
    let is_mapped = origins(1).iter().all(|segment| matches!(segment.origin, Origin::Extent(_)));
    assert_eq!(is_mapped, store.maps, "{:?}", origins(1));
}
