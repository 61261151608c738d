//! Look-ups that wait for another machine hold up the threads that need them, and no other.

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{BlockSize, Engine, EngineOptions, PAGE, Reader};
use bigarray_testing::{Edit, Gated, MemStore, MemStoreOptions, SimMemory, array_of, page_of};

const BLOCK: usize = BlockSize::MIN.bytes();

/// Two engines over one memory and one store, of which one has look-ups that block.
struct World {
    memory: SimMemory,
    gate: Arc<Gated<MemStore>>,
    blocking: Arc<Engine>,
    other: Arc<Engine>,
}

impl World {
    /// An array "a" of which the first page of block n is `page_of(n)`.
    fn new() -> World {
        let store = MemStore::with(MemStoreOptions { produced_every: 2, ..MemStoreOptions::default() });
        let base = store.snapshot().unwrap();
        let edit = (0..4).fold(Edit::create("a", array_of(4)), |edit, n| edit.page(&*base, n, 0, n));
        Edit::commit(&store, &*base, &[edit]).unwrap();
        let memory = SimMemory::new(store.file());
        let gate = Arc::new(Gated::of_lookups(store.clone()));
        let blocking = Engine::new(gate.clone(), Arc::new(memory.clone()), EngineOptions::default());
        let other = Engine::new(Arc::new(store), Arc::new(memory.clone()), EngineOptions::default());
        World { memory, gate, blocking, other }
    }

    #[track_caller]
    fn check(&self, reader: &Reader, block: usize) {
        let start = block * BLOCK;
        let bytes = self.memory.span_at(reader.base().unwrap()).load(start..start + PAGE).unwrap();
        assert!(bytes == page_of(block as u64), "block {block}");
    }
}

fn reader(engine: &Arc<Engine>) -> Reader {
    engine.reader(&engine.snapshot().unwrap(), "a").unwrap()
}

#[test]
fn a_look_up_that_blocks_holds_up_neither_other_arrays_nor_other_blocks_that_are_there() {
    let world = World::new();
    let (blocking, other) = (reader(&world.blocking), reader(&world.other));
    world.check(&blocking, 2);
    world.gate.hold();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| [0, 1].map(|block| world.check(&blocking, block)));
        world.gate.wait_for(1);
        (0..4).for_each(|block| world.check(&other, block));
        world.check(&blocking, 2);
        assert!(!slow.is_finished());
        world.gate.open();
        slow.join().unwrap();
    });
    (0..4).for_each(|block| world.check(&blocking, block));
}

#[test]
fn a_look_up_that_blocks_while_an_array_is_opened_holds_up_no_fault_of_its_span() {
    let world = World::new();
    // A span that idles, whose blocks are compared when it is used again.
    let first = reader(&world.blocking);
    (0..4).for_each(|block| world.check(&first, block));
    let base = first.base().unwrap();
    drop(first);
    let now = world.other.snapshot().unwrap();
    Edit::commit(&*world.gate, &*now, &[Edit::of(&*now, "a").page(&*now, 3, 0, 3)]).unwrap();
    world.gate.hold();
    std::thread::scope(|scope| {
        let opens = scope.spawn(|| reader(&world.blocking));
        world.gate.wait_for(1);
        // A message that came late, of a page that the span has no more.
        let span = world.memory.span_at(base);
        let touched = scope.spawn(move || span.load(4 * BLOCK..4 * BLOCK + 1));
        assert!(touched.join().unwrap().is_err(), "the span shows nothing yet");
        assert!(!opens.is_finished());
        world.gate.open();
        let again = opens.join().unwrap();
        assert_eq!(again.base().unwrap(), base, "the same span");
        (0..4).for_each(|block| world.check(&again, block));
    });
}
