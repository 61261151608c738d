//! Arrays with a codec: blocks that have to be produced, and those that do not shrink.

mod support;

use std::sync::Arc;

use bigarray_core::{Codec, Descriptor, Engine, EngineOptions, PAGE};
use bigarray_testing::{MemStore, MemStoreOptions, SimMemory, SimOptions, array_of};
use support::{BLOCK, World};

/// Such an array cannot be held in memory as a whole, as one of plain extents is mapped.
#[test]
fn compressed_arrays_beyond_the_budget_open_where_system_calls_cannot_wait() {
    let within = EngineOptions { budget_bytes: 2 * BLOCK, ..EngineOptions::default() };
    let options = SimOptions { delivers_kernel_faults: false, ..SimOptions::default() };
    let world = World::of(options, within, |world, transaction| {
        let codec = Codec::Lz4 { shuffle: false };
        let mut writer = transaction.create("b", Descriptor { codec, ..array_of(9) }).unwrap();
        writer.expose_mut(0..9 * BLOCK).unwrap();
        world.memory.span_at(writer.base().unwrap()).store(0, &[3; 9 * BLOCK]).unwrap();
    });
    let reader = world.engine.reader(&world.engine.snapshot().unwrap(), "b").unwrap();
    let bytes = world.memory.span_at(reader.base().unwrap()).load(0..9 * BLOCK).unwrap();
    assert!(bytes.iter().all(|&b| b == 3));
    assert!(world.memory.own_bytes() <= 2 * BLOCK);
}

/// Then it was once written as a whole, zeros for its holes.
#[test]
fn of_a_block_that_does_not_shrink_the_pages_that_have_bytes_are_written() {
    let store = MemStore::with(MemStoreOptions { never_shrinks: true, ..MemStoreOptions::default() });
    let memory = SimMemory::new(store.file());
    let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), EngineOptions::default());
    let transaction = engine.begin().unwrap();
    let codec = Codec::Lz4 { shuffle: false };
    let mut writer = transaction.create("b", Descriptor { codec, ..array_of(1) }).unwrap();
    writer.expose_mut(0..BLOCK).unwrap();
    // Two runs, a hole between them and one behind.
    let mut expected = vec![0; BLOCK];
    expected[..5 * PAGE].fill(3);
    expected[7 * PAGE..13 * PAGE].fill(4);
    memory.span_at(writer.base().unwrap()).store(0, &expected).unwrap();
    writer.flush().unwrap();
    assert_eq!(store.pages_spilled(), 11);
    drop(writer);
    transaction.commit(None).unwrap();
    assert_eq!(store.pages(), (11, 0));
    let reader = engine.reader(&engine.snapshot().unwrap(), "b").unwrap();
    assert_eq!(memory.span_at(reader.base().unwrap()).load(0..BLOCK).unwrap(), expected);
}
