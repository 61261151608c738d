//! The store against a model that knows every page of every state: a snapshot never changes, whatever is committed, fails
//! half-way, is refused or reopened, and the check passes after each step.

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray_core::store::{ArrayChange, Bytes, Change, Origin, Snapshot, SpilledPages, Store};
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, Error, ErrorKind, PAGE, Result, Version};
use bigarray_store_lmdb::{CheckReport, LmdbStore, Options};
use bigarray_testing::{Edit, array_of, page_of, smooth_page_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Written, commit_with_spilled};

const NAMES: [&str; 3] = ["heat", "rain", "wind"];

/// Codecs of the arrays, in turn.
const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Lz4 { shuffle: true },
    Codec::Zstd { level: 1, shuffle: true },
    Codec::Lz4 { shuffle: false },
    Codec::Zstd { level: 3, shuffle: false },
];

/// An array as it should be.
#[derive(Clone, Debug)]
struct Array {
    /// Tells arrays apart that had the same name in turn.
    made: u64,
    size: BlockSize,
    codec: Codec,
    /// The number of its last block, and 1.
    blocks: u64,
    /// Elements dropped at the front.
    dropped: usize,
    /// Tags of the pages that are not zero, by block and page.
    pages: BTreeMap<(u64, u32), u64>,
    attr: Option<Value>,
}

impl Array {
    fn shape(&self) -> Vec<usize> {
        vec![self.blocks as usize * self.size.bytes() / 8 - self.dropped]
    }

    /// The number of its first block.
    fn first(&self) -> u64 {
        self.size.block_at(8 * self.dropped).0
    }

    /// Block and page for any two numbers.
    fn place(&self, (block, page): (usize, usize)) -> (u64, u32) {
        let first = self.first();
        (first + block as u64 % (self.blocks - first), page as u32 % self.size.pages())
    }

    /// Some pages of arrays with a codec compress well, some do not at all.
    fn is_smooth(&self, tag: u64) -> bool {
        self.codec != Codec::None && !tag.is_multiple_of(5)
    }

    fn page_of(&self, tag: u64) -> Vec<u8> {
        if self.is_smooth(tag) { smooth_page_of(tag) } else { page_of(tag) }
    }

    fn pages_of(&self, block: u64) -> impl Iterator<Item = (u32, u64)> {
        self.pages.range((block, 0)..(block + 1, 0)).map(|((_, page), tag)| (*page, *tag))
    }
}

/// A snapshot, and the contents that it should have.
struct Look {
    snapshot: Arc<dyn Snapshot>,
    arrays: BTreeMap<String, Array>,
}

struct World {
    /// `None` only while reopening.
    store: Option<Arc<LmdbStore>>,
    now: BTreeMap<String, Array>,
    looks: Vec<Look>,
    last_number: u64,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

/// Any block and page; reduced to what the array has.
type Place = (usize, usize);

/// An operation. Numbers choose among the existing names, places and snapshots.
#[derive(Clone, Debug)]
enum Op {
    /// Makes an array, or gives it that many blocks.
    Resize {
        name: usize,
        blocks: u64,
        large: bool,
    },
    /// Drops so many elements at the front, but not all.
    DropFront {
        name: usize,
        elements: usize,
    },
    /// Writes pages here and there, or makes them zero.
    Scatter {
        name: usize,
        pages: Vec<(Place, bool)>,
    },
    /// Writes consecutive pages: a small payload or one of several MiB.
    Fill {
        name: usize,
        from: Place,
        pages: u32,
    },
    /// Drops everything and writes one page.
    Replace {
        name: usize,
        page: Place,
    },
    /// Spills all of some blocks and a few pages of others, some of it twice; commits it, perhaps with a page from
    /// memory, or drops it.
    Spill {
        name: usize,
        blocks: Vec<(usize, bool)>,
        page: Place,
        commits: bool,
    },
    Remove {
        name: usize,
    },
    Swap {
        one: usize,
        other: usize,
    },
    Attr {
        name: usize,
        value: Option<u8>,
    },
    /// Writes to all arrays, but reading the bytes fails after that many pieces.
    Fail {
        from: Place,
        pages: u32,
        after: usize,
    },
    /// Writes a page on top of an old state.
    Late {
        look: usize,
        name: usize,
        page: Place,
    },
    Look,
    LookAway {
        look: usize,
    },
    Reopen,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.bigarray");
        let store = LmdbStore::open(&Options::new(&path)).unwrap();
        World { store: Some(store), now: BTreeMap::new(), looks: Vec::new(), last_number: 0, path, _dir: dir }
    }

