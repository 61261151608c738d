//! Names, descriptors, attributes and numbers of states.

use std::sync::Arc;

use bigarray_core::store::Snapshot;
use bigarray_core::{ArrayId, BlockNo, BlockSize, Codec, Descriptor, FillValue, Order, Version};

use super::super::{Edit, array_of};
use super::{MakeStore, photograph};

fn named(snapshot: &dyn Snapshot, name: &str) -> Descriptor {
    snapshot.array(name).expect("array").unwrap_or_else(|| panic!("no array {name:?}"))
}

/// Nothing is found in an empty store, and nothing fails.
pub fn an_empty_store_has_nothing(make: MakeStore<'_>) {
    let store = make();
    let now = store.now();
    assert!(now.arrays().expect("arrays").is_empty());
    assert_eq!(now.array("a").expect("array"), None);
    assert_eq!(now.attr(ArrayId(1), "unit").expect("attr"), None);
    assert!(now.attrs(ArrayId(1)).expect("attrs").is_empty());
    assert_eq!(now.block(ArrayId(1), BlockNo(0)).expect("block"), None);
    assert!(photograph::records(&*now, ArrayId(1)).is_empty());
}

/// What an array is comes back, and arrays come in order of names.
pub fn created_arrays_are_listed_by_name(make: MakeStore<'_>) {
    let store = make();
    let base = store.now();
    let table = Descriptor {
        id: ArrayId(0),
        dtype: "[('time', '<i8'), ('price', '<f8')]".to_owned(),
        item_size: 16,
        shape: vec![3, 4, 5],
        order: Order::ColumnMajor,
        block_size: BlockSize::MAX,
        skip: 0,
        codec: Codec::None,
        fill: FillValue::new(&[7; 16]),
        changed: Version(77),
        reshaped: Version(77),
        named: Version(77),
    };
    store.pass(&*base, &[Edit::create("z/ü", table.clone()), Edit::create("a", array_of(1))]);
    let base = store.now();
    store.pass(&*base, &[Edit::create("m", array_of(2))]);
    let now = store.now();
    let names: Vec<String> = now.arrays().expect("arrays").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "m", "z/ü"]);
    let stored = named(&*now, "z/ü");
    if store.has_numbers() {
        assert!(stored.changed <= now.version(), "the store sets it");
        assert_eq!((stored.reshaped, stored.named), (stored.changed, stored.changed), "all of it is of its creation");
    }
    let then = Version(77);
    assert_eq!(Descriptor { id: ArrayId(0), changed: then, reshaped: then, named: then, ..stored }, table);
}

/// An id means one array for ever, also across a reopening.
pub fn ids_are_never_given_again(make: MakeStore<'_>) {
    let mut store = make();
    let mut given = Vec::new();
    for round in 0..4 {
        let base = store.now();
        let created = store.pass(&*base, &[Edit::create("a", array_of(1)), Edit::create("b", array_of(1))]);
        given.extend(created.ids);
        let base = store.now();
        store.pass(&*base, &[Edit::of(&*base, "b").remove(), Edit::of(&*base, "a").remove()]);
        drop(base);
        if round % 2 == 1 {
            store.reopen();
        }
    }
    given.sort();
    let count = given.len();
    given.dedup();
    assert_eq!(given.len(), count, "an id was given twice: {given:?}");
}

/// A rename moves the name alone, and the id where the store cannot keep it.
pub fn renaming_keeps_everything_else(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(2);
    let edit = Edit::of(&*base, "a").block(&*base, 1, 100).attr("unit", Some("K".into()));
    store.pass(&*base, &[edit]);
    let base = store.now();
    let before = named(&*base, "a");
    let named_at = store.pass(&*base, &[Edit::of(&*base, "a").rename("b")]).version;
    let now = store.now();
    assert_eq!(now.array("a").expect("array"), None);
    let after = named(&*now, "b");
    assert!(!store.has_numbers() || after.named == named_at);
    assert_ne!(after.named, before.named);
    store.assert_kept(before.id, after.id);
    assert_eq!(after, Descriptor { named: after.named, id: after.id, ..before.clone() });
    assert_eq!(now.attr(after.id, "unit").expect("attr"), Some("K".into()));
    assert_eq!(now.block(after.id, BlockNo(1)).expect("block"), base.block(before.id, BlockNo(1)).expect("block"));
    store.photograph_of(&*now);
}

