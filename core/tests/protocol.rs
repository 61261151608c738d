//! The conflict protocol and the memory store against a model of plain maps that knows nothing of segments or pages of
//! a file: of two transactions on one state the second passes exactly if nothing that it saw and changed, or depends on,
//! was changed, whatever it is now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bigarray_core::store::{Snapshot, Store};
use bigarray_core::{ArrayId, BlockNo, BlockSize, PAGE};
use bigarray_testing::{Edit, MemStore, MemStoreOptions, Versions, array_of, page_of};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const NAMES: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 2] = ["unit", "station"];
const BLOCK: usize = BlockSize::MIN.bytes();
const MOST_BLOCKS: usize = 4;

/// What a transaction does to one array.
#[derive(Clone, Debug)]
struct Plan {
    /// Which one, by its name in the state that the transaction sees; it is created if there is none.
    name: usize,
    removes: bool,
    /// The name it gets, if that is free.
    rename: Option<usize>,
    /// Blocks it shrinks to for a while.
    low: Option<usize>,
    /// Blocks it has in the end.
    blocks: Option<usize>,
    /// Block, page, and what is written, zero for none.
    pages: Vec<(usize, u32, Option<u64>)>,
    /// Blocks in which what is there is stored once more.
    touches: Vec<usize>,
    attrs: Attrs,
    /// Blocks that it depends on: the first, and how many.
    depends: Option<(usize, usize)>,
}

/// What a transaction does, each array at most once, and the attributes of the database that it sets.
type Plans = (Vec<Plan>, Attrs);

/// Attributes that are set, or removed.
type Attrs = Vec<(usize, Option<u8>)>;

/// Two transactions on one state, and whether a snapshot of it is kept.
type Round = (Plans, Plans, bool);

fn plan() -> impl Strategy<Value = Plan> {
    let page = (0..MOST_BLOCKS, 0..3_u32, proptest::option::weighted(0.8, 1..1000_u64));
    (
        0..NAMES.len(),
        proptest::bool::weighted(0.1),
        proptest::option::weighted(0.15, 0..NAMES.len()),
        proptest::option::weighted(0.15, 0..MOST_BLOCKS),
        proptest::option::weighted(0.2, 0..=MOST_BLOCKS),
        proptest::collection::vec(page, 0..4),
        proptest::collection::vec(0..MOST_BLOCKS, 0..2),
        proptest::collection::vec(attr(), 0..2),
        proptest::option::weighted(0.3, (0..MOST_BLOCKS, 1..3_usize)),
    )
        .prop_map(|(name, removes, rename, low, blocks, pages, touches, attrs, depends)| Plan {
            name,
            removes,
            rename,
            low,
            blocks,
            pages,
            touches,
            attrs,
            depends,
        })
}

fn attr() -> impl Strategy<Value = (usize, Option<u8>)> {
    (0..KEYS.len(), proptest::option::weighted(0.7, any::<u8>()))
}

fn plans() -> impl Strategy<Value = Plans> {
    let plans = proptest::collection::vec(plan(), 0..3).prop_map(|mut plans| {
        let mut seen = BTreeSet::new();
        plans.retain(|plan| seen.insert(plan.name));
        plans
    });
    (plans, prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(attr(), 1..3)])
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    proptest::collection::vec((plans(), plans(), any::<bool>()), 1..10)
}

