//! Pages that the kernel merges because they are equal (KSM). A merged page has lost its write protection; stores to it
//! must not be lost.

use bigarray::ndarray::{ArrayViewMut1, Ix1};
use bigarray::{ArrayOptions, Codec, Database, OpenOptions, Pager};
use nix::sys::mman::{MmapAdvise, madvise};

use crate::support::merging::{Merging, merged_pages, until};
use crate::support::{Faults, PAGE, TestDb, faults, runs_if, skip, small_blocks};

const LEN: usize = 16 << 20;

/// A budget in which the array does not fit, and what is merged of it does.
const BUDGET: usize = LEN / 4;
const MERGED: usize = LEN / 16;

/// Ways in which blocks come to be copied and protected.
fn ways() -> [(OpenOptions, ArrayOptions); 2] {
    let compressed = small_blocks().codec(Codec::Lz4 { shuffle: false });
    [(Database::options().pager(Pager::Copy), small_blocks()), (Database::options(), compressed)]
}

/// A stored array of equal pages, in a database opened so, whose spans have seen nothing yet.
fn equal_pages(options: &OpenOptions, array: ArrayOptions) -> TestDb {
    let mut db = TestDb::with(options.clone());
    let txn = db.begin().unwrap();
    txn.create_with::<u8, _>("A", LEN, &array).unwrap().view_mut().fill(7);
    txn.commit().unwrap();
    db.reopen_with(options);
    db
}

/// Has the first `len` bytes, which are read, merged with each other.
fn merge(view: &mut ArrayViewMut1<'_, u8>, len: usize) {
    until("what another test had is gone", || merged_pages() == 0);
    assert!(view.iter().take(len).all(|byte| *byte == 7));
    let at = std::ptr::NonNull::new(view.as_mut_ptr().cast()).unwrap();
    // SAFETY: this advice changes no byte.
    unsafe { madvise(at, len, MmapAdvise::MADV_MERGEABLE) }.unwrap();
    // Some stay what the others are merged with.
    until("pages are merged", || merged_pages() + 16 >= len / PAGE);
}

fn store(view: &mut ArrayViewMut1<'_, u8>, len: usize) {
    view.iter_mut().take(len).step_by(3 * PAGE).for_each(|byte| *byte = 9);
}

#[track_caller]
fn assert_stored(bytes: impl IntoIterator<Item = u8>, len: usize) {
    let expected = |n: usize| if n < len && n.is_multiple_of(3 * PAGE) { 9 } else { 7 };
    let wrong: Vec<_> = bytes.into_iter().enumerate().filter(|(n, byte)| *byte != expected(*n)).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Same-page merging, where this process may turn it on and faults are delivered.
fn merging() -> Option<Merging> {
    if !runs_if(faults() != Faults::None, "without faults nothing is protected") {
        return None;
    }
    let merging = Merging::on();
    if merging.is_none() {
        skip("same-page merging cannot be turned on: needs root and KSM");
    }
    merging
}

#[test]
fn stores_to_merged_pages_are_committed() {
    let Some(_merging) = merging() else { return };
    for (options, array) in ways() {
        let mut db = equal_pages(&options, array);
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        let mut view = a.view_mut();
        merge(&mut view, LEN);
        store(&mut view, LEN);
        drop(a);
        txn.commit().unwrap();
        assert_stored(db.array::<u8, Ix1>("A").unwrap().view().iter().copied(), LEN);
        db.reopen();
        assert_stored(db.array::<u8, Ix1>("A").unwrap().view().iter().copied(), LEN);
    }
}

#[test]
fn stores_to_merged_pages_are_gone_after_an_abort() {
    let Some(_merging) = merging() else { return };
    for (options, array) in ways() {
        let db = equal_pages(&options, array);
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        merge(&mut a.view_mut(), LEN);
        store(&mut a.view_mut(), LEN);
        drop(a);
        txn.abort();
        assert_stored(db.array::<u8, Ix1>("A").unwrap().view().iter().copied(), 0);
        let txn = db.begin().unwrap();
        assert_stored(txn.array::<u8, Ix1>("A").unwrap().view_mut().iter().copied(), 0);
    }
}

#[test]
fn stores_to_merged_pages_are_kept_when_their_block_is_spilled() {
    let Some(_merging) = merging() else { return };
    for (options, array) in ways() {
        let options = options.memory_budget(BUDGET);
        let mut db = equal_pages(&options, array);
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        let mut view = a.view_mut();
        for round in 0..2 {
            if round == 0 {
                merge(&mut view, MERGED);
                store(&mut view, MERGED);
            }
            // What was merged gives way to the rest.
            assert_stored(view.iter().copied(), MERGED);
        }
        drop(a);
        txn.commit().unwrap();
        db.reopen();
        assert_stored(db.array::<u8, Ix1>("A").unwrap().view().iter().copied(), MERGED);
    }
}

#[test]
fn stores_before_a_merge_are_kept_when_their_block_is_spilled() {
    let Some(_merging) = merging() else { return };
    for (options, array) in ways() {
        let options = options.memory_budget(BUDGET);
        let mut db = equal_pages(&options, array);
        let txn = db.begin().unwrap();
        let mut a = txn.array::<u8, Ix1>("A").unwrap();
        let mut view = a.view_mut();
        // Written to, so that it is not protected; what was stored is equal to what was there.
        view.iter_mut().take(MERGED).step_by(PAGE).for_each(|byte| *byte = std::hint::black_box(7));
        merge(&mut view, MERGED);
        std::thread::scope(|scope| {
            let (to, rest) = view.view_mut().split_at(bigarray::ndarray::Axis(0), MERGED);
            // While they give way.
            let mut to = to;
            scope.spawn(move || store(&mut to, MERGED));
            assert!(rest.iter().all(|byte| *byte == 7));
        });
        assert_stored(view.iter().copied(), MERGED);
        drop(a);
        txn.commit().unwrap();
        db.reopen();
        assert_stored(db.array::<u8, Ix1>("A").unwrap().view().iter().copied(), MERGED);
    }
}
