//! Full volumes: after one commit of a removal, the next commit has the room.

mod outside;
mod support;

use std::path::Path;

use bigarray_core::Result;
use bigarray_core::store::{Snapshot, Store as _};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of};

use outside::Mount;
use support::{Written, assert_page, check, commit, commit_with_spilled, large_array_of, now, open};

/// More blocks than any of the volumes holds.
const BLOCKS: u64 = 4096;

fn remove(store: &LmdbStore, name: &str) {
    commit(store, |base| Edit::of(base, name).remove());
}

/// Creates an array of `blocks` blocks of 2 MiB in one commit.
fn create_large(store: &LmdbStore, name: &str, blocks: u64) -> Result<()> {
    let base = now(store);
    let edit = Edit::create(name, large_array_of(BLOCKS as usize));
    let edit = (0..blocks).fold(edit, |edit, block| edit.block(&*base, block, 1000 * block));
    Edit::commit(store, &*base, &[edit]).map(drop)
}

/// The same, from spilled pages.
fn create_spilled(store: &LmdbStore, name: &str, blocks: u64) -> Result<()> {
    commit(store, |_| Edit::create(name, large_array_of(BLOCKS as usize)));
    let base = now(store);
    let array = base.array(name)?.expect("the array");
    let area = store.spill_area()?;
    let bytes =
        |block: u64| (0..512).flat_map(|page| bigarray_testing::page_of(1000 * block + page)).collect::<Vec<u8>>();
    let written: Result<Vec<Written>> =
        (0..blocks).map(|block| Ok((block, area.write(&array, 0, &bytes(block))?))).collect();
    commit_with_spilled(store, &*base, Edit::of(&*base, name), name, &*area, &written?).map(drop)
}

/// Writes an array, a block a commit, until the volume is full. Returns the number of blocks.
fn fill(store: &LmdbStore, name: &str) -> u64 {
    commit(store, |_| Edit::create(name, large_array_of(BLOCKS as usize)));
    for block in 0..BLOCKS {
        let base = now(store);
        let edit = Edit::of(&*base, name).block(&*base, block, block);
        match Edit::commit(store, &*base, &[edit]) {
            Ok(_) => {}
            Err(e) if e.is_store_full() => return block,
            Err(e) => panic!("{e:?}"),
        }
    }
    panic!("a volume that is never full");
}

fn is_whole(snapshot: &dyn Snapshot, name: &str, blocks: u64) {
    for block in 0..blocks {
        for page in [0, 511] {
            assert_page(snapshot, name, block, page, Some(1000 * block + u64::from(page)));
        }
    }
}

/// Checks that a removed array can be written again at once, in every way, and repeatedly.
fn one_removal_is_enough(at: &Path) {
    let store = open(&at.join("a.bigarray"));
    commit(&store, |base| Edit::create("kept", array_of(1)).page(base, 0, 0, 7));
    let blocks = fill(&store, "a");
    let most = blocks * 3 / 4;
    assert!(most > 4, "{blocks} blocks");
    remove(&store, "a");
    create_large(&store, "b", most).expect("the room of what was removed");
    is_whole(&*now(&store), "b", most);
    let more = fill(&store, "a");
    println!("{blocks} blocks, then {most} and {more} more");
    remove(&store, "b");
    create_spilled(&store, "c", most - 2).expect("the room of what was removed, for spilled pages");
    is_whole(&*now(&store), "c", most - 2);
    assert_page(&*now(&store), "kept", 0, 0, Some(7));
    check(&store);
}

#[test]
fn on_a_full_tmpfs_one_removal_makes_room_for_the_next_commit() {
    let Some(mount) = Mount::tmpfs(32 << 20) else { return };
    one_removal_is_enough(&mount.at);
}

#[test]
fn on_a_full_ext4_one_removal_makes_room_for_the_next_commit() {
    let Some(mount) = Mount::image("ext4", 48 << 20) else { return };
    one_removal_is_enough(&mount.at);
}

#[test]
fn on_a_full_btrfs_one_removal_makes_room_for_the_next_commit() {
    let Some(mount) = Mount::image("btrfs", 160 << 20) else { return };
    one_removal_is_enough(&mount.at);
}

/// Small commits, which are written inside the write transaction, on a full volume.
#[test]
fn one_removal_makes_room_for_the_next_small_commit() {
    let Some(mount) = Mount::tmpfs(16 << 20) else { return };
    let store = open(&mount.at.join("a.bigarray"));
    let small = |name: &str| {
        let base = now(&store);
        let edit = (0..4).fold(Edit::create(name, array_of(4)), |edit, block| edit.block(&*base, block, block));
        Edit::commit(&*store, &*base, &[edit]).map(drop)
    };
    let full = (0..4096).find(|n| small(&format!("a{n}")).is_err_and(|e| e.is_store_full())).expect("a full volume");
    assert!(full > 12, "{full} arrays");
    for n in 0..4 {
        let base = now(&store);
        let names = [0, 1, 2].map(|i| format!("a{}", 3 * n + i));
        Edit::commit(&*store, &*base, &names.map(|name| Edit::of(&*base, &name).remove())).unwrap();
        drop(base);
        // The index grows too.
        small(&format!("b{n}")).expect("the room of what was removed");
        small(&format!("c{n}")).expect("the room of what was removed");
    }
    check(&store);
}

#[test]
fn pages_that_a_snapshot_sees_make_no_room_until_it_is_dropped() {
    let Some(mount) = Mount::tmpfs(32 << 20) else { return };
    let store = open(&mount.at.join("a.bigarray"));
    commit(&store, |_| Edit::create("kept", large_array_of(8)));
    let blocks = fill(&store, "a");
    let old = now(&store);
    remove(&store, "a");
    let error = create_large(&store, "b", blocks * 3 / 4).expect_err("what a snapshot sees is kept");
    assert!(error.is_store_full(), "{error:?}");
    for block in 0..blocks {
        assert_page(&*old, "a", block, 511, Some(block + 511));
    }
    drop(old);
    create_large(&store, "b", blocks * 3 / 4).expect("the room of what no snapshot sees any more");
    is_whole(&*now(&store), "b", blocks * 3 / 4);
    check(&store);
}
