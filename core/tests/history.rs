//! States of the past, of a store that remembers them.

use std::sync::Arc;

use bigarray_core::{Engine, EngineOptions, Reader};
use bigarray_testing::{MemStore, Remembering, SimMemory, array_of};

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
}

impl World {
    /// An array "a", of which every commit sets the first byte.
    fn new() -> World {
        let store = MemStore::new();
        let memory = SimMemory::new(store.file());
        let store = Arc::new(Remembering::new(store));
        World { engine: Engine::new(store, Arc::new(memory.clone()), EngineOptions::default()), memory }
    }

    fn commit(&self, byte: u8) {
        let transaction = self.engine.begin().unwrap();
        let mut writer = transaction.open("a").or_else(|_| transaction.create("a", array_of(1))).unwrap();
        writer.expose_mut(0..1).unwrap();
        self.memory.span_at(writer.base().unwrap()).store(0, &[byte]).unwrap();
        drop(writer);
        transaction.commit(None).unwrap();
    }

    fn at(&self, commit: &str) -> Reader {
        let state = self.engine.history().unwrap().at(commit).unwrap();
        self.engine.reader(&state, "a").unwrap()
    }

    #[track_caller]
    fn check(&self, reader: &Reader, byte: u8) {
        assert_eq!(self.memory.span_at(reader.base().unwrap()).load(0..1).unwrap(), [byte]);
    }
}

#[test]
fn a_state_of_the_past_shows_its_own_bytes_beside_the_newest() {
    let world = World::new();
    (1..=3).for_each(|byte| world.commit(byte));
    let log = world.engine.history().unwrap().log(10).unwrap();
    assert_eq!(log.len(), 3);
    assert!(log.is_sorted_by(|newer, older| newer.version > older.version && newer.time > older.time));
    assert_eq!(world.engine.history().unwrap().log(2).unwrap(), log[..2]);
    // Spans that idled are bound to older states, and to newer ones again.
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for n in order {
            world.check(&world.at(&log[n].id), 3 - n as u8);
        }
    }
    let all: Vec<Reader> = log.iter().map(|commit| world.at(&commit.id)).collect();
    for (n, reader) in all.iter().enumerate() {
        assert_eq!(reader.version(), log[n].version);
        world.check(reader, 3 - n as u8);
    }
}

#[test]
fn a_tag_stays_with_its_commit() {
    let world = World::new();
    world.commit(1);
    let history = world.engine.history().unwrap();
    history.tag("first").unwrap();
    world.commit(2);
    world.check(&world.at("first"), 1);
    assert_eq!(history.tags().unwrap(), [("first".to_owned(), history.log(2).unwrap()[1].id.clone())]);
    assert!(history.tag("first").unwrap_err().is_already_exists());
    assert!(history.at("second").err().unwrap().is_not_found());
}

#[test]
fn a_store_without_a_history_says_where_there_is_one() {
    let store = MemStore::new();
    let memory = SimMemory::new(store.file());
    let engine = Engine::new(Arc::new(store), Arc::new(memory), EngineOptions::default());
    let error = engine.history().err().unwrap();
    assert!(error.is_unsupported() && error.to_string().contains("object storage"), "{error}");
}
