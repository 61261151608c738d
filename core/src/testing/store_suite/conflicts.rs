//! What of one transaction rules out another.

use std::ops::Range;
use std::sync::Arc;

use super::super::{Edit, array_of};
use super::{MakeStore, StoreFixture, photograph};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockSize;
use crate::store::{Bytes, Change, Snapshot};

const BLOCK: usize = BlockSize::MIN.bytes();

fn a(base: &dyn Snapshot) -> Edit {
    Edit::of(base, "a")
}

/// An array of four blocks, the first two of them stored.
fn begun(store: &StoreFixture) -> Arc<dyn Snapshot> {
    let base = store.with_array(4);
    store.pass(&*base, &[a(&*base).block(&*base, 0, 100).block(&*base, 1, 200)]);
    store.now()
}

/// The second writer of a block conflicts, and nothing of its transaction is stored.
pub fn the_first_to_commit_a_block_wins(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 9, 2)]);
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 9, 2).page(&*base, 1, 0, 3)]);
    store.conflict(&*base, &[a(&*base).zero(&*base, 0, 9), Edit::create("b", array_of(1))]);
    let again = store.now();
    store.pass(&*again, &[a(&*again).page(&*again, 0, 9, 2)]);
}

/// Transactions that wrote to different blocks do not disturb each other.
pub fn different_blocks_both_land(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.pass(&*base, &[a(&*base).page(&*base, 1, 0, 2)]);
    store.pass(&*base, &[a(&*base).page(&*base, 2, 0, 3)]);
    let shown = photograph::of(&*store.now());
    assert_eq!(shown.blocks.len(), 3);
}

/// An absent block has a version too.
pub fn filling_a_hole_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 3, 0, 1)]);
    store.conflict(&*base, &[a(&*base).page(&*base, 3, 1, 2)]);
    let other = store.now();
    let emptied = (0..16).fold(a(&*other), |edit, page| edit.zero(&*other, 0, page));
    store.pass(&*other, &[emptied]);
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 0, 2)]);
}

/// A shrink compares every block it deletes.
pub fn dropping_a_block_that_changed_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 1, 0, 1)]);
    store.conflict(&*base, &[a(&*base).reshape(&[BLOCK]).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 0)]);
    store.conflict(&*base, &[a(&*base).remove(&*base)]);
}

/// A block that somebody filled meanwhile is not deleted unseen.
pub fn dropping_a_block_that_came_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 3, 0, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 2)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).remove(&*base)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 3).page(&*base, 3, 5, 2)]);
}

/// Nor is one that somebody else deleted.
pub fn dropping_a_block_that_went_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).remove(&*base)]);
}

/// What others did to blocks that stay does not matter to a shrink in the same shape.
pub fn dropping_what_was_seen_passes(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.pass(&*base, &[a(&*base).drop_from(&*base, 1).page(&*base, 2, 0, 2)]);
    let shown = photograph::of(&*store.now());
    let blocks: Vec<u64> = shown.blocks.keys().map(|(_, block)| *block).collect();
    assert_eq!(blocks, [0, 2]);
}

/// Whoever wrote to an array or resized it conflicts with a resize.
pub fn resize_conflicts_with_write_and_resize(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).reshape(&[5 * BLOCK])]);
    store.conflict(&*base, &[a(&*base).reshape(&[6 * BLOCK])]);
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.conflict(&*base, &[a(&*base).remove(&*base)]);
    store.conflict(&*base, &[a(&*base).rename("b")]);
}

/// What is gone cannot be changed, whatever took its name.
pub fn removed_and_renamed_arrays_conflict(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).rename("b")]);
    let attr = |base: &dyn Snapshot| a(base).attr(base, "unit", Some("K".into()));
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.conflict(&*base, &[a(&*base).rename("c")]);
    store.conflict(&*base, &[attr(&*base)]);
    let renamed = store.now();
    store.pass(&*renamed, &[Edit::create("a", array_of(4))]);
    store.conflict(&*base, &[a(&*base).page(&*base, 3, 0, 1)]);
    let both = store.now();
    store.pass(&*both, &[a(&*both).remove(&*both), Edit::of(&*both, "b").remove(&*both)]);
    store.conflict(&*both, &[a(&*both).page(&*both, 3, 0, 1)]);
    store.conflict(&*both, &[attr(&*both)]);
    store.conflict(&*both, &[a(&*both).remove(&*both)]);
}

