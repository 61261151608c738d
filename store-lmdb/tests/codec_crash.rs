//! A process is killed while it commits compressed blocks: it leaves the old state or the new one, whole, and the space is
//! reclaimed.

mod support;

use bigarray_core::store::{Origin, Snapshot, Store as _};
use bigarray_core::{BlockNo, BlockSize, Codec, Descriptor, PAGE};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of, smooth_page_of};

use support::crash::{in_child, kill_at, killed};
use support::{Db, check, commit, id_of, now};

/// A codec that is compiled in.
fn codec(store: &LmdbStore) -> Option<Codec> {
    let codecs = [Codec::Lz4 { shuffle: true }, Codec::Zstd { level: 1, shuffle: true }];
    codecs.into_iter().find(|codec| store.check_codec(*codec).is_ok())
}

/// Blocks of the array that a commit replaces: 1 of 64 KiB, or 48, which is more than is written under the commit lock.
fn blocks(payload: &str) -> u64 {
    if payload == "large" { 48 } else { 1 }
}

/// Every page of some blocks, and one of the last block, of which it is the 32nd piece or so.
fn change(base: &dyn Snapshot, payload: &str) -> Edit {
    let edit = (0..blocks(payload)).fold(Edit::of(base, "a"), |edit, block| edit.smooth_block(base, block, 5000));
    edit.smooth_page(base, 48, 16 - 1, 7000)
}

#[track_caller]
fn assert_state(base: &dyn Snapshot, payload: &str, is_new: bool) {
    let id = id_of(base, "a");
    for block in 0..49 {
        let mut bytes = vec![0; 16 * PAGE];
        base.read(id, BlockNo(block), 0, &mut bytes).unwrap();
        for (page, bytes) in (0..).zip(bytes.chunks(PAGE)) {
            let tag = match (block, page) {
                (48, 15) => {
                    if is_new {
                        Some(7000)
                    } else {
                        None
                    }
                }
                (48, page) => Some(9000 + page),
                (block, page) if is_new && block < blocks(payload) => Some(5000 + page),
                (block, page) => Some(block * 100 + page),
            };
            let expected = tag.map_or_else(|| vec![0; PAGE], smooth_page_of);
            assert!(bytes == expected, "page {page} of block {block} is not {tag:?}");
        }
        // Blocks are compressed when they are written, and the last one once it is full.
        let record = base.block(id, BlockNo(block)).unwrap().unwrap();
        assert!(block == 48 && !is_new || record.segments[0].origin == Origin::Produced, "{block}: {record:?}");
    }
}

/// Runs as another process, which is killed.
#[test]
fn child_commits() {
    let Some((path, payload)) = in_child() else { return };
    let store = support::open(&path);
    let base = now(&store);
    Edit::commit(&*store, &*base, &[change(&*base, &payload)]).expect("nothing but the kill ends the commit");
}

fn after_a_kill_at(point: &str, payload: &str, committed: bool) {
    let db = Db::new();
    let store = db.open();
    let Some(codec) = codec(&store) else { return };
    let size = BlockSize::MIN;
    let array =
        Descriptor { dtype: "<u8".to_owned(), item_size: 8, shape: vec![49 * size.bytes() / 8], codec, ..array_of(1) };
    commit(&store, |base| {
        (0..48).fold(Edit::create("a", array), |edit, block| edit.smooth_block(base, block, block * 100))
    });
    // The last block page by page, all but its last page.
    for page in 0..15 {
        commit(&store, |base| Edit::of(base, "a").smooth_page(base, 48, page, 9000 + u64::from(page)));
    }
    drop(store);
    kill_at(point, "child_commits", &db, payload);

    let store = db.open();
    check(&store);
    assert_state(&*now(&store), payload, committed);
    if !committed {
        commit(&store, |base| change(base, payload));
        assert_state(&*now(&store), payload, true);
    }
    assert_eq!(check(&store).claimed_pages, 0, "{point}");
}

killed! {
    killed_after_a_small_payload: "small payload written", "small", committed: false;
    killed_after_a_block_was_compressed_as_it_became_full: "block copied", "small", committed: false;
    killed_after_the_records_of_a_small_payload: "records written", "small", committed: false;
    killed_after_the_commit_of_a_small_payload: "committed", "small", committed: true;
    killed_after_a_claim: "claimed", "large", committed: false;
    killed_after_a_large_payload: "payload written", "large", committed: false;
    killed_after_a_block_was_compressed_in_the_commit_of_a_large_payload: "block copied", "large", committed: false;
    killed_right_before_the_commit_of_a_large_payload: "data synced", "large", committed: false;
    killed_after_the_commit_of_a_large_payload: "committed", "large", committed: true;
}
