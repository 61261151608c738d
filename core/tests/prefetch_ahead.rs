//! A prefetch that no thread waits for yet: what it loads, where it ends, what becomes of failures, and what it leaves to
//! others.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, ErrorKind, Reader, Result};
use bigarray_testing::{
    Adapter, Edit, Gated, MemStore, MemStoreOptions, SimMemory, SimOp, SimOptions, StoreOp, Watch, array_of, page_of,
};
use support::{BLOCK, World};

/// All of "a" is stored.
fn stored(options: EngineOptions) -> World {
    let fill = |world: &World, transaction: &_| world.write(transaction, 0, &[7; 3 * BLOCK]);
    World::of(SimOptions::default(), options, fill)
}

fn copying() -> EngineOptions {
    EngineOptions { copy: true, ..EngineOptions::default() }
}

const ALL: std::ops::Range<usize> = 0..3 * BLOCK;

#[test]
fn the_caller_goes_on_while_jobs_load_the_range() {
    let world = stored(copying());
    let reader = world.reader();
    let prefetch = reader.prefetch_ahead(0..2 * BLOCK).unwrap();
    assert!(!prefetch.is_done());
    assert_eq!(reader.resident_bytes(ALL).unwrap(), 0);
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert!(prefetch.is_done());
    assert_eq!(reader.resident_bytes(0..2 * BLOCK).unwrap(), 2 * BLOCK);
    assert_eq!(reader.resident_bytes(2 * BLOCK..3 * BLOCK).unwrap(), 0);
}

#[test]
fn what_is_mapped_is_read_by_its_file_and_the_span_is_not_touched() {
    for delivers_faults in [true, false] {
        let fill = |world: &World, transaction: &_| world.write(transaction, 0, &[7; 3 * BLOCK]);
        let world = World::with(SimOptions { delivers_faults, ..SimOptions::default() }, fill);
        let reader = world.reader();
        let prefetch = reader.prefetch_ahead(BLOCK..3 * BLOCK).unwrap();
        world.memory.run_jobs();
        prefetch.wait().unwrap();
        assert_eq!(world.memory.count(SimOp::ReadIn), 0);
        assert!(world.memory.count(SimOp::ReadAhead) > 0);
        assert_eq!(reader.resident_bytes(BLOCK..3 * BLOCK).unwrap(), 2 * BLOCK);
        assert_eq!(reader.resident_bytes(0..BLOCK).unwrap(), 0);
    }
}

#[test]
fn dropping_the_handle_ends_nothing() {
    let world = stored(copying());
    let reader = world.reader();
    drop(reader.prefetch_ahead(ALL).unwrap());
    world.memory.run_jobs();
    assert_eq!(reader.resident_bytes(ALL).unwrap(), 3 * BLOCK);
}

#[test]
fn a_cancelled_prefetch_ends_without_an_error() {
    let world = stored(copying());
    let reader = world.reader();
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    prefetch.cancel();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert_eq!(reader.resident_bytes(ALL).unwrap(), 0);
}

#[test]
fn to_wait_for_a_cancelled_prefetch_is_not_to_wait_for_its_queued_turns() {
    let world = stored(copying());
    let reader = world.reader();
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    assert!(!prefetch.is_done());
    prefetch.cancel();
    assert!(prefetch.is_done());
    prefetch.wait().unwrap();
    assert!(world.memory.jobs() > 0);
    world.memory.run_jobs();
    assert_eq!(reader.resident_bytes(ALL).unwrap(), 0);
}

#[test]
fn that_no_fault_is_answered_any_more_is_a_failure() {
    let world = stored(copying());
    let reader = world.reader();
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    world.memory.fail_faults("as the test asks");
    world.memory.run_jobs();
    let error = prefetch.wait().unwrap_err();
    assert!(error.to_string().contains("as the test asks"), "{error}");
}

/// Reads of it panic.
struct Panics;

impl Watch for Panics {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        assert!(op != StoreOp::Read, "storage panics, as the test asks");
        Ok(())
    }
}