    fn store(&self) -> &LmdbStore {
        self.store.as_ref().unwrap()
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Commits a change of an array, if there is one of that name.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut World, &dyn Snapshot, Edit, &mut Array) -> Edit) {
        let Some(mut array) = self.now.get(name).cloned() else { return };
        let base = self.store().snapshot().unwrap();
        let edit = change(self, &*base, Edit::of(&*base, name), &mut array);
        Edit::commit(self.store(), &*base, &[edit]).unwrap();
        self.now.insert(name.to_owned(), array);
    }

    fn write(&mut self, base: &dyn Snapshot, edit: Edit, array: &mut Array, (block, page): (u64, u32)) -> Edit {
        let tag = self.number();
        array.pages.insert((block, page), tag);
        if array.is_smooth(tag) { edit.smooth_page(base, block, page, tag) } else { edit.page(base, block, page, tag) }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Resize { name, blocks, large } => self.resize(NAMES[*name], *blocks, *large),
            Op::DropFront { name, elements } => self.change(NAMES[*name], |_, _, edit, array| {
                let dropped = elements % array.shape()[0];
                array.dropped += dropped;
                let first = array.first();
                array.pages.retain(|(block, _), _| *block >= first);
                edit.drop_front(8 * dropped)
            }),
            Op::Scatter { name, pages } => self.change(NAMES[*name], |world, base, mut edit, array| {
                for (place, zero) in pages {
                    let (block, page) = array.place(*place);
                    if *zero {
                        edit = edit.zero(base, block, page);
                        array.pages.remove(&(block, page));
                    } else {
                        edit = world.write(base, edit, array, (block, page));
                    }
                }
                edit
            }),
            Op::Fill { name, from, pages } => self.change(NAMES[*name], |world, base, edit, array| {
                pages_from(array, *from, *pages).fold(edit, |edit, place| world.write(base, edit, array, place))
            }),
            Op::Replace { name, page } => self.change(NAMES[*name], |world, base, edit, array| {
                array.pages.clear();
                let place = array.place(*page);
                world.write(base, edit.drop_from(base, 0), array, place)
            }),
            Op::Spill { name, blocks, page, commits } => self.spill(NAMES[*name], blocks, *page, *commits),
            Op::Remove { name } => {
                if self.now.remove(NAMES[*name]).is_some() {
                    let base = self.store().snapshot().unwrap();
                    Edit::commit(self.store(), &*base, &[Edit::of(&*base, NAMES[*name]).remove()]).unwrap();
                }
            }
            Op::Swap { one, other } => {
                let base = self.store().snapshot().unwrap();
                let mut edits = Vec::new();
                let arrays = [one, other].map(|name| self.now.remove(NAMES[*name]));
                for (array, (from, to)) in arrays.into_iter().zip([(one, other), (other, one)]) {
                    if let Some(array) = array {
                        edits.push(Edit::of(&*base, NAMES[*from]).rename(NAMES[*to]));
                        self.now.insert(NAMES[*to].to_owned(), array);
                    }
                }
                Edit::commit(self.store(), &*base, &edits).unwrap();
            }
            Op::Attr { name, value } => self.change(NAMES[*name], |_, _, edit, array| {
                array.attr = value.map(|value| json!({ "scale": value }));
                edit.attr("unit", array.attr.clone())
            }),
            Op::Fail { from, pages, after } => self.fail(*from, *pages, *after),
            Op::Late { look, name, page } => self.late(*look, NAMES[*name], *page),
            Op::Look => {
                let snapshot = self.store().snapshot().unwrap();
                self.looks.push(Look { snapshot, arrays: self.now.clone() });
            }
            Op::LookAway { look } => {
                if !self.looks.is_empty() {
                    self.looks.swap_remove(look % self.looks.len()).check();
                }
            }
            Op::Reopen => {
                self.looks.drain(..).for_each(|look| look.check());
                self.store = None;
                self.store = Some(LmdbStore::open(&Options::new(&self.path)).unwrap());
            }
        }
    }

    fn resize(&mut self, name: &str, blocks: u64, large: bool) {
        if self.now.contains_key(name) {
            return self.change(name, |_, base, edit, array| {
                let blocks = array.first() + blocks + u64::from(array.dropped > 0);
                let shorter = blocks < array.blocks;
                array.blocks = blocks;
                array.pages.retain(|(block, _), _| *block < blocks);
                let edit = edit.reshape(&array.shape());
                if shorter { edit.drop_from(base, blocks) } else { edit }
            });
        }
        let size = if large { BlockSize::MAX } else { BlockSize::MIN };
        let made = self.number();
        let codec = CODECS[(made - 1) as usize % CODECS.len()];
        let codec = if self.store().check_codec(codec).is_ok() { codec } else { Codec::None };
        let array = Array { made, size, codec, blocks, dropped: 0, pages: BTreeMap::new(), attr: None };
        let base = self.store().snapshot().unwrap();
        let descriptor = Descriptor {
            shape: array.shape(),
            dtype: "<u8".to_owned(),
            item_size: 8,
            block_size: size,
            codec,
            ..array_of(1)
        };
        Edit::commit(self.store(), &*base, &[Edit::create(name, descriptor)]).unwrap();
        self.now.insert(name.to_owned(), array);
    }

    /// Spilled pages are committed, all that are still wanted, or leave no trace.
    fn spill(&mut self, name: &str, blocks: &[(usize, bool)], page: Place, commits: bool) {
        let Some(mut array) = self.now.get(name).cloned() else { return };
        let base = self.store().snapshot().unwrap();
        let descriptor = base.array(name).unwrap().unwrap();
        let area = self.store().spill_area().unwrap();
        let mut written: BTreeMap<u64, (Range<u32>, u64, Vec<SpilledPages>)> = BTreeMap::new();
        for (block, whole) in blocks {
            let pages = if *whole { 0..array.size.pages() } else { 3..9 };
            let first = self.last_number + 1;
            self.last_number += u64::from(pages.end - pages.start);
            let bytes: Vec<u8> = (first..=self.last_number).flat_map(|tag| array.page_of(tag)).collect();
            let packed = if *whole { area.write_packed(&descriptor, &bytes, pages.end).unwrap() } else { None };
            let runs = match packed {
                Some(run) => vec![run],
                None => area.write(&descriptor, pages.start, &bytes).unwrap(),
            };
            // Pages of the block that were spilled before are dropped, and their place is used again.
            written.insert(array.place((*block, 0)).0, (pages, first, runs));
        }
        for (block, (pages, first, _)) in &written {
            array.pages.extend(pages.clone().zip(*first..).map(|(page, tag)| ((*block, page), tag)));
        }
        let (block, page) = array.place(page);
        let mut edit = Edit::of(&*base, name);
        if !written.contains_key(&block) {
            edit = self.write(&*base, edit, &mut array, (block, page));
        }
        if commits {
            let written: Vec<Written> = written.into_iter().map(|(block, (_, _, runs))| (block, runs)).collect();
            commit_with_spilled(self.store(), &*base, edit, name, &*area, &written).unwrap();
            self.now.insert(name.to_owned(), array);
        }
    }

    /// A commit leaves no trace if reading its bytes fails.
    fn fail(&mut self, from: Place, pages: u32, after: usize) {
        let base = self.store().snapshot().unwrap();
        let mut arrays = self.now.clone();
        let mut edits = Vec::new();
        for (name, array) in &mut arrays {
            let edit = Edit::of(&*base, name);
            let places = pages_from(array, from, pages);
            edits.push(places.fold(edit, |edit, place| self.write(&*base, edit, array, place)));
        }
        let left = AtomicUsize::new(after);
        let result = Edit::with_change(&*base, &edits, |change| {
            let failing: Vec<_> = change.arrays.iter().map(|a| FailingBytes { bytes: a.bytes, left: &left }).collect();
            let arrays = change.arrays.iter().zip(&failing).map(|(a, bytes)| ArrayChange {
                before: a.before.clone(),
                after: a.after.clone(),
                dropped: a.dropped.clone(),
                blocks: a.blocks.clone(),
                attrs: a.attrs.clone(),
                depends: Vec::new(),
                bytes,
                ..*a
            });
            self.store().commit(
                &Change { base: change.base, arrays: arrays.collect(), attrs: Vec::new(), spill_area: None },
                None,
            )
        });
        match result {
            Err(e) => assert!(e.is_io(), "{e:?}"),
            // There were too few pieces to fail.
            Ok(_) => self.now = arrays,
        }
    }

    /// A commit on top of an old state succeeds only if what it read is unchanged.
    fn late(&mut self, look: usize, name: &str, page: Place) {
        let Some(look) = self.looks.get(look % self.looks.len().max(1)) else { return };
        let Some(seen) = look.arrays.get(name) else { return };
        let (block, page) = seen.place(page);
        let now = self.now.get(name).filter(|now| now.made == seen.made);
        let same_bytes = now.is_some_and(|now| now.pages_of(block).eq(seen.pages_of(block)));
        let newest = self.store().snapshot().unwrap();
        let version_in = |snapshot: &dyn Snapshot| {
            let array = snapshot.array(name).unwrap()?;
            Some(snapshot.block(array.id, BlockNo(block)).unwrap().map_or(Version(0), |record| record.version))
        };
        let same_version = now.is_some() && version_in(&*look.snapshot) == version_in(&*newest);
        assert!(same_bytes || !same_version, "array {name:?}, block {block}: equal versions mean equal bytes");
        // An array that shrank, and grew back, has another shape.
        let reshaped_in = |snapshot: &dyn Snapshot| snapshot.array(name).unwrap().map(|array| array.reshaped);
        let same_shape =
            now.is_some_and(|now| now.shape() == seen.shape()) && reshaped_in(&*look.snapshot) == reshaped_in(&*newest);

        let tag = self.last_number + 1;
        let edit = Edit::of(&*look.snapshot, name);
        let edit = if seen.is_smooth(tag) {
            edit.smooth_page(&*look.snapshot, block, page, tag)
        } else {
            edit.page(&*look.snapshot, block, page, tag)
        };
        match Edit::commit(self.store(), &*look.snapshot, &[edit]) {
            Ok(_) => {
                assert!(same_version && same_shape, "array {name:?}, block {block}: an update is lost");
                self.now.get_mut(name).unwrap().pages.insert((block, page), tag);
                self.last_number = tag;
            }
            Err(e) => assert!(e.is_conflict() && !(same_version && same_shape), "{e:?}"),
        }
    }

    /// Checks the committed state.
    fn check(&self, payload: bool) -> CheckReport {
        if payload {
            Look { snapshot: self.store().snapshot().unwrap(), arrays: self.now.clone() }.check();
        }
        self.store().check(payload).unwrap()
    }
}