/// A name goes to the first who takes it, by creating or renaming.
pub fn the_same_name_created_twice_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[Edit::create("b", array_of(1))]);
    store.conflict(&*base, &[Edit::create("b", array_of(1))]);
    store.conflict(&*base, &[Edit::create("b", array_of(1)), Edit::create("c", array_of(1))]);
    store.conflict(&*base, &[a(&*base).rename("b")]);
}

/// An attribute goes to the first who sets it, or removes it.
pub fn one_attribute_set_twice_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    let set = |base: &dyn Snapshot, value: &str| a(base).attr(base, "unit", Some(value.into()));
    store.pass(&*base, &[set(&*base, "K")]);
    store.conflict(&*base, &[set(&*base, "C")]);
    store.conflict(&*base, &[set(&*base, "C").page(&*base, 2, 0, 1)]);
    let base = store.now();
    store.pass(&*base, &[a(&*base).attr(&*base, "unit", None)]);
    store.conflict(&*base, &[set(&*base, "C")]);
}

/// Different attributes, and attributes and blocks, pass by each other.
pub fn attributes_conflict_with_nothing_else(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).attr(&*base, "unit", Some("K".into()))]);
    store.pass(&*base, &[a(&*base).attr(&*base, "station", Some(7.into()))]);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.pass(&*base, &[a(&*base).attr(&*base, "height", Some(2.5.into())).page(&*base, 1, 0, 1)]);
    let now = store.now();
    let id = now.array("a").expect("array").expect("there").id;
    let names: Vec<String> = now.attrs(id).expect("attrs").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["height", "station", "unit"]);
}

/// Who only sets an attribute does not bring the old shape back.
pub fn an_attribute_leaves_the_resize_of_another_alone(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).reshape(&[5 * BLOCK])]);
    store.pass(&*base, &[a(&*base).attr(&*base, "unit", Some("K".into()))]);
    let now = store.now();
    let array = now.array("a").expect("array").expect("there");
    assert_eq!(array.shape, [5 * BLOCK]);
    assert_eq!(now.attr(array.id, "unit").expect("attr"), Some("K".into()));
}

/// Bytes that cannot be had fail the commit with their own error; the store goes on.
pub fn an_error_in_the_bytes_leaves_everything_as_it_was(make: MakeStore<'_>) {
    struct Unreadable;
    impl Bytes for Unreadable {
        fn with(&self, _: Range<usize>, _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
            Err(Error::new(ErrorKind::Corrupt, "cannot be had"))
        }
    }
    let store = make();
    let base = begun(&store);
    let before = photograph::of(&*base);
    let good = a(&*base).block(&*base, 0, 7);
    let bad = Edit::create("b", array_of(1)).page(&*base, 0, 0, 1);
    let outcome = Edit::with_change(&*base, &[good.clone(), bad], |change| {
        let mut arrays: Vec<_> = Vec::new();
        for (n, array) in change.arrays.iter().enumerate() {
            let bytes: &dyn Bytes = if n == 1 { &Unreadable } else { array.bytes };
            arrays.push(crate::store::ArrayChange {
                before: array.before.clone(),
                after: array.after.clone(),
                dropped_from: array.dropped_from,
                dropped: array.dropped.clone(),
                blocks: array.blocks.clone(),
                attrs: array.attrs.clone(),
                bytes,
            });
        }
        store.commit(&Change { base: change.base, arrays, ahead: None }, None)
    });
    assert!(outcome.expect_err("no bytes").is_corrupt());
    before.assert_same(&photograph::of(&*store.now()), "a failed commit");
    store.pass(&*base, &[good]);
}
