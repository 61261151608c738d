//! How many requests the steps of a program take: over a network each of them is a wait.

use bigarray_core::BlockSize;
use bigarray_core::store::Store;
use bigarray_store_icechunk::{IcechunkStore, Options};
use bigarray_testing::{Edit, array_of};

use crate::{assert_page, id_of, now, open, options, url};

/// All that a handle asked its server for.
fn requests(store: &IcechunkStore) -> u64 {
    let counted = store.requests();
    counted.gets + counted.puts + counted.others
}

#[test]
fn a_new_handle_reads_its_first_page_in_few_requests() {
    let url = url();
    let store = open(&url);
    Edit::commit(&*store, &*now(&*store), &[Edit::create("a", array_of(64))]).unwrap();
    let base = now(&*store);
    Edit::commit(&*store, &*base, &[Edit::of(&*base, "a").block(&*base, 40, 4000)]).unwrap();
    let reader = open(&url);
    let opened = requests(&reader);
    let snapshot = now(&*reader);
    let asked = requests(&reader);
    assert_page(&*snapshot, 40, 0, Some(4000));
    let counted = (opened, asked - opened, requests(&reader) - asked);
    assert!(counted.0 <= 3 && counted.1 <= 2 && counted.2 <= 2, "opening, snapshot, page: {counted:?}");
}

#[test]
fn what_is_known_is_told_without_a_request() {
    let store = open(&url());
    let base = now(&*store);
    let landed = Edit::commit(&*store, &*base, &[Edit::create("a", array_of(1))]).unwrap();
    let before = requests(&store);
    assert_eq!(store.known().unwrap().version(), landed.version);
    assert_eq!(requests(&store), before);
}

#[test]
fn a_reader_in_order_fetches_each_chunk_once_also_past_what_the_cache_holds() {
    const BLOCKS: u64 = 512;
    let url = url();
    let store = open(&url);
    let array = array_of(BLOCKS as usize);
    let (nbytes, base) = (array.nbytes(), now(&*store));
    let edit = (0..BLOCKS).fold(Edit::create("a", array), |edit, block| edit.block(&*base, block, 100 * (block + 1)));
    Edit::commit(&*store, &*base, &[edit]).unwrap();
    let cache_bytes = nbytes as u64 / 4;
    let reader = IcechunkStore::open(&url, &Options { cache_bytes, ..options() }).unwrap();
    let snapshot = now(&*reader);
    let before = reader.requests().bytes_got;
    snapshot.will_need(id_of(&*snapshot, "a"), 0..BLOCKS, false);
    for block in 0..BLOCKS {
        assert_page(&*snapshot, block, 3, Some(100 * (block + 1) + 3));
    }
    let got = reader.requests().bytes_got - before;
    // Some chunks may be dropped before they are read, as the threads happen to run. Were each dropped, twice the bytes
    // would be got.
    assert!(got < nbytes as u64 * 7 / 4, "{got} bytes were got for {nbytes}");
}

#[test]
fn a_commit_of_a_block_takes_few_requests_also_in_an_array_of_many_blocks() {
    let store = open(&url());
    for (name, blocks) in [("small", 4), ("large", 1 << 20)] {
        let mut array = array_of(1);
        array.shape = vec![blocks * BlockSize::MIN.bytes()];
        Edit::commit(&*store, &*now(&*store), &[Edit::create(name, array)]).unwrap();
        for block in 0..3 {
            let base = now(&*store);
            let before = requests(&store);
            Edit::commit(&*store, &*base, &[Edit::of(&*base, name).block(&*base, block, 7)]).unwrap();
            let counted = requests(&store) - before;
            assert!(counted <= 11, "{counted} requests for a commit of one block of {name:?}");
        }
    }
}