/// Consecutive pages of an array, as many as it has.
fn pages_from(array: &Array, from: Place, pages: u32) -> impl Iterator<Item = (u64, u32)> + use<> {
    let of_block = u64::from(array.size.pages());
    let (block, page) = array.place(from);
    let first = block * of_block + u64::from(page);
    let end = (first + u64::from(pages)).min(array.blocks * of_block);
    (first..end).map(move |page| (page / of_block, (page % of_block) as u32))
}

/// Bytes whose reading fails after a while.
struct FailingBytes<'a> {
    bytes: &'a dyn Bytes,
    left: &'a AtomicUsize,
}

impl Bytes for FailingBytes<'_> {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, fetch, |left| left.checked_sub(1)).is_err() {
            return Err(Error::new(ErrorKind::Io, "these bytes cannot be had"));
        }
        self.bytes.with(range, f)
    }
}

impl Look {
    /// Checks every byte, as pages are read and as they are mapped.
    fn check(&self) {
        let arrays = self.snapshot.arrays().unwrap();
        assert!(arrays.iter().map(|(name, _)| name).eq(self.arrays.keys()), "{arrays:?}");
        for ((name, found), array) in arrays.iter().zip(self.arrays.values()) {
            let expected = (&array.shape(), array.size, 8 * array.dropped);
            assert_eq!((&found.shape, found.block_size, found.skip), expected, "array {name:?}");
            assert_eq!(self.snapshot.attr(found.id, "unit").unwrap(), array.attr, "array {name:?}");
            for block in 0..array.blocks {
                let mut expected = vec![0; array.size.bytes()];
                for (page, tag) in array.pages_of(block) {
                    expected[page as usize * PAGE..][..PAGE].copy_from_slice(&array.page_of(tag));
                }
                let mut bytes = vec![0xee; expected.len()];
                self.snapshot.read(found.id, BlockNo(block), 0, &mut bytes).unwrap();
                // Pages of dropped rows alone, in the block that the array begins in, are never shown: they go when all rows of
                // that are compressed anew.
                let dropped = (8 * array.dropped).saturating_sub(block as usize * expected.len()) / PAGE * PAGE;
                if array.codec != Codec::None && dropped < expected.len() {
                    expected[..dropped].copy_from_slice(&bytes[..dropped]);
                }
                assert!(bytes == expected, "array {name:?}, block {block}: {:?} were read", tags_of(&bytes));

                let mut mapped = vec![0; expected.len()];
                let record = self.snapshot.block(found.id, BlockNo(block)).unwrap();
                for segment in record.iter().flat_map(|record| &record.segments) {
                    let range = segment.pages.start as usize * PAGE..segment.pages.end as usize * PAGE;
                    match segment.origin {
                        Origin::Extent(offset) => self.snapshot.file().read_at(offset, &mut mapped[range]).unwrap(),
                        Origin::Produced => {
                            assert_ne!(array.codec, Codec::None);
                            mapped[range.clone()].copy_from_slice(&bytes[range]);
                        }
                        Origin::Hole => {}
                    }
                }
                // Also in parts.
                for (page, some) in [(3, 1), (7, 9)] {
                    let range = page * PAGE..(page + some) * PAGE;
                    let mut part = vec![0xee; some * PAGE];
                    self.snapshot.read(found.id, BlockNo(block), page as u32, &mut part).unwrap();
                    assert!(part == expected[range], "array {name:?}, block {block}: {:?} are a part", tags_of(&part));
                }
                assert!(mapped == expected, "array {name:?}, block {block}: {:?} is stored", tags_of(&mapped));
            }
        }
    }
}

