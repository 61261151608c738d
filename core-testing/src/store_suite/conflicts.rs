//! What of one transaction rules out another.

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::store::{Bytes, Change, Snapshot};
use bigarray_core::{ArrayId, BlockNo, BlockSize, Error, ErrorKind, PAGE, Result};

use super::super::{Edit, array_of, page_of};
use super::{MakeStore, StoreFixture};

const BLOCK: usize = BlockSize::MIN.bytes();

fn a(base: &dyn Snapshot) -> Edit {
    Edit::of(base, "a")
}

fn a_id(snapshot: &dyn Snapshot) -> ArrayId {
    snapshot.array("a").expect("array").expect("there").id
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
    store.photograph();
    let now = store.now();
    assert_eq!(store.stored_blocks(&*now, a_id(&*now)), [0, 1, 2]);
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
    store.conflict(&*base, &[a(&*base).remove()]);
}

/// Deleting a block conflicts with a commit that filled it meanwhile.
pub fn dropping_a_block_filled_meanwhile_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 3, 0, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 2)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).remove()]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 3).page(&*base, 3, 5, 2)]);
}

/// Deleting a block conflicts with a commit that deleted it meanwhile.
pub fn dropping_a_block_dropped_meanwhile_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).drop_from(&*base, 1)]);
    store.conflict(&*base, &[a(&*base).remove()]);
}

/// What others did to blocks that stay does not matter to a shrink in the same shape.
pub fn dropping_what_was_seen_passes(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.pass(&*base, &[a(&*base).drop_from(&*base, 1).page(&*base, 2, 0, 2)]);
    store.photograph();
    let now = store.now();
    assert_eq!(store.stored_blocks(&*now, a_id(&*now)), [0, 2]);
}

/// Writing to an array or resizing it conflicts with a resize.
pub fn resize_conflicts_with_write_and_resize(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).reshape(&[5 * BLOCK])]);
    store.conflict(&*base, &[a(&*base).reshape(&[6 * BLOCK])]);
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.conflict(&*base, &[a(&*base).remove()]);
    store.conflict(&*base, &[a(&*base).rename("b")]);
}

/// Rows dropped at the front are compared by their blocks; and for others it is a shrink.
pub fn dropping_rows_at_the_front_conflicts_with_a_write_to_them_and_with_every_resize(make: MakeStore<'_>) {
    let store = make();
    if !store.drops_front() {
        return;
    }
    let base = begun(&store);
    let filled = a(&*base).page(&*base, 2, 0, 1).page(&*base, 3, 0, 1);
    store.pass(&*base, &[filled]);
    store.conflict(&*base, &[a(&*base).drop_front(3 * BLOCK)]);
    // A write to a block that stays, to its first rows as well, is none to those that go.
    let rows = 2 * BLOCK + 5;
    store.pass(&*base, &[a(&*base).drop_front(rows)]);
    let now = store.now();
    assert_eq!(store.stored_blocks(&*now, a_id(&*now)), [2, 3]);
    for edit in [
        a(&*base).page(&*base, 1, 0, 2),
        a(&*base).drop_front(rows),
        a(&*base).reshape(&[5 * BLOCK]),
        a(&*base).reshape(&[BLOCK]).drop_from(&*base, 1),
        a(&*base).depend(3..4),
        a(&*base).remove(),
        a(&*base).rename("b"),
    ] {
        store.conflict(&*base, &[edit]);
    }
    // An appender first, then the other way round.
    let base = store.now();
    let len = 2 * BLOCK - 5;
    store.pass(&*base, &[a(&*base).reshape(&[len + 9])]);
    store.conflict(&*base, &[a(&*base).drop_front(9)]);
    let base = store.now();
    store.pass(&*base, &[a(&*base).drop_front(9)]);
    store.conflict(&*base, &[a(&*base).reshape(&[len + 18])]);
    // As long as before, and its rows are others.
    let base = store.now();
    store.pass(&*base, &[a(&*base).drop_front(9).reshape(&[len])]);
    store.conflict(&*base, &[a(&*base).page(&*base, 3, 9, 2)]);
    store.conflict(&*base, &[a(&*base).depend(3..4)]);
}