/// Two arrays may take each other's name.
pub fn names_can_be_exchanged_in_one_commit(make: MakeStore<'_>) {
    let store = make();
    let base = store.now();
    store.pass(&*base, &[Edit::create("a", array_of(1)), Edit::create("b", array_of(2))]);
    let base = store.now();
    let written = Edit::of(&*base, "b").rename("a").page(&*base, 1, 0, 9);
    store.pass(&*base, &[Edit::of(&*base, "a").rename("b"), written]);
    let now = store.now();
    store.assert_kept(named(&*base, "b").id, named(&*now, "a").id);
    store.assert_kept(named(&*base, "a").id, named(&*now, "b").id);
    assert_eq!((named(&*now, "a").shape, named(&*now, "b").shape), (array_of(2).shape, array_of(1).shape));
    store.photograph_of(&*now);
    assert_eq!(store.stored_blocks(&*now, named(&*now, "a").id), [1]);
    assert!(store.stored_blocks(&*now, named(&*now, "b").id).is_empty());
}

/// An array takes the name that another one gives up for a third, whichever of them is named first.
pub fn names_move_on_in_one_commit(make: MakeStore<'_>) {
    for is_reversed in [false, true] {
        let store = make();
        let base = store.now();
        store.pass(&*base, &[Edit::create("a", array_of(1)), Edit::create("b", array_of(2))]);
        let base = store.now();
        let mut edits = [Edit::of(&*base, "a").rename("b"), Edit::of(&*base, "b").rename("c")];
        if is_reversed {
            edits.reverse();
        }
        store.pass(&*base, &edits);
        let now = store.now();
        assert_eq!((named(&*now, "b").shape, named(&*now, "c").shape), (array_of(1).shape, array_of(2).shape));
        assert_eq!(now.arrays().expect("arrays").len(), 2);
    }
}

/// A removed array leaves nothing to the one that takes its name in the same commit.
pub fn a_name_can_be_removed_and_created_in_one_commit(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(2);
    let edit = Edit::of(&*base, "a").block(&*base, 0, 100).attr("unit", Some("K".into()));
    store.pass(&*base, &[edit]);
    let base = store.now();
    let new = Edit::create("a", array_of(1)).page(&*base, 0, 3, 7);
    let committed = store.pass(&*base, &[Edit::of(&*base, "a").remove(), new]);
    let now = store.now();
    let (old_id, array) = (named(&*base, "a").id, named(&*now, "a"));
    assert_eq!(committed.ids, [old_id, array.id]);
    assert_ne!(old_id, array.id);
    assert!(now.attrs(array.id).expect("attrs").is_empty());
    assert!(now.attrs(old_id).expect("attrs").is_empty());
    assert!(photograph::records(&*now, old_id).is_empty());
    assert_eq!(photograph::records(&*now, array.id).len(), 1);
    store.photograph_of(&*now);
}

/// A name that is given up by a rename may be taken in the same commit, in whichever order they come.
pub fn a_name_can_be_vacated_and_created_in_one_commit(make: MakeStore<'_>) {
    for created_first in [false, true] {
        let store = make();
        let base = store.with_array(1);
        let mut edits = [Edit::of(&*base, "a").rename("old"), Edit::create("a", array_of(3)).page(&*base, 2, 0, 1)];
        if created_first {
            edits.reverse();
        }
        store.pass(&*base, &edits);
        let now = store.now();
        store.assert_kept(named(&*base, "a").id, named(&*now, "old").id);
        assert_eq!(named(&*now, "old").shape, array_of(1).shape);
        assert_eq!(named(&*now, "a").shape, array_of(3).shape);
    }
}

/// Attributes are values by name, in order of names, and go with their array.
pub fn attributes_are_set_replaced_and_removed(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let id = named(&*base, "a").id;
    let list = serde_json::json!({"of": [1, 2.5, null, "x"]});
    let edit = Edit::of(&*base, "a").attr("unit", Some("K".into())).attr("list", Some(list.clone()));
    store.pass(&*base, &[edit]);
    let base = store.now();
    let both = vec![("list".to_owned(), list), ("unit".to_owned(), "K".into())];
    assert_eq!(base.attrs(id).expect("attrs"), both);
    let edit = Edit::of(&*base, "a").attr("list", None).attr("unit", Some("C".into()));
    store.pass(&*base, &[edit]);
    let base = store.now();
    assert_eq!(base.attrs(id).expect("attrs"), [("unit".to_owned(), "C".into())]);
    assert_eq!(base.attr(id, "list").expect("attr"), None);
    store.pass(&*base, &[Edit::of(&*base, "a").remove()]);
    assert!(store.now().attrs(id).expect("attrs").is_empty());
    assert_eq!(base.attr(id, "unit").expect("attr"), Some("C".into()), "the older state keeps it");
}