/// Version and pages of a block that something was stored to; a page without tag is zero.
type Block = (u64, BTreeMap<u32, u64>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Array {
    /// Told apart by when it was created, and at which place in the transaction.
    born: (u64, usize),
    len: usize,
    blocks: BTreeMap<usize, Block>,
    attrs: ModelAttrs,
    /// When a block was last changed, the array was last shorter than before, and it got its name.
    changed: u64,
    cut: u64,
    named: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    arrays: BTreeMap<&'static str, Array>,
    /// Those of the database.
    attrs: ModelAttrs,
}

/// Attributes, with when each was set or removed.
type ModelAttrs = BTreeMap<&'static str, (u64, Option<u8>)>;

/// Sets attributes of a model.
fn set_attrs(attrs: &mut ModelAttrs, set: &BTreeMap<&'static str, Option<u8>>, version: u64) {
    attrs.extend(set.iter().map(|(key, value)| (*key, (version, *value))));
}

/// As versions of contents tell them.
fn forget_numbers_of(attrs: &mut ModelAttrs) {
    attrs.retain(|_, (_, value)| value.is_some());
    attrs.values_mut().for_each(|(version, _)| *version = 0);
}

/// Whether the attributes that are set are in `now` as they were `seen`.
fn attrs_are_same(set: &BTreeMap<&'static str, Option<u8>>, now: &ModelAttrs, seen: &ModelAttrs) -> bool {
    set.keys().all(|key| now.get(key) == seen.get(key))
}

fn assert_attrs(attrs: &ModelAttrs, snapshot: &dyn Snapshot, id: ArrayId) {
    let shown: BTreeMap<String, _> = snapshot.attrs(id).unwrap().into_iter().collect();
    let wanted = attrs.iter().filter_map(|(key, (_, value))| Some(((*key).to_owned(), (*value)?.into())));
    assert_eq!(shown, wanted.collect(), "attributes of {id:?}");
}

/// The attributes that `attrs` set.
fn keyed(attrs: &Attrs) -> BTreeMap<&'static str, Option<u8>> {
    attrs.iter().map(|(key, value)| (KEYS[*key], *value)).collect()
}

/// A plan as it applies to the state its transaction sees.
#[derive(Clone, Debug)]
struct Applied {
    before: Option<&'static str>,
    after: Option<&'static str>,
    len: usize,
    dropped_from: Option<usize>,
    pages: BTreeMap<(usize, u32), Option<u64>>,
    touches: BTreeSet<usize>,
    attrs: BTreeMap<&'static str, Option<u8>>,
    depends: std::ops::Range<usize>,
}

impl Applied {
    /// What `plan` comes down to, where the transaction has given away `names` already.
    fn new(plan: &Plan, base: &Model, names: &mut BTreeSet<&'static str>) -> Option<Applied> {
        let name = NAMES[plan.name];
        let there = base.arrays.get(name);
        if plan.removes {
            there?;
            names.remove(name);
            return Some(Applied {
                before: Some(name),
                after: None,
                len: 0,
                dropped_from: Some(0),
                pages: BTreeMap::new(),
                touches: BTreeSet::new(),
                attrs: BTreeMap::new(),
                depends: 0..0,
            });
        }
        if there.is_none() && !names.insert(name) {
            return None;
        }
        let mut after = name;
        if let Some(to) = plan.rename.map(|to| NAMES[to])
            && names.insert(to)
        {
            names.remove(name);
            after = to;
        }
        let had = there.map_or(0, |array| array.len);
        let len = plan.blocks.unwrap_or(if there.is_some() { had } else { MOST_BLOCKS });
        let low = plan.low.unwrap_or(len).min(len);
        let written = plan.pages.iter().filter(|(block, _, _)| *block < len);
        Some(Applied {
            before: there.map(|_| name),
            after: Some(after),
            len,
            dropped_from: (low < had).then_some(low),
            pages: written.map(|(block, page, tag)| ((*block, *page), *tag)).collect(),
            touches: plan.touches.iter().copied().filter(|block| *block < len).collect(),
            attrs: keyed(&plan.attrs),
            depends: plan.depends.filter(|_| there.is_some()).map_or(0..0, |(first, count)| first..first + count),
        })
    }

    fn all(plans: &[Plan], base: &Model) -> Vec<Applied> {
        let mut names = base.arrays.keys().copied().collect();
        plans.iter().filter_map(|plan| Applied::new(plan, base, &mut names)).collect()
    }

    fn edit(&self, base: &dyn Snapshot) -> Edit {
        let Some(after) = self.after else {
            return Edit::of(base, self.before.expect("removed")).remove();
        };
        let mut edit = match self.before {
            Some(before) => Edit::of(base, before).rename(after).reshape(&[self.len * BLOCK]),
            None => Edit::create(after, array_of(self.len)),
        };
        if let Some(from) = self.dropped_from {
            edit = edit.drop_from(base, from as u64);
        }
        for (&(block, page), tag) in &self.pages {
            edit = match tag {
                Some(tag) => edit.page(base, block as u64, page, *tag),
                None => edit.zero(base, block as u64, page),
            };
        }
        edit = self.touches.iter().fold(edit, |edit, block| edit.touch(base, *block as u64));
        if !self.depends.is_empty() {
            edit = edit.depend(self.depends.start as u64..self.depends.end as u64);
        }
        self.attrs.iter().fold(edit, |edit, (key, value)| edit.attr(key, value.map(Into::into)))
    }