/// The thread that waits must not wait for turns that will never end.
#[test]
fn a_panic_within_a_turn_is_a_failure() {
    let plain = MemStore::new();
    let base = plain.snapshot().unwrap();
    Edit::commit(&plain, &*base, &[Edit::create("a", array_of(3)).block(&*base, 1, 7)]).unwrap();
    let memory = SimMemory::new(plain.file());
    let engine = Engine::new(Arc::new(Adapter::wrap(plain, Panics)), Arc::new(memory.clone()), copying());
    let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
    let prefetch = reader.prefetch_ahead(BLOCK..2 * BLOCK).unwrap();
    let mut panics = 0;
    while memory.jobs() > 0 {
        panics += usize::from(catch_unwind(AssertUnwindSafe(|| memory.run_jobs())).is_err());
    }
    assert_eq!(panics, 1);
    assert!(prefetch.is_done());
    let error = prefetch.wait().unwrap_err();
    assert!(error.is_io() && error.to_string().contains("panicked"), "{error}");
    // What the turn had lent is given back: letting go of the span waits for that.
    drop(reader);
}

#[test]
fn a_prefetch_of_nothing_is_done() {
    let world = stored(copying());
    let prefetch = world.reader().prefetch_ahead(BLOCK..BLOCK).unwrap();
    assert!(prefetch.is_done());
    prefetch.wait().unwrap();
    assert_eq!(world.memory.jobs(), 0);
}

