//! Storage that is unavailable for a while: faults wait for it, and what can return an error does not.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bigarray_core::sync::Mutex;
use bigarray_core::{Engine, EngineOptions, Error, ErrorKind, Reader, Result};
use bigarray_testing::{Adapter, Signal, SimMemory, SimOp, SimOptions, StoreOp, Watch};

use support::{BLOCK, World};

const PATIENCE: Duration = Duration::from_secs(60);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Byte 5 of each block of the array is its number and one; every block has to be read.
fn world() -> World {
    let options = EngineOptions { copy: true, patience: PATIENCE, ..EngineOptions::default() };
    let world = World::of(SimOptions::default(), options, |world, transaction| {
        (0..3).for_each(|block| world.write(transaction, block * BLOCK + 5, &[block as u8 + 1]));
    });
    World { engine: Engine::new(world.failing.clone(), Arc::new(world.memory.clone()), options), ..world }
}

/// The next `count` calls of `op` find the store unavailable.
fn is_unavailable(world: &World, op: StoreOp, count: usize) {
    (0..count).for_each(|nth| world.failing.fail(op, nth, ErrorKind::Unavailable));
}

fn byte(world: &World, reader: &Reader, block: usize) -> Result<u8, Signal> {
    let at = block * BLOCK + 5;
    world.memory.span_at(reader.base().unwrap()).load(at..at + 1).map(|bytes| bytes[0])
}

#[test]
fn a_fault_tries_again_until_storage_answers() {
    // The monitor asks first, and then a job: a pause for two look-ups.
    for (op, pauses) in [(StoreOp::Read, 40), (StoreOp::Blocks, 20)] {
        let world = world();
        let reader = world.reader();
        is_unavailable(&world, op, 40);
        assert_eq!(byte(&world, &reader, 0), Ok(1));
        assert_eq!(world.failing.pending(), 0);
        assert_eq!(world.memory.count(SimOp::Pause), pauses);
        assert_eq!(world.memory.count(SimOp::Poison), 0);
    }
}

#[test]
fn once_patience_is_over_the_block_is_poisoned() {
    let world = world();
    let reader = world.reader();
    let tries = (PATIENCE.as_millis() / PAUSE.as_millis()) as usize;
    is_unavailable(&world, StoreOp::Read, tries + 10);
    assert_eq!(byte(&world, &reader, 0), Err(Signal::Bus));
    assert_eq!(world.memory.count(SimOp::Pause), tries);
    // The others are tried at once, and once.
    assert_eq!(byte(&world, &reader, 1), Err(Signal::Bus));
    assert_eq!(world.memory.count(SimOp::Pause), tries);
    let error = reader.prefetch(0..1).unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("given up after 60s"), "{error}");
    assert!(error.to_string().contains("array \"a\""), "{error}");
}

#[test]
fn patience_begins_anew_when_a_load_succeeds() {
    let world = world();
    let reader = world.reader();
    for block in 0..3 {
        is_unavailable(&world, StoreOp::Read, 1);
        world.memory.pass(PATIENCE / 2);
        assert_eq!(byte(&world, &reader, block), Ok(block as u8 + 1));
        world.memory.pass(PATIENCE);
    }
}

/// As where the process was stopped meanwhile, or the thread that waited is gone.
#[test]
fn patience_begins_anew_where_nothing_was_tried_for_long() {
    let world = world();
    let reader = world.reader();
    let view = world.memory.span_at(reader.base().unwrap());
    is_unavailable(&world, StoreOp::Read, 1);
    view.late_fault(0);
    world.memory.run_jobs();
    assert_eq!((world.failing.pending(), world.memory.count(SimOp::Pause)), (0, 1));
    world.memory.pass(2 * PATIENCE);
    is_unavailable(&world, StoreOp::Read, 1);
    assert_eq!(byte(&world, &reader, 1), Ok(2));
}

/// Reads are unavailable, and each takes this long.
struct SlowOutage {
    memory: SimMemory,
    lasts: Arc<Mutex<Vec<Duration>>>,
}

impl Watch for SlowOutage {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        if op != StoreOp::Read {
            return Ok(());
        }
        let Some(lasts) = self.lasts.lock().pop() else { return Ok(()) };
        self.memory.pass(lasts);
        Err(Error::new(ErrorKind::Unavailable, "simulated outage"))
    }
}

