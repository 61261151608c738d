//! Faults in blocks that are in memory: as a rule they only come late. So many that a part of the block must be gone are
//! answered by loading it again, and at last by poison, since the thread would fault for ever.

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, PAGE, Reader};
use bigarray_testing::{Edit, MemStore, SimMemory, SimOp, SimSpan, array_of, page_of};

/// As `core/src/pager/load/progress.rs` has them.
const LOAD_AGAIN: usize = 1 << 10;
const MOST: usize = 1 << 16;

struct World {
    memory: SimMemory,
    span: Arc<SimSpan>,
    _reader: Reader,
}

impl World {
    /// A copy of block 0 of an array, unchanged, is in memory.
    fn new() -> World {
        let store = MemStore::new();
        let base = store.snapshot().unwrap();
        Edit::commit(&store, &*base, &[Edit::create("a", array_of(2)).page(&*base, 0, 0, 7)]).unwrap();
        let memory = SimMemory::new(store.file());
        let options = EngineOptions { copy: true, ..EngineOptions::default() };
        let engine = Engine::new(Arc::new(store), Arc::new(memory.clone()), options);
        let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
        let span = memory.span_at(reader.base().unwrap());
        assert!(span.load(0..PAGE).unwrap() == page_of(7));
        World { memory, span, _reader: reader }
    }

    fn late_faults(&self, n: usize) {
        (0..n).for_each(|_| self.span.late_fault(0));
    }
}

#[test]
fn late_faults_change_nothing() {
    let world = World::new();
    world.late_faults(LOAD_AGAIN - 1);
    assert_eq!((world.memory.count(SimOp::Evict), world.memory.count(SimOp::Copy)), (0, 1));
    assert!(world.span.load(0..PAGE).unwrap() == page_of(7));
}

#[test]
fn a_block_that_keeps_faulting_is_loaded_again() {
    let world = World::new();
    world.late_faults(LOAD_AGAIN);
    world.memory.run_jobs();
    assert_eq!((world.memory.count(SimOp::Evict), world.memory.count(SimOp::Copy)), (1, 2));
    assert!(world.span.load(0..PAGE).unwrap() == page_of(7));
}

#[test]
fn a_block_that_cannot_be_loaded_again_is_poisoned_at_last_and_stays_so() {
    let world = World::new();
    let attempts = MOST / LOAD_AGAIN;
    // The last attempt could succeed, and comes with the fault that poisons the block.
    (0..attempts - 1).for_each(|nth| world.memory.fail(SimOp::Evict, nth));
    world.late_faults(MOST);
    assert!(world.span.load(0..PAGE).is_err());
    world.late_faults(2 * LOAD_AGAIN);
    world.memory.run_jobs();
    assert!(world.span.load(0..PAGE).is_err(), "poison stays");
}