/// The tags of pages, by their first bytes.
fn tags_of(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.chunks(PAGE).map(|page| &page[..4]).collect()
}

fn op() -> impl Strategy<Value = Op> {
    let name = || 0..NAMES.len();
    let place = || (any::<usize>(), any::<usize>());
    // Mostly inside a block or two, now and then more than is written under the commit lock.
    let many = || prop_oneof![3 => 1..40_u32, 1 => 200..700_u32];
    prop_oneof![
        3 => (name(), 1..12_u64, any::<bool>())
            .prop_map(|(name, blocks, large)| Op::Resize { name, blocks: if large { blocks.min(3) } else { blocks }, large }),
        3 => (name(), any::<usize>()).prop_map(|(name, elements)| Op::DropFront { name, elements: elements % 60_000 }),
        8 => (name(), prop::collection::vec((place(), prop::bool::weighted(0.2)), 1..30))
            .prop_map(|(name, pages)| Op::Scatter { name, pages }),
        4 => (name(), place(), many()).prop_map(|(name, from, pages)| Op::Fill { name, from, pages }),
        1 => (name(), place()).prop_map(|(name, page)| Op::Replace { name, page }),
        4 => (name(), prop::collection::vec((any::<usize>(), any::<bool>()), 1..5), place(), any::<bool>())
            .prop_map(|(name, blocks, page, commits)| Op::Spill { name, blocks, page, commits }),
        1 => name().prop_map(|name| Op::Remove { name }),
        1 => (name(), name()).prop_map(|(one, other)| Op::Swap { one, other }),
        1 => (name(), any::<Option<u8>>()).prop_map(|(name, value)| Op::Attr { name, value }),
        2 => (place(), many(), 0..4_usize).prop_map(|(from, pages, after)| Op::Fail { from, pages, after }),
        2 => (any::<usize>(), name(), place()).prop_map(|(look, name, page)| Op::Late { look, name, page }),
        3 => Just(Op::Look),
        3 => any::<usize>().prop_map(|look| Op::LookAway { look }),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_shows_its_committed_state_while_it_lives(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for (i, name) in NAMES.iter().enumerate() {
            world.resize(name, 3, i == 2);
        }
        for op in &ops {
            world.apply(op);
            world.check(false);
        }
        world.check(true);
        // Without snapshots all freed pages become free within a few commits.
        world.apply(&Op::Reopen);
        world.resize(NAMES[0], 1, false);
        for value in 0..4 {
            world.apply(&Op::Attr { name: 0, value: Some(value) });
        }
        let report = world.check(true);
        prop_assert_eq!((report.freed_pages, report.claimed_pages), (0, 0));
    }
}

#[test]
fn rewriting_a_block_repeatedly_does_not_grow_the_file() {
    let mut world = World::new();
    world.resize("heat", 1, true);
    world.apply(&Op::Fill { name: 0, from: (0, 0), pages: 512 });
    for i in 0..200 {
        world.apply(&Op::Scatter { name: 0, pages: vec![((0, i * 37), false), ((0, i * 91), false)] });
    }
    world.apply(&Op::Fill { name: 0, from: (0, 0), pages: 512 });
    let report = world.check(true);
    let pages = report.stored_pages + report.freed_pages + report.claimed_pages + report.free_pages;
    assert!(pages <= 5 * 512, "{report:?}");
}

#[test]
fn a_page_of_a_large_block_is_stored_as_a_page() {
    let mut world = World::new();
    world.resize("heat", 1, true);
    world.apply(&Op::Fill { name: 0, from: (0, 0), pages: 512 });
    let before = world.check(false);
    world.apply(&Op::Scatter { name: 0, pages: vec![((0, 100), false)] });
    let after = world.check(true);
    assert_eq!((after.segments, after.stored_pages), (3, before.stored_pages));
    assert_eq!(after.freed_pages, before.freed_pages + 1);
}

#[test]
fn the_check_passes_while_others_commit() {
    let mut world = World::new();
    for name in NAMES {
        world.resize(name, 2, true);
    }
    let store = world.store();
    std::thread::scope(|scope| {
        let writers = NAMES.map(|name| {
            scope.spawn(move || {
                for i in 0..30 {
                    let base = store.snapshot().unwrap();
                    let pages = if i % 5 == 0 { 0..300 } else { i..i + 3 };
                    let edit = pages.fold(Edit::of(&*base, name), |edit, page| edit.page(&*base, 1, page, i.into()));
                    Edit::commit(store, &*base, &[edit]).unwrap();
                }
            })
        });
        while !writers.iter().all(|writer| writer.is_finished()) {
            store.check(true).unwrap();
        }
    });
    assert_eq!(store.check(true).unwrap().claimed_pages, 0);
}