#[test]
fn a_load_in_which_the_process_was_stopped_uses_up_half_of_the_patience() {
    for (stops, end) in [(1, Ok(1)), (2, Err(Signal::Bus))] {
        let world = world();
        let mut lasts = vec![Duration::from_millis(1); 3];
        lasts.extend(vec![100 * PATIENCE; stops]);
        // The last one is the first to be met.
        lasts.push(Duration::from_millis(1));
        let outage = SlowOutage { memory: world.memory.clone(), lasts: Arc::default() };
        let of_outage = outage.lasts.clone();
        let store = Arc::new(Adapter::wrap(world.store.clone(), outage));
        let options = EngineOptions { copy: true, patience: PATIENCE, ..EngineOptions::default() };
        let engine = Engine::new(store, Arc::new(world.memory.clone()), options);
        let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
        *of_outage.lock() = lasts;
        assert_eq!(byte(&world, &reader, 0), end);
    }
}

#[test]
fn prefetch_and_commits_say_at_once_that_storage_is_unavailable() {
    let world = world();
    let reader = world.reader();
    is_unavailable(&world, StoreOp::Read, 1);
    assert!(reader.prefetch(0..1).unwrap_err().is_unavailable());
    assert_eq!(byte(&world, &reader, 0), Ok(1), "it poisons nothing");
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, 5, &[9]);
    is_unavailable(&world, StoreOp::Commit, 1);
    assert!(transaction.commit(None).unwrap_err().is_unavailable());
    let transaction = world.engine.begin().unwrap();
    world.write(&transaction, 5, &[9]);
    // What is stored is read to find what differs.
    is_unavailable(&world, StoreOp::Read, 1);
    assert!(transaction.commit(None).unwrap_err().is_unavailable());
    assert_eq!(world.memory.count(SimOp::Pause), 0);
    assert_eq!(byte(&world, &world.reader(), 0), Ok(1));
}

/// Reads find the store unavailable while this is set, and are counted.
#[derive(Clone, Default)]
struct Outage(Arc<(AtomicBool, AtomicUsize)>);

impl Outage {
    fn set(&self, is_down: bool) {
        self.0.0.store(is_down, Ordering::Relaxed);
    }

    fn failed_reads(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl Watch for Outage {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        if op == StoreOp::Read && self.0.0.load(Ordering::Relaxed) {
            self.0.1.fetch_add(1, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Unavailable, "simulated outage"));
        }
        Ok(())
    }
}

#[test]
fn what_cannot_be_compared_just_now_stays_in_memory_and_is_committed() {
    let world = World::new(|world, transaction| {
        (0..2).for_each(|block| world.write(transaction, block * BLOCK + 5, &[block as u8 + 1]));
    });
    let outage = Outage::default();
    let store = Arc::new(Adapter::wrap(world.store.clone(), outage.clone()));
    let options = EngineOptions { copy: true, budget_bytes: 2 * BLOCK, ..EngineOptions::default() };
    let world = World { engine: Engine::new(store, Arc::new(world.memory.clone()), options), ..world };
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.expose_mut(0..3 * BLOCK).unwrap();
    let view = world.memory.span_at(writer.base().unwrap());
    view.store(5, &[11]).unwrap();
    view.store(BLOCK + 5, &[12]).unwrap();
    outage.set(true);
    // A hole, which takes no read. To spill one of the others does: what is stored says what was changed.
    view.store(2 * BLOCK + 5, &[13]).unwrap();
    assert!(world.engine.memory_use().used_bytes > 2 * BLOCK);
    // One for room, and one by the thread that trims: not one a block, since each may take as long as a time-out.
    assert!((1..=2).contains(&outage.failed_reads()), "{} reads failed", outage.failed_reads());
    assert!(writer.flush().unwrap_err().is_unavailable());
    writer.expose_mut_deferring_error(0..3 * BLOCK);
    outage.set(false);
    drop(writer);
    transaction.commit(None).unwrap();
    let reader = world.reader();
    assert_eq!([0, 1, 2].map(|block| byte(&world, &reader, block)), [Ok(11), Ok(12), Ok(13)]);
}
