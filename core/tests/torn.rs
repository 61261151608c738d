//! A block of several segments, of which a later piece cannot be laid: what was laid before may have been read and
//! written meanwhile, so it can be neither taken back nor completed otherwise.

use std::sync::Arc;

use bigarray_core::testing::{MemStore, Signal, SimMemory, SimOp, array_of};
use bigarray_core::{BlockSize, Engine, EngineOptions, PAGE, Reader, Transaction};

const BLOCK: usize = BlockSize::MIN.bytes();

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
}

/// An array of three blocks; in the middle one a page of ones, and holes on either side.
fn world() -> World {
    let store = MemStore::new();
    let memory = SimMemory::new(store.file());
    let engine = Engine::new(Arc::new(store), Arc::new(memory.clone()), EngineOptions::default());
    let world = World { engine, memory };
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("a", array_of(3)).unwrap());
    world.write(&transaction, BLOCK + PAGE, &[1; PAGE]);
    world.write(&transaction, 2 * BLOCK, &[2; BLOCK]);
    transaction.commit(None).unwrap();
    world
}

impl World {
    fn write(&self, transaction: &Transaction, at: usize, bytes: &[u8]) {
        let mut writer = transaction.open("a").unwrap();
        writer.expose_mut(at..at + bytes.len());
        self.memory.span_at(writer.base().unwrap()).store(at, bytes).unwrap();
    }

    fn reader(&self) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), "a").unwrap()
    }

    fn load(&self, reader: &Reader, at: usize) -> Result<Vec<u8>, Signal> {
        self.memory.span_at(reader.base().unwrap()).load(at..at + 1)
    }
}

#[test]
fn a_block_torn_by_a_failure_ends_whoever_touches_it_and_no_other() {
    let world = world();
    let reader = world.reader();
    // Zero memory before the page goes well, the page itself does not.
    world.memory.fail(SimOp::Map, 0);
    assert_eq!(world.load(&reader, BLOCK), Err(Signal::Bus));
    assert_eq!(world.load(&reader, BLOCK + PAGE), Err(Signal::Bus));
    assert_eq!(world.load(&reader, 2 * BLOCK).unwrap(), [2]);
    assert_eq!(world.load(&reader, 0).unwrap(), [0]);
    assert!(reader.prefetch(0..3 * BLOCK).unwrap_err().to_string().contains("block 1"));
    drop(reader);
    // The next reader has a span of its own and sees all of it.
    assert_eq!(world.load(&world.reader(), BLOCK + PAGE).unwrap(), [1]);
}

#[test]
fn a_transaction_with_a_torn_block_does_not_commit() {
    let world = world();
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, 2 * BLOCK, &[9]);
    world.memory.fail(SimOp::Map, 0);
    assert!(transaction.open("a").unwrap().prefetch(BLOCK..BLOCK + 1).is_err());
    assert!(transaction.commit(None).unwrap_err().to_string().contains("\"a\""));
    assert_eq!(world.load(&world.reader(), 2 * BLOCK).unwrap(), [2]);
}

#[test]
fn a_block_of_which_nothing_could_be_laid_is_copied() {
    let world = world();
    let reader = world.reader();
    world.memory.fail(SimOp::Zero, 0);
    assert_eq!(world.load(&reader, BLOCK + PAGE).unwrap(), [1]);
    assert_eq!(world.load(&reader, BLOCK).unwrap(), [0]);
    assert!(world.memory.count(SimOp::Copy) > 0);
}
