//! Blocks that would have to be produced are mapped where files have them as they are, and copied in every other case.

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{BlockSize, Engine, EngineOptions, PAGE, Reader};
use bigarray_testing::{Counted, Edit, MemStore, MemStoreOptions, SimMemory, SimOp, SimOptions, array_of, page_of};

const BLOCK: usize = BlockSize::MIN.bytes();
const BLOCKS: usize = 4;

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
    store: Arc<Counted<MemStore>>,
}

impl World {
    /// An array "a" of which the first page of block n is `page_of(n)`, on a store whose look-ups may block and whose files
    /// have every block.
    fn new(options: EngineOptions, memory: SimOptions) -> World {
        World::with(MemStoreOptions { cached_but_every: u64::MAX, ..MemStoreOptions::default() }, options, memory)
    }

    fn with(store: MemStoreOptions, options: EngineOptions, memory: SimOptions) -> World {
        let store = MemStore::with(MemStoreOptions { produced_every: 1, lookups_may_block: true, ..store });
        let base = store.snapshot().unwrap();
        let edit = (0..BLOCKS as u64).fold(Edit::create("a", array_of(BLOCKS)), |edit, n| edit.page(&*base, n, 0, n));
        Edit::commit(&store, &*base, &[edit]).unwrap();
        let memory = SimMemory::with(store.file(), SimOptions { maps_other_files: true, ..memory });
        let store = Arc::new(Counted::new(store));
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), options);
        World { engine, memory, store }
    }

    fn reader(&self) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), "a").unwrap()
    }

    #[track_caller]
    fn check(&self, reader: &Reader, block: usize) {
        let bytes = self.memory.span_at(reader.base().unwrap()).load(block * BLOCK..(block + 1) * BLOCK).unwrap();
        assert!(bytes[..PAGE] == page_of(block as u64), "block {block}");
        assert!(bytes[PAGE..].iter().all(|byte| *byte == 0), "block {block}");
    }

    /// Reads all blocks, and sees that they are right.
    #[track_caller]
    fn check_all(&self) {
        let reader = self.reader();
        (0..BLOCKS).for_each(|block| self.check(&reader, block));
    }

    /// Blocks that were copied. Each page of a block that is written or read has a page of its own, or is a file's.
    fn copied(&self) -> usize {
        self.memory.count(SimOp::Copy)
    }
}

#[test]
fn what_files_have_is_mapped_and_takes_no_memory() {
    let world = World::new(EngineOptions::default(), SimOptions::default());
    world.check_all();
    assert_eq!((world.copied(), world.store.pages_read()), (0, 0));
    assert!(world.memory.count(SimOp::Map) >= BLOCKS);
    assert_eq!((world.engine.memory_use().used_bytes, world.memory.own_bytes()), (0, 0));
}

#[test]
fn what_is_prefetched_is_mapped_and_read_in() {
    let world = World::new(EngineOptions::default(), SimOptions::default());
    let reader = world.reader();
    reader.prefetch(0..BLOCKS * BLOCK).unwrap();
    assert_eq!((world.copied(), world.store.pages_read()), (0, 0));
    assert!(world.memory.count(SimOp::ReadIn) > 0);
    (0..BLOCKS).for_each(|block| world.check(&reader, block));
    world.memory.fail(SimOp::ReadIn, 0);
    reader.prefetch(0..1).unwrap_err();
    world.check(&reader, 0);
}

#[test]
fn blocks_are_copied_where_nothing_is_to_be_mapped_or_nothing_has_them() {
    let maps = EngineOptions::default();
    let memory = SimOptions::default();
    let worlds = [
        ("copies are asked for", World::new(EngineOptions { copy: true, ..maps }, memory.clone())),
        ("all is to be verified", World::new(EngineOptions { verify: true, ..maps }, memory.clone())),
        ("no mappings are left", World::new(maps, SimOptions { most_mappings: 1, ..memory.clone() })),
        ("no fault is delivered", World::new(maps, SimOptions { delivers_faults: false, ..memory.clone() })),
        ("no file has them", World::with(MemStoreOptions::default(), maps, memory)),
    ];
    for (why, world) in worlds {
        world.check_all();
        assert_eq!((world.copied(), world.memory.count(SimOp::Map)), (BLOCKS, 0), "{why}");
    }
}

/// The other half of the mappings is for extents.
#[test]
fn half_of_the_mappings_are_for_what_is_cached() {
    // Those of a fourth block might go beyond eight.
    let world = World::new(EngineOptions::default(), SimOptions { most_mappings: 16, ..SimOptions::default() });
    world.check_all();
    let mapped = world.memory.count(SimOp::Map);
    assert!(mapped > 0 && world.copied() > 0 && mapped + world.copied() == BLOCKS, "{mapped} are mapped");
    assert!(world.engine.memory_use().used_bytes > 0);
}

#[test]
fn a_block_that_cannot_be_mapped_is_copied() {
    let world = World::new(EngineOptions::default(), SimOptions::default());
    world.memory.fail(SimOp::Map, 0);
    world.check_all();
    assert_eq!((world.copied(), world.memory.pending_failures()), (1, 0));
}

#[test]
fn a_transaction_copies_what_it_writes_to_and_the_file_is_as_it_was() {
    let world = World::new(EngineOptions::default(), SimOptions::default());
    let before = world.reader();
    (0..BLOCKS).for_each(|block| world.check(&before, block));
    assert_eq!(world.copied(), 0);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.expose_mut(0..BLOCKS * BLOCK).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    span.store(BLOCK + 3, b"new").unwrap();
    span.store(2 * BLOCK + 5 * PAGE, b"more").unwrap();
    // So the budget bounds what it writes. A block may be loaded ahead of the two.
    assert!(world.copied() >= 2);
    assert_eq!(world.engine.memory_use().used_bytes, world.copied() * BLOCK);
    drop(writer);
    transaction.commit(None).unwrap();
    let after = world.reader();
    let shown = |reader: &Reader, at: usize, len: usize| {
        world.memory.span_at(reader.base().unwrap()).load(at..at + len).unwrap()
    };
    assert_eq!(shown(&after, BLOCK + 3, 3), b"new");
    assert_eq!(shown(&after, 2 * BLOCK + 5 * PAGE, 4), b"more");
    assert_eq!(shown(&after, 2 * BLOCK, PAGE), page_of(2));
    assert_eq!(shown(&before, BLOCK, PAGE), page_of(1));
    world.check(&before, 2);
    world.check(&after, 3);
}

#[test]
fn a_transaction_maps_nothing_in_the_span_of_a_reader_that_is_gone() {
    let world = World::new(EngineOptions::default(), SimOptions::default());
    world.check_all();
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.expose_mut(0..BLOCKS * BLOCK).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    (0..BLOCKS).for_each(|block| span.store(block * BLOCK + PAGE, b"new").unwrap());
    assert_eq!((world.copied(), world.engine.memory_use().used_bytes), (BLOCKS, BLOCKS * BLOCK));
    (0..BLOCKS)
        .for_each(|block| assert_eq!(span.load(block * BLOCK..block * BLOCK + PAGE).unwrap(), page_of(block as u64)));
}