/// What is gone cannot be changed, whatever took its name.
pub fn removed_and_renamed_arrays_conflict(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).rename("b")]);
    let attr = |base: &dyn Snapshot| a(base).attr("unit", Some("K".into()));
    store.conflict(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.conflict(&*base, &[a(&*base).rename("c")]);
    store.conflict(&*base, &[attr(&*base)]);
    let renamed = store.now();
    store.pass(&*renamed, &[Edit::create("a", array_of(4))]);
    store.conflict(&*base, &[a(&*base).page(&*base, 3, 0, 1)]);
    let both = store.now();
    store.pass(&*both, &[a(&*both).remove(), Edit::of(&*both, "b").remove()]);
    store.conflict(&*both, &[a(&*both).page(&*both, 3, 0, 1)]);
    store.conflict(&*both, &[attr(&*both)]);
    store.conflict(&*both, &[a(&*both).remove()]);
}

/// A name belongs to the first commit that creates it or renames to it.
pub fn the_same_name_created_twice_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[Edit::create("b", array_of(1))]);
    store.conflict(&*base, &[Edit::create("b", array_of(1))]);
    store.conflict(&*base, &[Edit::create("b", array_of(1)), Edit::create("c", array_of(1))]);
    store.conflict(&*base, &[a(&*base).rename("b")]);
}

/// An attribute belongs to the first commit that sets or removes it.
pub fn one_attribute_set_twice_conflicts(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    let set = |base: &dyn Snapshot, value: &str| a(base).attr("unit", Some(value.into()));
    store.pass(&*base, &[set(&*base, "K")]);
    store.conflict(&*base, &[set(&*base, "C")]);
    store.conflict(&*base, &[set(&*base, "C").page(&*base, 2, 0, 1)]);
    let base = store.now();
    store.pass(&*base, &[a(&*base).attr("unit", None)]);
    store.conflict(&*base, &[set(&*base, "C")]);
}

/// With one that was set or removed meanwhile, and with nothing else.
pub fn an_attribute_of_the_database_conflicts_with_itself_alone(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    let set = |name: &str, value: &str| Edit::of_database().attr(name, Some(value.into()));
    store.pass(&*base, &[set("title", "SST")]);
    store.conflict(&*base, &[set("title", "air")]);
    store.conflict(&*base, &[set("title", "air"), a(&*base).page(&*base, 2, 0, 1)]);
    store.pass(&*base, &[set("source", "buoys"), a(&*base).page(&*base, 2, 0, 1)]);
    store.pass(&*base, &[a(&*base).attr("title", Some("SST".into()))]);
    store.pass(&*base, &[a(&*base).page(&*base, 1, 0, 1)]);
    let base = store.now();
    store.pass(&*base, &[Edit::of_database().attr("title", None)]);
    store.conflict(&*base, &[set("title", "air")]);
    // Renames, which a store may do in another way, too.
    let base = store.now();
    store.pass(&*base, &[a(&*base).rename("b"), set("title", "air")]);
    let now = store.now();
    assert!(now.array("a").expect("array").is_none() && now.array("b").expect("array").is_some());
    let attrs = now.attrs(ArrayId::DATABASE).expect("attrs");
    assert_eq!(attrs, [("source".to_owned(), "buoys".into()), ("title".to_owned(), "air".into())]);
}

/// Different attributes, and attributes and blocks, pass by each other.
pub fn attributes_conflict_with_nothing_else(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).attr("unit", Some("K".into()))]);
    store.pass(&*base, &[a(&*base).attr("station", Some(7.into()))]);
    store.pass(&*base, &[a(&*base).page(&*base, 0, 0, 1)]);
    store.pass(&*base, &[a(&*base).attr("height", Some(2.5.into())).page(&*base, 1, 0, 1)]);
    let now = store.now();
    let id = now.array("a").expect("array").expect("there").id;
    let names: Vec<String> = now.attrs(id).expect("attrs").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["height", "station", "unit"]);
}

/// To store what was there is a change as any other, of blocks that are stored and of holes; where versions are numbers.
pub fn storing_what_was_there_conflicts(make: MakeStore<'_>) {
    for block in [0, 3] {
        let store = make();
        let base = begun(&store);
        store.pass(&*base, &[a(&*base).touch(&*base, block)]);
        if store.has_numbers() {
            store.conflict(&*base, &[a(&*base).touch(&*base, block)]);
            store.conflict(&*base, &[a(&*base).page(&*base, block, 1, 2)]);
        }
        store.pass(&*base, &[a(&*base).touch(&*base, 1)]);
        let base = store.now();
        store.pass(&*base, &[a(&*base).page(&*base, block, 1, 2)]);
        store.conflict(&*base, &[a(&*base).touch(&*base, block)]);
    }
}

