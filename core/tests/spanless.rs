//! Arrays that go on without a span, since no addresses are left, and spans that are not to be used again.

use std::sync::Arc;

use bigarray_core::testing::{MemStore, SimMemory, SimOp, array_of};
use bigarray_core::{BlockSize, Engine, EngineOptions, PAGE, Reader, Transaction};

const BLOCK: usize = BlockSize::MIN.bytes();

/// More reservations than one attempt makes, each with less room to grow.
const ATTEMPTS: usize = 40;

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
}

/// An array of three blocks, of which the first `stored` hold ones.
fn world(stored: usize) -> World {
    let store = MemStore::new();
    let memory = SimMemory::new(store.file());
    let engine = Engine::new(Arc::new(store), Arc::new(memory.clone()), EngineOptions::default());
    let world = World { engine, memory };
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("a", array_of(3)).unwrap());
    world.write(&transaction, 0, &vec![1; stored * BLOCK]);
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

    fn bytes(&self, reader: &Reader) -> Vec<u8> {
        self.memory.span_at(reader.base().unwrap()).load(0..reader.descriptor().nbytes()).unwrap()
    }

    /// The next `n` reservations find no addresses.
    fn exhaust(&self, n: usize) {
        for nth in 0..n {
            self.memory.fail(SimOp::Reserve, nth);
        }
    }

    /// Reserves until addresses can be had again.
    fn use_up_failures(&self) {
        let snapshot = self.engine.snapshot().unwrap();
        while self.engine.reader(&snapshot, "a").and_then(|reader| reader.base().map(drop)).is_err() {}
    }

    /// Another transaction writes behind the middle of the second block, and commits.
    fn write_elsewhere(&self) {
        let transaction = self.engine.begin().unwrap();
        self.write(&transaction, BLOCK + 5 * PAGE, &[7; PAGE]);
        transaction.commit(None).unwrap();
    }
}

/// The write would show again once the array has grown.
#[test]
fn a_shrink_of_an_array_that_then_outgrew_all_addresses_conflicts_with_a_write_behind_its_end() {
    let world = world(0);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.set_shape(&[BLOCK + 3]).unwrap();
    world.exhaust(ATTEMPTS);
    writer.set_shape(&[1 << 60]).unwrap();
    assert!(writer.base().unwrap_err().is_too_large());
    drop(writer);
    world.use_up_failures();
    world.write_elsewhere();
    assert!(transaction.commit(None).unwrap_err().is_conflict());
}

#[test]
fn a_span_that_failed_while_it_idled_is_not_used_again() {
    let world = world(3);
    let reader = world.reader();
    let base = reader.base().unwrap();
    assert!(world.bytes(&reader).iter().all(|&byte| byte == 1));
    drop(reader);
    assert_eq!(world.reader().base().unwrap(), base, "it idles until somebody needs it");
    world.memory.fail_faults("as the test asks");
    assert_ne!(world.reader().base().unwrap(), base);
}
