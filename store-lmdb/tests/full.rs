//! A full disk. One test, since the limit that simulates it is the process's.

mod support;

use bigarray_core::store::Store as _;
use bigarray_core::{Error, Result};
use bigarray_store_lmdb::LmdbStore;
use bigarray_testing::{Edit, array_of, page_of};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use support::{
    Db, Written, assert_page, check, commit, commit_spilled, commit_with_spilled, large_array_of, now, spill,
};

/// The first chunk of the data file, which has the header, and six more.
const LIMIT_BYTES: u64 = 14 << 20;

/// Writes a whole block of `name`, or one page of it.
fn write(store: &LmdbStore, name: &str, block: u64, all: bool) -> Result<()> {
    let base = now(store);
    let edit = Edit::of(&*base, name);
    let edit = if all { edit.block(&*base, block, 1000 * block) } else { edit.page(&*base, block, 0, block) };
    Edit::commit(store, &*base, &[edit]).map(drop)
}

/// Writes blocks until the disk is full; returns their number, and the error.
fn fill(store: &LmdbStore, name: &str, all: bool) -> (u64, Error) {
    (0..4096).find_map(|block| Some((block, write(store, name, block, all).err()?))).expect("a limit")
}

#[test]
fn a_full_disk_refuses_the_commit_and_the_database_goes_on() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |_| Edit::create("large", large_array_of(4096)));
    commit(&store, |_| Edit::create("small", array_of(4096)));
    // A write beyond the limit fails, if the signal that comes with it is ignored.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, LIMIT_BYTES, hard).unwrap();

    spilling_fails_and_goes_on();
    a_commit_has_what_its_own_transaction_claimed();
    // Spilled: claims are released.
    let (large, error) = fill(&store, "large", true);
    assert!(error.is_store_full(), "{error}");
    assert_eq!(large, 6);
    let full = check(&store);
    assert_eq!((full.claimed_pages, full.stored_pages), (0, 6 * 512));
    // Written inside the transaction: only the first chunk is left, without its header.
    let (small, error) = fill(&store, "small", false);
    assert!(error.is_store_full(), "{error}");
    assert_eq!((small, check(&store).stored_pages), (511, 6 * 512 + 511));

    // A commit that needs no space succeeds, and the pages that it frees can be used.
    commit(&store, |base| Edit::of(base, "large").drop_from(base, 5));
    write(&store, "large", 7, true).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    write(&store, "large", 8, true).unwrap();
    write(&store, "small", 9, false).unwrap();
    let base = now(&store);
    for block in [0, 1, 2, 3, 4, 7, 8] {
        assert_page(&*base, "large", block, 511, Some(1000 * block + 511));
    }
    assert_page(&*base, "large", 5, 0, None);
    assert_page(&*base, "small", 9, 0, Some(9));
}

/// A transaction that fills the disk keeps its spilled pages, can write to pages that it gave back, and commits.
fn spilling_fails_and_goes_on() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |_| Edit::create("a", large_array_of(100)));
    let base = now(&store);
    let array = base.array("a").unwrap().unwrap();
    let area = store.spill_area().unwrap();
    let block: Vec<u8> = (0..512).flat_map(page_of).collect();
    let mut written: Vec<Written> = Vec::new();
    let error = loop {
        match area.write(&array, 0, &block) {
            Ok(runs) => written.push((written.len() as u64, runs)),
            Err(e) => break e,
        }
    };
    assert!(error.is_store_full(), "{error}");
    assert_eq!((written.len(), check(&store).claimed_pages), (6, 6 * 512));
    // The chunk of the header has room for a few pages, and for no block.
    written.push((9, area.write(&array, 9, &page_of(77)).unwrap()));
    assert!(area.write(&array, 0, &block).unwrap_err().is_store_full());
    commit(&store, |base| Edit::of(base, "a").attr("unit", Some("K".into())));

    drop(written.remove(5));
    written.push((7, spill(&*area, &array, 9, 1, 7)));
    written.push((8, spill(&*area, &array, 0, 511, 8000)));
    assert!(area.write(&array, 0, &block).unwrap_err().is_store_full());
    let base = now(&store);
    commit_spilled(&store, &*base, &*area, &written).unwrap();
    drop((area, written));
    let base = now(&store);
    for block in 0..5 {
        assert_page(&*base, "a", block, 511, Some(511));
    }
    assert_page(&*base, "a", 5, 0, None);
    assert_page(&*base, "a", 7, 9, Some(7));
    assert_page(&*base, "a", 8, 510, Some(8510));
    assert_page(&*base, "a", 9, 9, Some(77));
    let report = check(&store);
    assert_eq!((report.claimed_pages, report.stored_pages), (0, 6 * 512 + 1));
}

/// Where nothing else is free, changed pages of many blocks are written to what was claimed for more to be spilled.
fn a_commit_has_what_its_own_transaction_claimed() {
    let db = Db::new();
    let store = db.open();
    commit(&store, |_| Edit::create("a", large_array_of(1000)));
    commit(&store, |_| Edit::create("other", large_array_of(4096)));
    let base = now(&store);
    let array = base.array("a").unwrap().unwrap();
    let area = store.spill_area().unwrap();
    // The second block claims two, of which one stays.
    let written: Vec<Written> = (0..2).map(|block| (block, spill(&*area, &array, 0, 512, 1000 * block))).collect();
    assert_eq!(check(&store).claimed_pages, 3 * 512);
    assert!(fill(&store, "other", true).1.is_store_full());
    // The chunk of the header, by one commit: the index would be full of many, since the snapshot keeps its old pages.
    commit(&store, |base| (1000..1511).fold(Edit::of(base, "other"), |edit, block| edit.page(base, block, 0, block)));
    let edit = (100..613).fold(Edit::of(&*base, "a"), |edit, block| edit.page(&*base, block, 5, block));
    // One page more than there are.
    let error = commit_with_spilled(&store, &*base, edit, "a", &*area, &written[..1]).map(drop);
    assert!(error.as_ref().is_err_and(Error::is_store_full), "{error:?}");
    assert_page(&*now(&store), "a", 0, 0, None);
    let edit = (100..612).fold(Edit::of(&*base, "a"), |edit, block| edit.page(&*base, block, 5, block));
    let edit = edit.page(&*base, 700, 0, 1);
    drop(written);
    let written = vec![(0, spill(&*area, &array, 0, 511, 7))];
    commit_with_spilled(&store, &*base, edit, "a", &*area, &written).unwrap();
    let base = now(&store);
    for block in 100..612 {
        assert_page(&*base, "a", block, 5, Some(block));
    }
    assert_page(&*base, "a", 0, 510, Some(517));
    assert_eq!(check(&store).claimed_pages, 0);
}
