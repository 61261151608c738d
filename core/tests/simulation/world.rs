//! A run: transactions and their rivals, snapshots that are kept, and what they all have to show.

use std::collections::BTreeMap;
use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{ArrayId, BlockNo, Engine, EngineOptions, Prefetch, Reader, Savepoint};
use bigarray_testing::{Hiccuping, MemStore, MemStoreOptions, Rng, SimMemory, SimOptions};

use crate::mode::Mode;
use crate::model::{Attrs, BLOCK, Model, assert_same, load, reader_bytes, resize};

/// The product on the fakes, and what it has to show.
pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) store: MemStore,
    pub(crate) memory: SimMemory,
    pub(crate) mode: Mode,
    pub(crate) rng: Rng,
    /// For attributes of the database.
    pub(crate) attrs_rng: Rng,
    pub(crate) committed: Model,
    pub(crate) attrs: Attrs,
    /// Those that may be going on.
    pub(crate) prefetches: Vec<Prefetch>,
}

impl World {
    pub(crate) fn new(mode: Mode, seed: u64) -> World {
        let Mode { produced: produced_every, versions, lookups_may_block, caches, .. } = mode;
        let cached_but_every = if caches { 3 } else { 0 };
        let options = MemStoreOptions {
            produced_every,
            versions,
            lookups_may_block,
            cached_but_every,
            ..MemStoreOptions::default()
        };
        let store = MemStore::with(options);
        let options = SimOptions {
            seed,
            delivers_faults: mode.faults,
            delivers_kernel_faults: mode.kernel_faults,
            most_mappings: mode.mappings,
            reports_read_zero_pages: seed.is_multiple_of(2),
            merges: mode.merges,
            moves: mode.moves,
            maps_other_files: caches,
            leaves_jobs: seed.is_multiple_of(3),
            ..SimOptions::default()
        };
        let memory = SimMemory::with(store.file(), options);
        let options = EngineOptions {
            copy: mode.copy,
            verify: seed.is_multiple_of(5),
            budget_bytes: if mode.budget == 0 { usize::MAX } else { mode.budget * BLOCK },
            spill_under_views: !seed.is_multiple_of(7),
            ..EngineOptions::default()
        };
        let seen: Arc<dyn Store> = match mode.hiccups {
            true => Arc::new(Hiccuping::new(store.clone(), seed)),
            false => Arc::new(store.clone()),
        };
        let engine = Engine::new(seen, Arc::new(memory.clone()), options);
        let (rng, attrs_rng) = (Rng::new(seed), Rng::new(!seed));
        let (committed, attrs, prefetches) = (Model::new(), Attrs::new(), Vec::new());
        World { engine, store, memory, mode, rng, attrs_rng, committed, attrs, prefetches }
    }

    pub(crate) fn run(&mut self, rounds: usize) {
        let mut held: Vec<(BTreeMap<String, Reader>, Model)> = Vec::new();
        for _ in 0..rounds {
            let mut transaction = self.engine.begin().unwrap();
            let mut model = self.committed.clone();
            let mut attrs = self.attrs.clone();
            let mut savepoints: Vec<(Savepoint, Model, Attrs)> = Vec::new();
            for _ in 0..1 + self.rng.below(self.mode.steps) {
                self.step(&transaction, &mut model);
                self.set_attr(&transaction, &mut attrs);
                if self.rng.one_in(4) {
                    savepoints.push((transaction.savepoint().unwrap(), model.clone(), attrs.clone()));
                } else if !savepoints.is_empty() && self.rng.one_in(3) {
                    savepoints.truncate(1 + self.rng.below(savepoints.len()));
                    let (savepoint, arrays_then, attrs_then) = savepoints.pop().unwrap();
                    transaction.rollback(savepoint).unwrap();
                    (model, attrs) = (arrays_then, attrs_then);
                }
            }
            // Another transaction commits in between, or none does.
            let other = self.rng.one_in(3).then(|| self.other());
            match self.rng.below(4) {
                0 => transaction.abort(),
                _ => match (transaction.commit(None), other) {
                    (Ok(()), other) => {
                        match other.flatten() {
                            None => self.committed = model,
                            Some((name, skip)) => self.merge(model, &name, skip),
                        }
                        self.attrs = attrs;
                    }
                    (Err(error), Some(_)) => assert!(error.is_conflict(), "{error}"),
                    (Err(error), None) => panic!("{error}"),
                },
            }
            self.store.check();
            let stored = self.engine.snapshot().unwrap().attrs(ArrayId::DATABASE).unwrap();
            assert_eq!(stored.into_iter().collect::<Attrs>(), self.attrs);
            if self.rng.one_in(2) {
                held.push((self.readers(), self.committed.clone()));
            }
            for (readers, model) in &held {
                for (name, (_, data)) in model {
                    self.compare(&readers[name], data);
                }
            }
            if held.len() > 3 {
                held.remove(self.rng.below(held.len()));
            }
            if self.rng.one_in(2) {
                self.memory.run_jobs();
                self.end_prefetches();
            }
        }
    }

