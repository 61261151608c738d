//! Defragmenting: how many pieces small commits leave a block in, what it costs to keep them few, and crashes meanwhile.

mod support;

use std::sync::Arc;

use bigarray_core::store::{Origin, Segment, Snapshot};
use bigarray_core::{BlockNo, BlockSize, Descriptor, PAGE};
use bigarray_store_lmdb::{Durability, LmdbStore, Options};
use bigarray_testing::{Edit, Rng, array_of};

use support::crash::{in_child, kill_at};
use support::{Db, assert_page, check, commit, id_of, large_array_of, now};

/// Commits that do not wait for the disk. They write the same.
fn open_unsynced(db: &Db) -> Arc<LmdbStore> {
    LmdbStore::open(&Options { durability: Durability::NoPowerLossSafety, ..Options::new(&db.path) }).unwrap()
}

fn pieces(snapshot: &dyn Snapshot, name: &str, block: u64) -> Vec<Segment> {
    snapshot.block(id_of(snapshot, name), BlockNo(block)).unwrap().map_or(Vec::new(), |record| record.segments)
}

/// The place of a block that is in one piece.
#[track_caller]
fn place_of(snapshot: &dyn Snapshot, name: &str, block: u64) -> u64 {
    match &pieces(snapshot, name, block)[..] {
        [Segment { origin: Origin::Extent(offset), .. }] => *offset,
        several => panic!("block {block} of {name:?} is in pieces: {several:?}"),
    }
}

/// Lengthens array "a" in small steps, and writes the new part as rows would: the page in which the array ended is written
/// again. Returns the tag of each page.
fn append(store: &LmdbStore, from_bytes: usize, to_bytes: usize, step: impl Fn(usize) -> usize) -> Vec<u64> {
    let mut tags = vec![0; from_bytes.div_ceil(PAGE)];
    let mut end = from_bytes;
    let mut tag = 0;
    while end < to_bytes {
        let next = (end + step(tag as usize)).min(to_bytes);
        commit(store, |base| {
            let mut edit = Edit::of(base, "a").reshape(&[next]);
            let of_block = now(store).array("a").unwrap().unwrap().block_size.pages() as usize;
            for page in end / PAGE..next.div_ceil(PAGE) {
                tag += 1;
                tags.resize(tags.len().max(page + 1), 0);
                tags[page] = tag;
                edit = edit.page(base, (page / of_block) as u64, (page % of_block) as u32, tag);
            }
            edit
        });
        end = next;
    }
    tags
}

fn empty(size: BlockSize) -> Descriptor {
    Descriptor { shape: vec![0], block_size: size, ..array_of(1) }
}

/// How often full blocks are not consecutive in the file.
#[track_caller]
fn gaps(snapshot: &dyn Snapshot, size: BlockSize, blocks: u64) -> usize {
    let places: Vec<u64> = (0..blocks).map(|block| place_of(snapshot, "a", block)).collect();
    places.windows(2).filter(|pair| pair[0] + size.bytes() as u64 != pair[1]).count()
}

#[test]
fn pages_changed_one_by_one_never_leave_a_large_block_in_more_than_20_pieces() {
    let db = Db::new();
    let store = open_unsynced(&db);
    commit(&store, |base| Edit::create("a", large_array_of(2)).block(base, 0, 0).block(base, 1, 512));
    let mut tags: Vec<u64> = (0..512).collect();
    let mut random = Rng::new(1);
    let mut most = 0;
    for tag in 1024..1324 {
        let page = random.below(512) as u32;
        commit(&store, |base| Edit::of(base, "a").page(base, 0, page, tag));
        tags[page as usize] = tag;
        most = most.max(pieces(&*now(&store), "a", 0).len());
    }
    assert!((15..=20).contains(&most), "{most} pieces");
    let base = now(&store);
    for (page, tag) in (0..).zip(tags) {
        assert_page(&*base, "a", 0, page, Some(tag));
    }
    let report = check(&store);
    assert_eq!(report.stored_pages, 1024);
    // The two blocks, the pages laid over one of them, and room for a copy of it.
    let pages = report.stored_pages + report.freed_pages + report.free_pages;
    assert!(pages <= 5 * 512, "{report:?}");
}

#[test]
fn an_array_that_grows_in_small_steps_ends_up_in_consecutive_whole_blocks() {
    for (size, blocks) in [(BlockSize::MIN, 60), (BlockSize::new(1 << 20).unwrap(), 6), (BlockSize::MAX, 3)] {
        let db = Db::new();
        let store = open_unsynced(&db);
        commit(&store, |_| Edit::create("a", empty(size)));
        let bytes = blocks as usize * size.bytes() + 5000;
        let tags = append(&store, 0, bytes, |i| 100 + i * 7919 % 3000);
        let base = now(&store);
        let gaps = gaps(&*base, size, blocks);
        // As the array grows, room is left for as much again.
        assert!(gaps <= 6.min(blocks as usize / 2), "{gaps} gaps in {blocks} blocks of {} bytes", size.bytes());
        for (page, tag) in tags.into_iter().enumerate() {
            let (block, page) = (page as u64 / u64::from(size.pages()), page as u32 % size.pages());
            assert_page(&*base, "a", block, page, Some(tag));
        }
        let report = check(&store);
        let pages = report.stored_pages + report.freed_pages + report.free_pages;
        assert!(pages <= bytes as u64 / PAGE as u64 + 3 * 512, "{report:?}");
    }
}