    fn touches(&self, base: &Model) -> bool {
        let before = self.before.map(|name| (name, base.arrays[name].len));
        self.after.map(|name| (name, self.len)) != before || self.dropped_from.is_some() || self.written().count() > 0
    }

    /// The blocks that it stores to.
    fn written(&self) -> impl Iterator<Item = usize> {
        self.pages.keys().map(|(block, _)| *block).chain(self.touches.iter().copied())
    }
}

impl Model {
    /// Whether what was made of `base` may land on this.
    fn admits(&self, change: &[Applied], base: &Model) -> bool {
        change.iter().all(|applied| self.admits_one(applied, change, base))
    }

    fn admits_one(&self, applied: &Applied, change: &[Applied], base: &Model) -> bool {
        if let Some(name) = applied.after.filter(|name| applied.before != Some(name)) {
            let given_up = change.iter().any(|other| other.before == Some(name) && other.after != Some(name));
            if !given_up && self.arrays.contains_key(name) {
                return false;
            }
        }
        let Some(name) = applied.before else { return true };
        let seen = &base.arrays[name];
        let is_same = |now: &&Array| now.born == seen.born && now.named == seen.named;
        let Some(now) = self.arrays.get(name).filter(is_same) else { return false };
        if applied.after != Some(name) {
            return now == seen;
        }
        // With their pages, which say the same as numbers do, and all that there is to say without.
        let version = |array: &Array, block| array.blocks.get(&block).cloned();
        let from = applied.dropped_from.unwrap_or(usize::MAX);
        let written = applied.written().filter(|block| *block < from);
        let dropped = (0..MOST_BLOCKS).filter(|block| *block >= from);
        let mut depends = applied.depends.clone();
        attrs_are_same(&applied.attrs, &now.attrs, &seen.attrs)
            && (depends.is_empty()
                || now.cut == seen.cut && depends.all(|block| version(now, block) == version(seen, block)))
            && (!applied.touches(base)
                || now.len == seen.len
                    && now.cut == seen.cut
                    && written.chain(dropped).all(|block| version(now, block) == version(seen, block)))
    }

    fn apply(&mut self, change: &[Applied], base: &Model, version: u64) {
        let taken: Vec<Option<Array>> =
            change.iter().map(|applied| applied.before.and_then(|name| self.arrays.remove(name))).collect();
        for ((n, applied), taken) in change.iter().enumerate().zip(taken) {
            let Some(name) = applied.after else { continue };
            let new = Array { born: (version, n), changed: version, cut: version, named: version, ..Array::default() };
            let mut array = taken.unwrap_or(new);
            if applied.touches(base) {
                array.len = applied.len;
            }
            if applied.before.is_some_and(|before| before != name) {
                array.named = version;
            }
            if applied.dropped_from.is_some() {
                (array.cut, array.changed) = (version, version);
            }
            if applied.written().count() > 0 {
                array.changed = version;
            }
            array.blocks.retain(|block, _| applied.dropped_from.is_none_or(|from| *block < from));
            for block in applied.written() {
                array.blocks.entry(block).or_default().0 = version;
            }
            for (&(block, page), tag) in &applied.pages {
                let (_, pages) = array.blocks.entry(block).or_default();
                match tag {
                    Some(tag) => pages.insert(page, *tag),
                    None => pages.remove(&page),
                };
            }
            set_attrs(&mut array.attrs, &applied.attrs, version);
            self.arrays.insert(name, array);
        }
    }

    /// As versions of contents tell it: what was changed back was not changed, but for shapes.
    fn forget_numbers(&mut self) {
        for array in self.arrays.values_mut() {
            (array.changed, array.named) = (0, 0);
            array.blocks.retain(|_, (_, pages)| !pages.is_empty());
            array.blocks.values_mut().for_each(|(version, _)| *version = 0);
            forget_numbers_of(&mut array.attrs);
        }
        forget_numbers_of(&mut self.attrs);
    }