    /// Another transaction writes somewhere and commits; says where, if that changed anything, and how many bytes had been
    /// dropped before the first.
    pub(crate) fn other(&mut self) -> Option<(String, usize)> {
        let transaction = self.engine.begin().unwrap();
        let mut model = self.committed.clone();
        let name = match model.iter().find(|(_, (_, data))| !data.is_empty()).map(|(name, _)| name.clone()) {
            Some(name) => name,
            None => {
                drop(transaction.create("other", self.array(9)).or_else(|_| transaction.open("other")).unwrap());
                model.entry("other".into()).or_insert((0, self.new_data(9)));
                "other".to_owned()
            }
        };
        let (_, data) = model.get_mut(&name).unwrap();
        let mut writer = transaction.open(&name).unwrap();
        self.write(&mut writer, data);
        let skip = writer.descriptor().skip;
        drop(writer);
        transaction.commit(None).unwrap();
        let changed = self.committed.get(&name) != model.get(&name);
        self.committed = model;
        changed.then_some((name, skip))
    }

    /// Both landed: what the other one wrote to `name`, where `skip` bytes had been dropped before the first, stays but where
    /// the first wrote, block by block.
    pub(crate) fn merge(&mut self, first: Model, name: &str, skip: usize) {
        let (id, mut theirs) = self.committed.remove(name).unwrap();
        let readers = self.readers();
        self.committed = first;
        if id == 0 {
            self.committed.entry(name.to_owned()).or_insert_with(|| (0, theirs.clone())); // which the first never saw
        }
        // The first did not touch those blocks, else it would have lost: what is stored is one of both, whole.
        let is_filled = self.mode.fill;
        let (name, (_, mine)) = self.committed.iter_mut().find(|(_, (other, _))| *other == id).expect("removed");
        let stored = reader_bytes(&readers[name], &self.memory);
        assert_eq!(stored.len(), mine.len());
        let now = readers[name].descriptor();
        // Rows dropped at the front go with what was written to them; if all went, so did all that was written.
        drop(theirs.drain(..now.skip.checked_sub(skip).map_or(theirs.len(), |dropped| dropped.min(theirs.len()))));
        // A resize that touches no block lands on top of a write.
        resize(&mut theirs, mine.len(), is_filled);
        for block in now.first_block().0..now.block_size.blocks_for(now.end()) {
            let bytes = now.block_size.range_of(BlockNo(block));
            let range = bytes.start.saturating_sub(now.skip)..bytes.end.min(now.end()) - now.skip;
            let is = |data: &[u8]| stored[range.clone()] == data[range.clone()];
            assert!(is(mine) || is(&theirs), "block {block} of {name} is of neither");
        }
        mine.clone_from(&stored);
    }

    pub(crate) fn readers(&self) -> BTreeMap<String, Reader> {
        let snapshot = self.engine.snapshot().unwrap();
        let names = snapshot.arrays().unwrap();
        names.into_iter().map(|(name, _)| (name.clone(), self.engine.reader(&snapshot, &name).unwrap())).collect()
    }

    /// No job is left.
    pub(crate) fn end_prefetches(&mut self) {
        for prefetch in self.prefetches.drain(..) {
            assert!(prefetch.is_done());
            let outcome = prefetch.wait();
            assert!(outcome.is_ok() || self.mode.hiccups, "{outcome:?}");
        }
    }

    pub(crate) fn compare(&mut self, reader: &Reader, data: &[u8]) {
        if self.rng.one_in(3) {
            let part = self.part_of(data.len());
            self.prefetches.push(reader.prefetch_ahead(part).unwrap());
        }
        if self.rng.one_in(4) {
            assert_same(&reader_bytes(reader, &self.memory), data, "in a snapshot");
        } else if !data.is_empty() {
            let at = self.rng.below(data.len());
            let range = at..(at + 3000).min(data.len());
            let got = load(&self.memory, reader.base().unwrap(), range.clone());
            assert_same(&got, &data[range], "in a part of a snapshot");
        }
    }
}
