//! One array "a" of three blocks on the fakes, and what a program would do to it.

#![allow(dead_code, reason = "each file of tests uses its own part of it")]

use std::sync::Arc;

use bigarray_core::testing::{MemStore, SimMemory, SimOptions, array_of};
use bigarray_core::{BlockSize, Engine, EngineOptions, Reader, Transaction};

pub(crate) const BLOCK: usize = BlockSize::MIN.bytes();

pub(crate) struct World {
    pub(crate) engine: Arc<Engine>,
    pub(crate) memory: SimMemory,
    store: MemStore,
}

impl World {
    /// The array as `fill` leaves it, committed.
    pub(crate) fn new(fill: impl FnOnce(&World, &Transaction)) -> World {
        World::with(SimOptions::default(), fill)
    }

    /// The same on a memory of another kind.
    pub(crate) fn with(options: SimOptions, fill: impl FnOnce(&World, &Transaction)) -> World {
        let store = MemStore::new();
        let memory = SimMemory::with(store.file(), options);
        let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), EngineOptions::default());
        let world = World { engine, memory, store };
        let transaction = world.engine.begin().unwrap();
        drop(transaction.create("a", array_of(3)).unwrap());
        fill(&world, &transaction);
        transaction.commit(None).unwrap();
        world
    }

    /// The same state seen by an engine that has no span yet.
    pub(crate) fn reopened(self) -> World {
        let engine = Engine::new(Arc::new(self.store.clone()), Arc::new(self.memory.clone()), EngineOptions::default());
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