#[test]
fn arrays_that_grow_side_by_side_do_not_break_each_other_up() {
    let db = Db::new();
    let store = open_unsynced(&db);
    let names = ["a", "b", "c"];
    for name in names {
        commit(&store, |_| Edit::create(name, empty(BlockSize::MIN)));
    }
    let blocks = 48;
    for page in 0..blocks * 16 + 1 {
        let base = now(&store);
        let edits = names.map(|name| {
            let grown = Edit::of(&*base, name).reshape(&[(page as usize + 1) * PAGE]);
            grown.page(&*base, page / 16, page as u32 % 16, page)
        });
        Edit::commit(&*store, &*base, &edits).unwrap();
    }
    let base = now(&store);
    for name in names {
        let places: Vec<u64> = (0..blocks).map(|block| place_of(&*base, name, block)).collect();
        let gaps = places.windows(2).filter(|pair| pair[0] + (64 << 10) != pair[1]).count();
        // As the array grows, room is left for as much again.
        assert!(gaps <= 10, "{gaps} gaps in {name:?}: {places:?}");
    }
}

#[test]
fn an_array_that_is_filled_page_by_page_ends_up_in_whole_blocks() {
    let db = Db::new();
    let store = open_unsynced(&db);
    commit(&store, |_| Edit::create("a", array_of(6)));
    for page in 0..6 * 16 {
        commit(&store, |base| Edit::of(base, "a").page(base, page / 16, page as u32 % 16, page));
    }
    let gaps = gaps(&*now(&store), BlockSize::MIN, 6);
    assert!(gaps <= 3, "{gaps} gaps");
}

#[test]
fn writing_the_last_page_repeatedly_copies_nothing_else() {
    let db = Db::new();
    let store = open_unsynced(&db);
    commit(&store, |base| Edit::create("a", large_array_of(1)).block(base, 0, 0));
    let before = place_of(&*now(&store), "a", 0);
    for tag in 0..50 {
        commit(&store, |base| Edit::of(base, "a").page(base, 0, 511, tag));
        let segments = pieces(&*now(&store), "a", 0);
        assert_eq!(segments[0].origin, Origin::Extent(before), "{segments:?}");
        assert!(segments[0].pages.end >= 511, "{segments:?}");
    }
}

#[test]
fn a_block_of_few_pages_keeps_its_holes() {
    let db = Db::new();
    let store = open_unsynced(&db);
    commit(&store, |_| Edit::create("a", large_array_of(1)));
    let scattered = [0, 511, 30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 330];
    for page in scattered {
        commit(&store, |base| Edit::of(base, "a").page(base, 0, page, page.into()));
    }
    assert_eq!(check(&store).stored_pages, scattered.len() as u64);
}

#[test]
fn a_block_that_a_large_payload_leaves_in_many_pieces_is_copied_and_the_claim_released() {
    let db = Db::new();
    let store = open_unsynced(&db);
    commit(&store, |base| Edit::create("a", large_array_of(3)).block(base, 0, 0).block(base, 2, 5000));
    commit(&store, |base| {
        let every_other = (0..512).step_by(2);
        let edit = every_other.fold(Edit::of(base, "a"), |edit, page| edit.page(base, 0, page, 1000 + u64::from(page)));
        edit.block(base, 1, 2000).page(base, 2, 7, 1)
    });
    let base = now(&store);
    place_of(&*base, "a", 0);
    place_of(&*base, "a", 1);
    assert_eq!(pieces(&*base, "a", 2).len(), 3);
    for page in 0..512_u32 {
        let tag = u64::from(page) + if page % 2 == 0 { 1000 } else { 0 };
        assert_page(&*base, "a", 0, page, Some(tag));
        assert_page(&*base, "a", 1, page, Some(2000 + u64::from(page)));
    }
    let report = check(&store);
    assert_eq!((report.stored_pages, report.claimed_pages), (3 * 512, 0));
}

/// Runs as another process, which is killed.
#[test]
fn child_appends() {
    let Some((path, _)) = in_child() else { return };
    append(&support::open(&path), PAGE, 2 * (64 << 10), |_| 3000);
    panic!("nothing but the kill ends the commits");
}

fn after_a_kill_at(point: &str) {
    let db = Db::new();
    let store = db.open();
    commit(&store, |base| Edit::create("a", Descriptor { shape: vec![PAGE], ..array_of(1) }).page(base, 0, 0, 7));
    drop(store);
    kill_at(point, "child_appends", &db, "");

    // Every commit before the killed one is there, whole, and nothing of the killed one.
    let store = db.open();
    check(&store);
    let base = now(&store);
    let bytes = base.array("a").unwrap().unwrap().nbytes();
    let commits = (bytes - PAGE) / 3000;
    assert_eq!(bytes, PAGE + 3000 * commits);
    let mut tags = vec![Some(7)];
    let mut tag = 0;
    for i in 0..commits {
        for page in (PAGE + i * 3000) / PAGE..(PAGE + (i + 1) * 3000).div_ceil(PAGE) {
            tag += 1;
            tags.resize(tags.len().max(page + 1), None);
            tags[page] = Some(tag);
        }
    }
    for (page, tag) in tags.into_iter().enumerate() {
        assert_page(&*base, "a", page as u64 / 16, page as u32 % 16, tag);
    }
    // The next commit goes on from there.
    append(&store, bytes, bytes + 20_000, |_| 3000);
    check(&store);
}

#[test]
fn killed_after_pages_were_prezeroed_for_later_commits() {
    after_a_kill_at("next pages prezeroed");
}

#[test]
fn killed_after_a_block_was_copied() {
    after_a_kill_at("block copied");
}