#[test]
fn a_failure_is_a_value_and_poisons_nothing() {
    for op in [StoreOp::Blocks, StoreOp::Read] {
        let world = stored(copying());
        let reader = world.reader();
        world.failing.fail(op, 1, ErrorKind::Corrupt);
        let prefetch = reader.prefetch_ahead(ALL).unwrap();
        world.memory.run_jobs();
        let error = prefetch.wait().unwrap_err();
        assert!(error.is_corrupt() && error.to_string().contains("\"a\""), "{error}");
        assert_eq!(prefetch.wait().unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!((world.memory.count(SimOp::Poison), world.engine.metrics().blocks_poisoned), (0, 0));
        reader.prefetch(ALL).unwrap();
        assert_eq!(world.memory.span_at(reader.base().unwrap()).load(ALL).unwrap(), [7; 3 * BLOCK]);
    }
}

#[test]
fn storage_that_is_unavailable_is_a_value_too() {
    let world = stored(copying());
    let reader = world.reader();
    world.failing.fail(StoreOp::Read, 0, ErrorKind::Unavailable);
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    world.memory.run_jobs();
    assert!(prefetch.wait().unwrap_err().is_unavailable());
    assert_eq!(world.memory.span_at(reader.base().unwrap()).load(0..1).unwrap(), [7]);
}

#[test]
fn a_file_that_cannot_be_read_ahead_is_a_failure() {
    let world = stored(EngineOptions::default());
    let reader = world.reader();
    world.memory.fail(SimOp::ReadAhead, 0);
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    world.memory.run_jobs();
    assert_eq!(prefetch.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(world.memory.span_at(reader.base().unwrap()).load(ALL).unwrap(), [7; 3 * BLOCK]);
}

#[test]
fn what_was_poisoned_before_is_a_failure() {
    let world = stored(copying());
    let reader = world.reader();
    let span = world.memory.span_at(reader.base().unwrap());
    world.failing.fail(StoreOp::Read, 0, ErrorKind::Corrupt);
    span.load(BLOCK..BLOCK + 1).unwrap_err();
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    world.memory.run_jobs();
    assert!(prefetch.wait().unwrap_err().is_corrupt());
}

#[test]
fn it_ends_without_an_error_when_the_array_is_closed_and_keeps_nothing_of_it() {
    let world = stored(copying());
    let snapshot = world.engine.snapshot().unwrap();
    let held = Arc::downgrade(&snapshot);
    let reader = world.engine.reader(&snapshot, "a").unwrap();
    let prefetch = reader.prefetch_ahead(ALL).unwrap();
    drop((reader, snapshot));
    // The store keeps the state that is its newest, until there is another.
    let transaction = world.engine.begin().unwrap();
    drop(transaction.create("b", array_of(1)).unwrap());
    transaction.commit(None).unwrap();
    assert_eq!(held.strong_count(), 0, "a queued job keeps the snapshot");
    // The same span shows another state by now.
    let again = world.reader();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert_eq!(again.resident_bytes(ALL).unwrap(), 0);
}

#[test]
fn jobs_that_are_never_run_end_with_the_memory() {
    let world = stored(copying());
    let prefetch = world.reader().prefetch_ahead(ALL).unwrap();
    assert!(!prefetch.is_done());
    drop(world);
    assert!(prefetch.is_done());
}

#[test]
fn it_ends_when_its_transaction_does_or_the_array_becomes_shorter() {
    let world = stored(copying());
    let mut waiting = Vec::new();
    for round in 0..3 {
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.open("a").unwrap();
        waiting.push(writer.prefetch_ahead(ALL).unwrap());
        if round == 2 {
            writer.set_shape(&[BLOCK]).unwrap();
            writer.set_shape(&[3 * BLOCK]).unwrap();
            world.memory.run_jobs();
            assert_eq!(writer.resident_bytes(ALL).unwrap(), 0);
        }
        drop(writer);
        match round {
            0 => transaction.abort(),
            _ => transaction.commit(None).unwrap(),
        }
    }
    world.memory.run_jobs();
    waiting.iter().for_each(|prefetch| prefetch.wait().unwrap());
    let reader = world.reader();
    let bytes = world.memory.span_at(reader.base().unwrap()).load(ALL).unwrap();
    assert!(bytes[..BLOCK].iter().all(|byte| *byte == 7) && bytes[BLOCK..].iter().all(|byte| *byte == 0));
}

#[test]
fn rows_are_counted_from_those_that_were_dropped_at_the_front() {
    let world = stored(copying());
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.drop_front(BLOCK + 5).unwrap();
    let prefetch = writer.prefetch_ahead(BLOCK..2 * BLOCK - 5).unwrap();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert_eq!(writer.resident_bytes(BLOCK - 5..2 * BLOCK - 5).unwrap(), BLOCK);
    assert_eq!(writer.resident_bytes(0..BLOCK - 5).unwrap(), 0);
    drop(writer);
    transaction.commit(None).unwrap();
    let reader = world.reader();
    let prefetch = reader.prefetch_ahead(0..10).unwrap();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert_eq!(reader.resident_bytes(0..BLOCK - 5).unwrap(), BLOCK - 5);
}

#[test]
fn a_transaction_goes_on_writing_while_its_blocks_are_loaded() {
    let world = stored(copying());
    let transaction = world.engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    let prefetch = writer.prefetch_ahead(ALL).unwrap();
    writer.expose_mut(ALL).unwrap();
    let span = world.memory.span_at(writer.base().unwrap());
    span.store(BLOCK + 9, &[8]).unwrap();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    span.store(2 * BLOCK, &[9]).unwrap();
    drop(writer);
    transaction.commit(None).unwrap();
    let reader = world.reader();
    let bytes = world.memory.span_at(reader.base().unwrap()).load(ALL).unwrap();
    assert_eq!((bytes[BLOCK + 9], bytes[2 * BLOCK], bytes[0]), (8, 9, 7));
}

#[test]
fn holes_of_a_transaction_take_no_memory() {
    let world = World::within(EngineOptions { budget_bytes: 2 * BLOCK, ..EngineOptions::default() });
    let transaction = world.engine.begin().unwrap();
    let writer = transaction.open("a").unwrap();
    let prefetch = writer.prefetch_ahead(ALL).unwrap();
    world.memory.run_jobs();
    prefetch.wait().unwrap();
    assert_eq!(world.engine.memory_use().used_bytes, 0);
}

/// Arrays "a" and "b" of so many blocks, of which block n begins with `page_of(n)` and is copied.
struct Two {
    engine: Arc<Engine>,
    memory: SimMemory,
}

impl Two {
    fn of(blocks: usize, budget: usize) -> Two {
        let store = MemStore::new();
        let base = store.snapshot().unwrap();
        let edits = ["a", "b"].map(|name| {
            let edit = Edit::create(name, array_of(blocks));
            (0..blocks as u64).fold(edit, |edit, n| edit.page(&*base, n, 0, n))
        });
        Edit::commit(&store, &*base, &edits).unwrap();
        let memory = SimMemory::new(store.file());
        let options = EngineOptions { copy: true, budget_bytes: budget * BLOCK, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(store), Arc::new(memory.clone()), options);
        Two { engine, memory }
    }

    fn reader(&self, name: &str) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), name).unwrap()
    }

    /// All of `a` ahead of use.
    fn prefetch(&self, a: &Reader) {
        let prefetch = a.prefetch_ahead(0..a.descriptor().nbytes()).unwrap();
        self.memory.run_jobs();
        prefetch.wait().unwrap();
        let used = self.engine.memory_use();
        assert!(used.used_bytes <= used.budget_bytes, "{used:?}");
    }
}

/// How many of `blocks` are in memory.
fn resident(reader: &Reader, blocks: std::ops::Range<usize>) -> usize {
    reader.resident_bytes(blocks.start * BLOCK..blocks.end * BLOCK).unwrap() / BLOCK
}

#[test]
fn it_takes_half_of_the_budget_and_keeps_what_came_first() {
    let world = Two::of(200, 64);
    let a = world.reader("a");
    world.prefetch(&a);
    assert_eq!(resident(&a, 0..200), 32);
    assert_eq!(world.engine.memory_use().blocks_evicted, 0);
}

