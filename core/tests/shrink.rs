//! Shrinking against other transactions, and against calls that fail. Each was found by the fuzz target `pager`.

use std::sync::Arc;

use bigarray_core::{BlockSize, Engine, EngineOptions, PAGE, Transaction, Writer};
use bigarray_testing::{MemStore, SimMemory, SimOp, array_of};

const BLOCK: usize = BlockSize::MIN.bytes();
const NAME: &str = "A";

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
    store: MemStore,
}

/// An array of three blocks, of which the first `stored` hold ones.
fn world(copy: bool, stored: usize) -> World {
    let store = MemStore::new();
    let memory = SimMemory::new(store.file());
    let options = EngineOptions { copy, ..EngineOptions::default() };
    let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), options);
    let world = World { engine, memory, store };
    let transaction = world.engine.begin().unwrap();
    world.write(&mut transaction.create(NAME, array_of(3)).unwrap(), 0, &vec![1; stored * BLOCK]);
    transaction.commit(None).unwrap();
    world
}

impl World {
    fn write(&self, writer: &mut Writer<'_>, at: usize, bytes: &[u8]) {
        writer.expose_mut(at..at + bytes.len()).unwrap();
        self.memory.span_at(writer.base().unwrap()).store(at, bytes).unwrap();
    }

    fn resize(&self, transaction: &Transaction, len: usize) -> bigarray_core::Result<()> {
        transaction.open(NAME)?.set_shape(&[len])
    }

    fn newest(&self) -> Vec<u8> {
        let snapshot = self.engine.snapshot().unwrap();
        let reader = self.engine.reader(&snapshot, NAME).unwrap();
        let len = reader.descriptor().nbytes();
        self.memory.span_at(reader.base().unwrap()).load(0..len).unwrap()
    }
}

/// One shrinks to the middle of a block, where there is nothing to clear; another writes behind that and commits first.
/// If both landed, what the other wrote would show again when the array grows.
#[test]
fn a_shrink_conflicts_with_a_write_behind_the_new_end() {
    for copy in [false, true] {
        for stored in [0, 3] {
            let world = world(copy, stored);
            if stored > 0 {
                let transaction = world.engine.begin().unwrap();
                world.write(&mut transaction.open(NAME).unwrap(), PAGE, &vec![0; BLOCK - PAGE]);
                transaction.commit(None).unwrap();
            }
            let shrinks = world.engine.begin().unwrap();
            world.resize(&shrinks, 2 * PAGE + 5).unwrap();
            let writes = world.engine.begin().unwrap();
            world.write(&mut writes.open(NAME).unwrap(), 5 * PAGE, &[7]);
            writes.commit(None).unwrap();
            let error = shrinks.commit(None).unwrap_err();
            assert!(error.is_conflict(), "copy {copy}, stored {stored}: {error}");
            assert_eq!(world.newest()[5 * PAGE], 7);
            world.store.check();
        }
    }
}

#[test]
fn a_shrink_lands_beside_a_write_to_another_block() {
    let world = world(false, 3);
    let shrinks = world.engine.begin().unwrap();
    world.resize(&shrinks, BLOCK + 5).unwrap();
    let writes = world.engine.begin().unwrap();
    world.write(&mut writes.open(NAME).unwrap(), 5, &[7]);
    writes.commit(None).unwrap();
    shrinks.commit(None).unwrap();
    let mut expected = vec![1; BLOCK + 5];
    expected[5] = 7;
    assert_eq!(world.newest(), expected);
}

/// Memory that cannot be given back leaves part of the array as it was and part of it gone.
#[test]
fn after_a_shrink_that_failed_half_way_nothing_is_stored() {
    let world = world(false, 3);
    let transaction = world.engine.begin().unwrap();
    world.write(&mut transaction.open(NAME).unwrap(), 2 * BLOCK, &[7]);
    world.memory.fail(SimOp::Reset, 0);
    assert!(world.resize(&transaction, BLOCK).unwrap_err().is_io());
    let error = transaction.commit(None).unwrap_err();
    assert!(error.to_string().contains("simulated failure of Reset"), "{error}");
    assert_eq!(world.newest(), vec![1; 3 * BLOCK]);
}

/// The same at the front.
#[test]
fn after_rows_at_the_front_could_not_be_given_back_nothing_is_stored() {
    for copy in [false, true] {
        let world = world(copy, 3);
        let transaction = world.engine.begin().unwrap();
        world.write(&mut transaction.open(NAME).unwrap(), 5, &[7]);
        world.memory.fail(SimOp::Reset, 0);
        assert!(transaction.open(NAME).unwrap().drop_front(BLOCK + 5).unwrap_err().is_io());
        let error = transaction.commit(None).unwrap_err();
        assert!(error.to_string().contains("simulated failure of Reset"), "{error}");
        assert_eq!(world.newest(), vec![1; 3 * BLOCK]);
    }
}

/// What was written to rows that are dropped, spilled or not, is not stored; what is left of their block is.
#[test]
fn what_was_written_to_rows_that_are_dropped_is_not_stored() {
    for copy in [false, true] {
        for spills in [false, true] {
            let world = world(copy, 3);
            let transaction = world.engine.begin().unwrap();
            let mut writer = transaction.open(NAME).unwrap();
            world.write(&mut writer, 0, &vec![7; 2 * BLOCK]);
            if spills {
                writer.flush().unwrap();
            }
            writer.drop_front(BLOCK + 5).unwrap();
            drop(writer);
            transaction.commit(None).unwrap();
            let snapshot = world.engine.snapshot().unwrap();
            let reader = world.engine.reader(&snapshot, NAME).unwrap();
            let (span, first) = world.memory.span_over(reader.base().unwrap());
            assert_eq!(first, BLOCK + 5);
            let bytes = span.load(first..3 * BLOCK).unwrap();
            assert_eq!(bytes[..BLOCK - 5], vec![7; BLOCK - 5]);
            assert_eq!(bytes[BLOCK - 5..], vec![1; BLOCK]);
            drop((reader, snapshot));
            world.store.check();
            assert_eq!(world.store.pages().0, 2 * BLOCK / PAGE, "copy {copy}, spills {spills}");
        }
    }
}

/// What clears the tail must not wait in a fault that cannot be resolved: that ends the process.
#[test]
fn a_tail_that_cannot_be_made_writable_is_an_error() {
    let world = world(true, 3);
    let transaction = world.engine.begin().unwrap();
    world.memory.fail(SimOp::Unprotect, 0);
    assert!(world.resize(&transaction, BLOCK + 5).unwrap_err().is_io());
    drop(transaction);
    assert_eq!(world.newest(), vec![1; 3 * BLOCK]);
}
