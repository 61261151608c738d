//! One thread reads the faults of a process: a look-up that waits for another machine does not hold it up.

mod common;

use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, Reader};
use bigarray_testing::{Edit, Gated, MemStore, MemStoreOptions, array_of, page_of};

fn first_byte(reader: &Reader) -> u8 {
    // SAFETY: the reader lives, and its array has bytes.
    unsafe { reader.base().unwrap().read_volatile() }
}

#[test]
fn faults_of_another_array_are_answered_while_a_look_up_blocks() {
    let _watchdog = common::watchdog();
    for memory in common::lazy_memories() {
        // Nothing of it can be mapped.
        let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
        let base = store.snapshot().unwrap();
        Edit::commit(&store, &*base, &[Edit::create("a", array_of(1)).page(&*base, 0, 0, 1)]).unwrap();
        let gate = Arc::new(Gated::of_lookups(store.clone()));
        let [blocking, other] = [gate.clone() as Arc<dyn Store>, Arc::new(store)].map(|store| {
            let engine = Engine::new(store, memory.clone(), EngineOptions::default());
            engine.reader(&engine.snapshot().unwrap(), "a").unwrap()
        });
        gate.hold();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| first_byte(&blocking));
            gate.wait_for(1);
            assert_eq!(first_byte(&other), page_of(1)[0]);
            assert!(!waits.is_finished());
            gate.open();
            assert_eq!(waits.join().unwrap(), page_of(1)[0]);
        });
    }
}