/// As those of an array; they outlive all arrays.
pub fn the_database_has_attributes(make: MakeStore<'_>) {
    let mut store = make();
    let all = |snapshot: &dyn Snapshot| snapshot.attrs(ArrayId::DATABASE).expect("attrs");
    let base = store.now();
    assert!(all(&*base).is_empty());
    assert_eq!(base.attr(ArrayId::DATABASE, "title").expect("attr"), None);
    let list = serde_json::json!({"of": [1, 2.5, null, "°C"]});
    let edit = Edit::of_database().attr("title", Some("SST".into())).attr("list", Some(list.clone()));
    let committed = store.pass(&*base, &[edit]);
    let first = store.now();
    assert!(committed.ids.is_empty() && committed.version == first.version() && first.version() > base.version());
    assert!(all(&*base).is_empty(), "the older state is as it was");
    assert_eq!(all(&*first), [("list".to_owned(), list), ("title".to_owned(), "SST".into())]);
    // With an array, whose attributes are others.
    let edit = Edit::create("a", array_of(1)).attr("title", Some("of the array".into()));
    store.pass(&*first, &[edit, Edit::of_database().attr("list", None).attr("nothing", Some(serde_json::Value::Null))]);
    let now = store.now();
    let expected = [("nothing".to_owned(), serde_json::Value::Null), ("title".to_owned(), "SST".into())];
    assert_eq!(all(&*now), expected);
    assert_eq!(now.attr(ArrayId::DATABASE, "list").expect("attr"), None);
    assert_eq!(now.attr(ArrayId::DATABASE, "title").expect("attr"), Some("SST".into()));
    assert_eq!(now.attr(named(&*now, "a").id, "title").expect("attr"), Some("of the array".into()));
    store.pass(&*now, &[Edit::of(&*now, "a").remove()]);
    drop((base, first, now));
    store.reopen();
    assert_eq!(all(&*store.now()), expected);
}

/// It makes no state.
pub fn a_change_of_nothing_is_nothing(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let committed = store.pass(&*base, &[]);
    assert_eq!(committed.version, base.version());
    assert!(committed.ids.is_empty() && committed.replaced.is_empty());
    assert!(Arc::ptr_eq(&base, &store.now()));
}

/// And the state they lead to has the number that the commit said.
pub fn versions_grow_with_each_commit(make: MakeStore<'_>) {
    let store = make();
    let mut last = store.with_array(1).version();
    for n in 0..5 {
        let base = store.now();
        let committed = store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, n, 1)]).version;
        assert!(committed > last);
        assert_eq!(store.now().version(), committed);
        last = committed;
    }
}

/// One entry an array of the change, in its order.
pub fn a_commit_says_ids_and_what_it_replaced(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(1);
    let first = store.pass(&*base, &[Edit::of(&*base, "a").page(&*base, 0, 0, 1)]);
    assert_eq!(first.changed, [named(&*store.now(), "a").changed]);
    let base = store.now();
    let id = named(&*base, "a").id;
    let edits = [Edit::create("b", array_of(1)), Edit::of(&*base, "a").page(&*base, 0, 1, 2)];
    let second = store.pass(&*base, &edits);
    let now = store.now();
    assert_eq!(second.ids, [named(&*now, "b").id, id]);
    assert_eq!(second.replaced, [Version(0), first.changed[0]]);
    assert_eq!(second.changed, [named(&*now, "b").changed, named(&*now, "a").changed]);
    let third = store.pass(&*now, &[Edit::of(&*now, "a").remove()]);
    assert_eq!((third.ids, third.replaced, third.changed), (vec![id], vec![second.changed[1]], vec![Version(0)]));
    if store.has_numbers() {
        assert_eq!((first.changed, second.changed), (vec![first.version], vec![second.version; 2]));
    }
}

/// It may be created, grown and shrunk to nothing again.
pub fn an_array_without_elements_is_an_array(make: MakeStore<'_>) {
    let store = make();
    let base = store.with_array(0);
    assert_eq!(named(&*base, "a").shape, [0]);
    let bytes = BlockSize::MIN.bytes();
    store.pass(&*base, &[Edit::of(&*base, "a").reshape(&[bytes]).page(&*base, 0, 0, 1)]);
    let base = store.now();
    store.pass(&*base, &[Edit::of(&*base, "a").reshape(&[0]).drop_from(&*base, 0)]);
    let now = store.now();
    assert_eq!(named(&*now, "a").shape, [0]);
    assert!(store.photograph_of(&*now).blocks.is_empty());
}
