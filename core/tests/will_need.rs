//! Storage is told of what will be asked for, further ahead than loads are queued.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bigarray_core::store::Store;
use bigarray_core::{Access, ArrayId, BlockSize, Engine, EngineOptions, Reader, Result};
use bigarray_testing::{Adapter, Edit, MemStore, MemStoreOptions, SimMemory, SimOptions, StoreOp, Watch, array_of};

const BLOCK: usize = BlockSize::MIN.bytes();

/// Of the array, which has more blocks than storage is told of at once.
const BLOCKS: usize = 1100;

/// Blocks that storage is told of ahead of a reader.
const TOLD: u64 = (64 << 20) / BLOCK as u64;

/// Keeps what storage is told: from which block on, and up to which.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(u64, u64)>>>);

impl Told {
    fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Watch for Told {
    fn before(&self, _: StoreOp, _: usize) -> Result<()> {
        Ok(())
    }

    fn will_need(&self, _: ArrayId, blocks: &Range<u64>) {
        self.0.lock().unwrap().push((blocks.start, blocks.end));
    }
}

struct World {
    memory: SimMemory,
    told: Told,
    engine: Arc<Engine>,
}

impl World {
    fn new(delivers_faults: bool) -> World {
        let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
        let base = store.snapshot().unwrap();
        let edit = (0..BLOCKS as u64).fold(Edit::create("a", array_of(BLOCKS)), |edit, n| edit.page(&*base, n, 0, n));
        Edit::commit(&store, &*base, &[edit]).unwrap();
        let memory = SimMemory::with(store.file(), SimOptions { delivers_faults, ..SimOptions::default() });
        let told = Told::default();
        let store = Arc::new(Adapter::wrap(store, told.clone()));
        let engine = Engine::new(store, Arc::new(memory.clone()), EngineOptions::default());
        World { memory, told, engine }
    }

    fn reader(&self) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), "a").unwrap()
    }

    fn touch(&self, reader: &Reader, block: usize) {
        self.memory.span_at(reader.base().unwrap()).load(block * BLOCK..block * BLOCK + 1).unwrap();
    }
}

#[test]
fn ahead_of_a_reader_in_order_storage_is_told_of_each_block_once() {
    let world = World::new(true);
    let reader = world.reader();
    reader.advise(Access::Sequential);
    world.touch(&reader, 0);
    assert_eq!(world.told.take(), [(1, 1 + TOLD)]);
    (1..BLOCKS).for_each(|block| world.touch(&reader, block));
    let told = world.told.take();
    assert!(told.is_sorted_by(|(_, end), (start, _)| end == start), "{told:?}");
    assert_eq!((told[0].0, told[told.len() - 1].1), (1 + TOLD, BLOCKS as u64));
}

#[test]
fn a_reader_that_jumps_says_nothing() {
    let world = World::new(true);
    let reader = world.reader();
    [900, 500, 100].iter().for_each(|block| world.touch(&reader, *block));
    assert_eq!(world.told.take(), []);
    reader.advise(Access::Random);
    (600..700).for_each(|block| world.touch(&reader, block));
    assert_eq!(world.told.take(), []);
}

#[test]
fn prefetch_says_all_that_it_will_load_at_once() {
    let world = World::new(true);
    let reader = world.reader();
    world.touch(&reader, 900);
    reader.prefetch(800 * BLOCK..1000 * BLOCK).unwrap();
    assert_eq!(world.told.take(), [(800, 900), (901, 1000)]);
    reader.prefetch(800 * BLOCK..1000 * BLOCK).unwrap();
    assert_eq!(world.told.take(), []);
}

#[test]
fn where_arrays_are_loaded_when_they_are_opened_storage_is_told_of_all() {
    let world = World::new(false);
    let _reader = world.reader();
    assert_eq!(world.told.take(), [(0, BLOCKS as u64)]);
}