    fn assert_shown_by(&self, snapshot: &dyn Snapshot, versions: Versions) {
        let shown = snapshot.arrays().unwrap();
        assert_eq!(
            shown.iter().map(|(name, array)| (name.as_str(), array.shape[0])).collect::<Vec<_>>(),
            self.arrays.iter().map(|(name, array)| (*name, array.len * BLOCK)).collect::<Vec<_>>()
        );
        assert_attrs(&self.attrs, snapshot, ArrayId::DATABASE);
        for ((name, array), (_, model)) in shown.iter().zip(&self.arrays) {
            assert_attrs(&model.attrs, snapshot, array.id);
            let mut stored = Vec::new();
            let visit = &mut |block: BlockNo, record: bigarray_core::store::BlockRecord| {
                let version = if versions == Versions::Numbers { record.version.0 } else { 0 };
                stored.push((block.0 as usize, version));
                ControlFlow::Continue(())
            };
            snapshot.blocks(array.id, 0..u64::MAX, visit).unwrap();
            let wanted: Vec<_> = model.blocks.iter().map(|(block, (version, _))| (*block, *version)).collect();
            assert_eq!(stored, wanted, "versions of the blocks of {name}");
            for (&block, (_, pages)) in &model.blocks {
                let mut bytes = vec![0xee; BLOCK];
                snapshot.read(array.id, BlockNo(block as u64), 0, &mut bytes).unwrap();
                for (page, bytes) in (0..).zip(bytes.chunks(PAGE)) {
                    let wanted = pages.get(&page).map_or(vec![0; PAGE], |tag| page_of(*tag));
                    assert!(bytes == wanted, "page {page} of block {block} of {name} is not {:?}", pages.get(&page));
                }
            }
        }
    }
}

fn run(rounds: Vec<Round>, produced_every: u64, versions: Versions) {
    let store = MemStore::with(MemStoreOptions { produced_every, versions, ..MemStoreOptions::default() });
    let mut model = Model::default();
    let mut held: Vec<(Arc<dyn Snapshot>, Model)> = Vec::new();
    for (first, second, keep) in rounds {
        let (base, seen) = (store.snapshot().unwrap(), model.clone());
        for (plans, attrs) in [first, second] {
            let (change, attrs) = (Applied::all(&plans, &seen), keyed(&attrs));
            let mut edits: Vec<Edit> = change.iter().map(|applied| applied.edit(&*base)).collect();
            edits.push(
                attrs.iter().fold(Edit::of_database(), |edit, (key, value)| edit.attr(key, value.map(Into::into))),
            );
            let admits = model.admits(&change, &seen) && attrs_are_same(&attrs, &model.attrs, &seen.attrs);
            let outcome = Edit::commit(&store, &*base, &edits);
            match outcome {
                Ok(committed) => {
                    assert!(admits, "passed: {change:#?}, {attrs:?}\non {model:#?}\nfrom {seen:#?}");
                    model.apply(&change, &seen, committed.version.0);
                    set_attrs(&mut model.attrs, &attrs, committed.version.0);
                    if versions == Versions::Hashes {
                        model.forget_numbers();
                    }
                }
                Err(error) => {
                    assert!(error.is_conflict(), "{error}");
                    assert!(!admits, "{error}: {change:#?}, {attrs:?}\non {model:#?}\nfrom {seen:#?}");
                }
            }
            store.check();
            model.assert_shown_by(&*store.snapshot().unwrap(), versions);
        }
        match keep {
            true => held.push((base, seen)),
            false if held.len() > 2 => drop(held.swap_remove(0)),
            false => {}
        }
        for (snapshot, model) in &held {
            model.assert_shown_by(&**snapshot, versions);
        }
    }
    held.clear();
    store.check();
    assert_eq!(store.pages().1, 0, "pages are kept for snapshots that have ended");
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_commit_passes_exactly_when_nothing_it_saw_was_changed(rounds in rounds()) {
        run(rounds, 0, Versions::Numbers);
    }

    #[test]
    fn the_same_holds_where_blocks_must_be_produced(rounds in rounds()) {
        run(rounds, 2, Versions::Numbers);
    }

    #[test]
    fn the_same_holds_where_versions_are_hashes_and_blocks_are_kept_two_by_two(rounds in rounds()) {
        run(rounds, 0, Versions::Hashes);
    }
}