#[test]
fn blocks_that_were_there_before_do_not_count() {
    let world = Two::of(60, 64);
    let a = world.reader("a");
    a.prefetch(0..30 * BLOCK).unwrap();
    world.prefetch(&a);
    assert_eq!(resident(&a, 0..60), 60);
}

#[test]
fn where_the_budget_is_full_an_eighth_of_it_gives_way_and_what_came_last_stays() {
    let world = Two::of(64, 64);
    let (a, b) = (world.reader("a"), world.reader("b"));
    b.prefetch(0..64 * BLOCK).unwrap();
    world.prefetch(&a);
    assert_eq!((resident(&a, 0..64), resident(&b, 0..64)), (8, 56));
    assert_eq!(resident(&b, 8..64), 56);
}

#[test]
fn what_a_reader_loaded_just_before_or_meanwhile_stays() {
    // The queue of blocks that came once has no others to give.
    let world = Two::of(64, 64);
    let (a, b) = (world.reader("a"), world.reader("b"));
    b.prefetch(0..32 * BLOCK).unwrap();
    let transaction = world.engine.begin().unwrap();
    let mut c = transaction.create("c", array_of(24)).unwrap();
    c.expose_mut(0..24 * BLOCK).unwrap();
    let span = world.memory.span_at(c.base().unwrap());
    (0..24).for_each(|block| span.store(block * BLOCK, &[1]).unwrap());
    let first = a.prefetch_ahead(0..64 * BLOCK).unwrap();
    b.prefetch(32 * BLOCK..40 * BLOCK).unwrap();
    let before = resident(&b, 0..64);
    world.memory.run_jobs();
    first.wait().unwrap();
    // Of the eighth that came last before the prefetch, and of what came since, nothing is gone.
    assert_eq!(resident(&b, 24..40), 16, "of {before}");
    assert!(world.engine.memory_use().used_bytes <= 64 * BLOCK);
}

#[test]
fn a_budget_of_a_block_or_two_is_left_to_others() {
    for budget in [0, 1, 2, 3] {
        let world = Two::of(8, budget);
        let a = world.reader("a");
        let prefetch = a.prefetch_ahead(0..8 * BLOCK).unwrap();
        world.memory.run_jobs();
        prefetch.wait().unwrap();
        assert_eq!(resident(&a, 0..8), budget / 2);
    }
}

#[test]
fn it_loads_beside_faults_of_the_same_blocks() {
    let world = Two::of(200, 1000);
    let a = world.reader("a");
    world.memory.with_resolvers(3, || {
        let prefetch = a.prefetch_ahead(0..200 * BLOCK).unwrap();
        let span = world.memory.span_at(a.base().unwrap());
        for block in (0..200).rev().step_by(7) {
            assert!(span.load(block * BLOCK..block * BLOCK + 1).unwrap() == page_of(block as u64)[..1], "{block}");
        }
        prefetch.wait().unwrap();
        // By then every block is there, whichever thread loaded it.
        assert_eq!(resident(&a, 0..200), 200);
    });
}

/// As many turns as may run at once wait in look-ups.
#[test]
fn a_prefetch_whose_look_ups_block_holds_up_no_fault() {
    let blocks = 400;
    let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
    let base = store.snapshot().unwrap();
    let edit = (0..blocks as u64).fold(Edit::create("a", array_of(blocks)), |edit, n| edit.page(&*base, n, 0, n));
    Edit::commit(&store, &*base, &[edit]).unwrap();
    let memory = SimMemory::new(store.file());
    let gate = Arc::new(Gated::of_lookups(store.clone()));
    let [slow, other] = [gate.clone() as Arc<dyn Store>, Arc::new(store)].map(|store| {
        let engine = Engine::new(store, Arc::new(memory.clone()), EngineOptions::default());
        engine.reader(&engine.snapshot().unwrap(), "a").unwrap()
    });
    gate.hold();
    memory.with_resolvers(4, || {
        let prefetch = slow.prefetch_ahead(0..blocks * BLOCK).unwrap();
        gate.wait_for(2);
        let span = memory.span_at(other.base().unwrap());
        for block in [3, 70, 399] {
            assert!(span.load(block * BLOCK..block * BLOCK + 1).unwrap() == page_of(block as u64)[..1]);
        }
        assert!(!prefetch.is_done());
        gate.open();
        prefetch.wait().unwrap();
    });
    assert_eq!(resident(&slow, 0..blocks), blocks);
}