/// What was changed and is as it was has been changed all the same: a shape in every store, the rest where versions are
/// numbers.
pub fn what_was_changed_back_conflicts(make: MakeStore<'_>) {
    type Step = fn(&dyn Snapshot) -> Edit;
    type Attempt = fn(&dyn Snapshot) -> Edit;
    let write: Attempt = |base| a(base).page(base, 3, 0, 9);
    let cases: &[(&str, [Step; 2], &[Attempt])] = &[
        ("a hole", [|base| a(base).page(base, 3, 0, 1), |base| a(base).zero(base, 3, 0)], &[write]),
        (
            "a shape",
            [|base| a(base).reshape(&[5 * BLOCK]), |base| shrunk(base, 4)],
            &[write, |base| a(base).reshape(&[6 * BLOCK])],
        ),
        (
            "an end",
            [|base| shrunk(base, 2), |base| a(base).reshape(&[4 * BLOCK])],
            &[write, |base| a(base).reshape(&[6 * BLOCK])],
        ),
        ("an end within one commit", [|base| a(base).drop_from(base, 2), |base| a(base).touch(base, 0)], &[write]),
        ("a view of it", [|base| a(base).reshape(&[4, BLOCK]), |base| a(base).reshape(&[4 * BLOCK])], &[write]),
        (
            "a name",
            [|base| a(base).rename("b"), |base| Edit::of(base, "b").rename("a")],
            &[write, |base| a(base).attr("unit", Some(1.into())), |base| a(base).depend(0..1)],
        ),
        (
            "an attribute",
            [|base| a(base).attr("unit", Some(1.into())), |base| a(base).attr("unit", None)],
            &[|base| a(base).attr("unit", Some(1.into()))],
        ),
        (
            "an attribute's value",
            [|base| a(base).attr("kept", Some(1.into())), |base| a(base).attr("kept", Some(0.into()))],
            &[|base| a(base).attr("kept", Some(1.into()))],
        ),
    ];
    let shapes = ["a shape", "an end", "an end within one commit", "a view of it"];
    for (what, steps, attempts) in cases {
        let store = make();
        if !store.has_numbers() && !shapes.contains(what) {
            continue;
        }
        let base = begun(&store);
        store.pass(&*base, &[a(&*base).attr("kept", Some(0.into()))]);
        let base = store.now();
        for step in steps {
            let now = store.now();
            store.pass(&*now, &[step(&*now)]);
        }
        for (n, attempt) in attempts.iter().chain(TAKES_ALL).enumerate() {
            let outcome = Edit::commit(&*store, &*base, &[attempt(&*base)]);
            let error = outcome.map(|_| panic!("{what}: attempt {n} passed")).unwrap_err();
            assert!(error.is_conflict(), "{what}: {error}");
        }
    }
}

/// Rules out, and is ruled out by, everything.
const TAKES_ALL: &[fn(&dyn Snapshot) -> Edit] = &[|base| a(base).remove(), |base| a(base).rename("c")];

