//! Loads that wait for storage wait side by side, and delay only the threads that need them.

use std::sync::Arc;
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_core::{Access, BlockSize, Engine, EngineOptions, PAGE, Reader};
use bigarray_testing::{Edit, Gated, MemStore, MemStoreOptions, SimMemory, SimOptions, array_of, page_of};

const BLOCK: usize = BlockSize::MIN.bytes();
const THREADS: usize = 8;
const BLOCKS: usize = 2 * THREADS;

struct World {
    engine: Arc<Engine>,
    memory: SimMemory,
    store: Arc<Gated<MemStore>>,
}

impl World {
    /// Arrays "0", "1", … of which the first page of block n is `page_of(n)`. Blocks of even numbers must be read, the
    /// others can be mapped. Reads wait until `opens_at` of them are under way.
    fn new(arrays: usize, opens_at: usize, options: EngineOptions, delivers_faults: bool) -> World {
        let sim = SimOptions { delivers_faults, ..SimOptions::default() };
        World::with(arrays, opens_at, options, 2, sim)
    }

    /// An array "0" of which every block must be read, and what is read ahead stays queued. The gate is open.
    fn read_ahead() -> World {
        World::read_ahead_of(1, MAPS)
    }

    /// The same with several arrays.
    fn read_ahead_of(arrays: usize, options: EngineOptions) -> World {
        let sim = SimOptions { leaves_jobs: true, ..SimOptions::default() };
        let world = World::with(arrays, usize::MAX, options, 1, sim);
        world.store.open();
        world
    }

    fn with(arrays: usize, opens_at: usize, options: EngineOptions, produced_every: u64, sim: SimOptions) -> World {
        let store = MemStore::with(MemStoreOptions { produced_every, ..MemStoreOptions::default() });
        let base = store.snapshot().unwrap();
        for name in 0..arrays {
            let edit = Edit::create(&name.to_string(), array_of(BLOCKS));
            let edit = (0..BLOCKS as u64).fold(edit, |edit, n| edit.page(&*base, n, 0, n));
            Edit::commit(&store, &*base, &[edit]).unwrap();
        }
        // Longer than the gate's, whose reads go on at last.
        let sim = SimOptions { patience: Duration::from_secs(120), ..sim };
        let memory = SimMemory::with(store.file(), sim);
        let store = Arc::new(Gated::new(store, opens_at));
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), options);
        World { engine, memory, store }
    }

    fn reader(&self, array: usize) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), &array.to_string()).unwrap()
    }

    #[track_caller]
    fn check(&self, reader: &Reader, block: usize, tag: u64) {
        let start = block * BLOCK;
        let bytes = self.memory.span_at(reader.base().unwrap()).load(start..start + PAGE).unwrap();
        assert!(bytes == page_of(tag), "block {block}");
    }
}

