//! One array "a" of three blocks on the fakes, and what a program would do to it.

#![allow(dead_code, reason = "each file of tests uses its own part of it")]

use std::sync::Arc;

use bigarray_core::{BlockSize, Engine, EngineOptions, Reader, Transaction};
use bigarray_testing::{Failing, MemStore, SimMemory, SimOptions, array_of};

pub(crate) const BLOCK: usize = BlockSize::MIN.bytes();

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) memory: SimMemory,
    pub(crate) store: MemStore,
    /// The same as its engine knows it.
    pub(crate) failing: Arc<Failing<MemStore>>,
}

impl World {
    /// The array as `fill` leaves it, committed.
    pub(crate) fn new(fill: impl FnOnce(&World, &Transaction)) -> World {
        World::with(SimOptions::default(), fill)
    }

    /// Holes, for an engine that pages as `options` say.
    pub(crate) fn within(options: EngineOptions) -> World {
        World::of(SimOptions::default(), options, |_, _| ())
    }

    /// The same on a memory of another kind.
    pub(crate) fn with(options: SimOptions, fill: impl FnOnce(&World, &Transaction)) -> World {
        World::of(options, EngineOptions::default(), fill)
    }

    /// Both.
    pub(crate) fn of(memory: SimOptions, options: EngineOptions, fill: impl FnOnce(&World, &Transaction)) -> World {
        let store = MemStore::new();
        let memory = SimMemory::with(store.file(), memory);
        let failing = Arc::new(Failing::new(store.clone()));
        let engine = Engine::new(failing.clone(), Arc::new(memory.clone()), options);
        let world = World { engine, memory, store, failing };
        let transaction = world.engine.begin().unwrap();
        drop(transaction.create("a", array_of(3)).unwrap());
        fill(&world, &transaction);
        transaction.commit(None).unwrap();
        world
    }

    /// The same state seen by an engine that has no span yet.
    pub(crate) fn reopened(self) -> World {
        let engine = Engine::new(self.failing.clone(), Arc::new(self.memory.clone()), EngineOptions::default());
        World { engine, ..self }
    }

    pub(crate) fn write(&self, transaction: &Transaction, at: usize, bytes: &[u8]) {
        let mut writer = transaction.open("a").unwrap();
        writer.expose_mut(at..at + bytes.len()).unwrap();
        self.memory.span_at(writer.base().unwrap()).store(at, bytes).unwrap();
    }

    pub(crate) fn reader(&self) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), "a").unwrap()
    }
}