/// Stores to a block what is there, which is a change where versions are numbers.
fn stored_again(make: MakeStore<'_>) -> &'static [fn(&dyn Snapshot) -> Edit] {
    if make().has_numbers() { &[|base| a(base).touch(base, 1)] } else { &[] }
}

/// Shrunk to so many blocks.
fn shrunk(base: &dyn Snapshot, blocks: usize) -> Edit {
    a(base).reshape(&[blocks * BLOCK]).drop_from(base, blocks as u64)
}

/// Removing or renaming an array counts as having read all of it.
pub fn removing_and_renaming_conflict_with_every_change(make: MakeStore<'_>) {
    let changes: &[fn(&dyn Snapshot) -> Edit] = &[
        |base| a(base).page(base, 0, 0, 1),
        |base| a(base).page(base, 3, 0, 1),
        |base| a(base).attr("unit", Some("K".into())),
        |base| a(base).reshape(&[5 * BLOCK]),
        |base| a(base).reshape(&[4, BLOCK]),
        |base| a(base).drop_from(base, 3),
    ];
    for (n, change) in changes.iter().chain(stored_again(make)).enumerate() {
        let store = make();
        let base = begun(&store);
        store.pass(&*base, &[change(&*base)]);
        for attempt in TAKES_ALL {
            let edits = [attempt(&*base), Edit::create(if n % 2 == 0 { "d" } else { "a" }, array_of(1))];
            store.conflict(&*base, &edits[..1]);
            store.conflict(&*base, &edits);
        }
        let now = store.now();
        store.pass(&*now, &[a(&*now).rename("c")]);
    }
}

/// What a transaction depends on must stay as it was; what grows behind it and attributes do not matter.
pub fn a_change_of_what_is_depended_on_conflicts(make: MakeStore<'_>) {
    let rules_out: &[fn(&dyn Snapshot) -> Edit] = &[
        |base| a(base).page(base, 1, 0, 1),
        |base| a(base).page(base, 2, 0, 1),
        |base| shrunk(base, 2),
        |base| a(base).drop_from(base, 3),
        |base| a(base).reshape(&[4, BLOCK]),
        |base| a(base).rename("b"),
        |base| a(base).remove(),
    ];
    let leaves: &[fn(&dyn Snapshot) -> Edit] = &[
        |base| a(base).page(base, 0, 0, 1).page(base, 3, 0, 1),
        |base| a(base).attr("unit", Some("K".into())),
        |base| a(base).reshape(&[6 * BLOCK]).page(base, 5, 0, 1),
    ];
    let depend = |base: &dyn Snapshot| a(base).depend(1..3);
    let other = |base: &dyn Snapshot, tag| Edit::of(base, "other").page(base, 0, 0, tag);
    for change in rules_out.iter().chain(stored_again(make)) {
        let store = make();
        store.pass(&*store.now(), &[Edit::create("other", array_of(1))]);
        let base = begun(&store);
        store.pass(&*base, &[change(&*base)]);
        store.conflict(&*base, &[depend(&*base), other(&*base, 1)]);
        store.conflict(&*base, &[other(&*base, 1), depend(&*base)]);
        store.conflict(&*base, &[depend(&*base)]);
    }
    let store = make();
    store.pass(&*store.now(), &[Edit::create("other", array_of(1))]);
    let base = begun(&store);
    for change in leaves {
        let now = store.now();
        store.pass(&*now, &[change(&*now)]);
    }
    let before = store.photograph();
    store.pass(&*base, &[depend(&*base), other(&*base, 1)]);
    let after = store.photograph();
    assert_eq!(before.blocks.len() + 1, after.blocks.len(), "what is depended on is not stored");
    assert!(before.blocks.iter().all(|(key, shown)| after.blocks.get(key) == Some(shown)));
}

/// A commit that only sets an attribute does not bring the old shape back.
pub fn an_attribute_leaves_the_resize_of_another_alone(make: MakeStore<'_>) {
    let store = make();
    let base = begun(&store);
    store.pass(&*base, &[a(&*base).reshape(&[40 * BLOCK]).block(&*base, 4, 7).block(&*base, 39, 8)]);
    store.pass(&*base, &[a(&*base).attr("unit", Some("K".into()))]);
    let now = store.now();
    let array = now.array("a").expect("array").expect("there");
    assert_eq!(array.shape, [40 * BLOCK]);
    for (block, tag) in [(4, 7), (39, 8)] {
        let mut page = vec![0; PAGE];
        now.read(array.id, BlockNo(block), 0, &mut page).expect("reading");
        assert!(page == page_of(tag), "what was appended to block {block} is gone");
    }
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
    let before = store.photograph_of(&*base);
    let good = a(&*base).block(&*base, 0, 7);
    let bad = Edit::create("b", array_of(1)).page(&*base, 0, 0, 1);
    let outcome = Edit::with_change(&*base, &[good.clone(), bad], |change| {
        let mut arrays: Vec<_> = Vec::new();
        for (n, array) in change.arrays.iter().enumerate() {
            let bytes: &dyn Bytes = if n == 1 { &Unreadable } else { array.bytes };
            arrays.push(bigarray_core::store::ArrayChange {
                before: array.before.clone(),
                after: array.after.clone(),
                dropped_from: array.dropped_from,
                dropped: array.dropped.clone(),
                blocks: array.blocks.clone(),
                attrs: array.attrs.clone(),
                depends: Vec::new(),
                bytes,
            });
        }
        store.commit(&Change { base: change.base, arrays, attrs: Vec::new(), spill_area: None }, None)
    });
    assert!(outcome.expect_err("no bytes").is_corrupt());
    before.assert_same(&store.photograph(), "a failed commit");
    store.pass(&*base, &[good]);
}