fn in_threads(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

const MAPS: EngineOptions = EngineOptions {
    copy: false,
    verify: false,
    budget_bytes: usize::MAX,
    spill_under_views: true,
    patience: Duration::ZERO,
};

/// How blocks come to be read, and which.
fn reading() -> [(EngineOptions, [usize; THREADS]); 3] {
    let even = std::array::from_fn(|thread| 2 * thread);
    let neighbours = std::array::from_fn(|thread| thread);
    [
        (MAPS, even),
        (EngineOptions { copy: true, ..MAPS }, neighbours),
        (EngineOptions { verify: true, ..MAPS }, neighbours),
    ]
}

#[test]
fn faults_in_blocks_that_must_be_read_load_them_side_by_side() {
    for (options, blocks) in reading() {
        let world = World::new(1, THREADS, options, true);
        let reader = world.reader(0);
        world.memory.with_resolvers(THREADS, || {
            in_threads(|thread| world.check(&reader, blocks[thread], blocks[thread] as u64));
        });
        assert_eq!(world.store.most_reads(), THREADS, "{options:?}");
    }
}

#[test]
fn prefetches_by_several_threads_load_side_by_side() {
    for (options, blocks) in reading() {
        let world = World::new(1, THREADS, options, true);
        let reader = world.reader(0);
        in_threads(|thread| reader.prefetch(blocks[thread] * BLOCK..blocks[thread] * BLOCK + 1).unwrap());
        assert_eq!(world.store.most_reads(), THREADS, "{options:?}");
        (0..BLOCKS).for_each(|block| world.check(&reader, block, block as u64));
    }
}

#[test]
fn arrays_that_are_loaded_when_they_are_opened_are_loaded_side_by_side() {
    let world = World::new(THREADS, THREADS, MAPS, false);
    in_threads(|thread| world.check(&world.reader(thread), 2 * thread, 2 * thread as u64));
    assert_eq!(world.store.most_reads(), THREADS);
}

#[test]
fn a_slow_load_holds_up_neither_mapped_blocks_nor_other_arrays_nor_commits() {
    let world = World::new(2, usize::MAX, MAPS, true);
    let reader = world.reader(0);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| world.check(&reader, 4, 4));
        world.store.wait_for(1);
        let other = world.reader(1);
        for block in (1..BLOCKS).step_by(2) {
            world.check(&reader, block, block as u64);
            world.check(&other, block, block as u64);
        }
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.open("1").unwrap();
        writer.expose_mut(BLOCK..2 * BLOCK).unwrap();
        world.memory.span_at(writer.base().unwrap()).store(BLOCK, &page_of(100)).unwrap();
        drop(writer);
        transaction.commit(None).unwrap();
        world.check(&world.reader(1), 1, 100);
        assert!(!slow.is_finished());
        world.store.open();
        slow.join().unwrap();
    });
    assert_eq!(world.store.most_reads(), 1);
}

#[test]
fn what_stands_in_a_queue_keeps_no_state() {
    let world = World::read_ahead();
    let snapshot = world.engine.snapshot().unwrap();
    let reader = world.engine.reader(&snapshot, "0").unwrap();
    reader.advise(Access::Sequential);
    world.check(&reader, 0, 0);
    assert_ne!(world.memory.jobs(), 0);
    let state = Arc::downgrade(&snapshot);
    drop((reader, snapshot));
    assert_eq!(state.strong_count(), 0);
    world.memory.run_jobs();
}

#[test]
fn releasing_a_state_waits_for_its_running_loads() {
    let world = World::read_ahead();
    let snapshot = world.engine.snapshot().unwrap();
    let reader = world.engine.reader(&snapshot, "0").unwrap();
    reader.advise(Access::Sequential);
    world.check(&reader, 0, 0);
    assert_ne!(world.memory.jobs(), 0);
    world.store.hold();
    std::thread::scope(|scope| {
        scope.spawn(|| world.memory.run_jobs());
        world.store.wait_for(1);
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50)); // so that it is let go of meanwhile
            world.store.open();
        });
        let state = Arc::downgrade(&snapshot);
        drop((reader, snapshot));
        assert_eq!(state.strong_count(), 0);
    });
}

#[test]
fn readahead_takes_no_memory_over_the_budget_where_nothing_can_be_evicted() {
    let budget_blocks = BLOCKS / 2;
    let options = EngineOptions { budget_bytes: budget_blocks * BLOCK, spill_under_views: false, ..MAPS };
    let world = World::read_ahead_of(2, options);
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("1").unwrap();
    writer.expose_mut(0..budget_blocks * BLOCK).unwrap();
    let view = world.memory.span_at(writer.base().unwrap());
    (0..budget_blocks).for_each(|block| view.store(block * BLOCK, &page_of(100)).unwrap());
    let reader = world.reader(0);
    reader.advise(Access::Sequential);
    world.check(&reader, 0, 0);
    assert_ne!(world.memory.jobs(), 0);
    let used_bytes = world.engine.memory_use().used_bytes;
    assert!(used_bytes > options.budget_bytes, "the block that is waited for comes over the budget");
    world.memory.run_jobs();
    assert_eq!(world.engine.memory_use().used_bytes, used_bytes);
    // What was not loaded early is loaded when it is touched.
    (0..BLOCKS).for_each(|block| world.check(&reader, block, block as u64));
}
