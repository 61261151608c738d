//! One thread reads the faults of a process: a look-up that waits for another machine does not hold it up. Nor do those of a
//! prefetch.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, Reader};
use bigarray_testing::{Edit, Gated, MemStore, MemStoreOptions, array_of, page_of};
use bigarray_uffd::UffdMemory;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

fn first_byte(reader: &Reader) -> u8 {
    byte(reader, 0)
}

fn byte(reader: &Reader, at: usize) -> u8 {
    assert!(at < reader.descriptor().nbytes());
    // SAFETY: the reader lives, and its array has that byte.
    unsafe { reader.base().unwrap().add(at).read_volatile() }
}

/// An array "a" of which the first page of block n is `page_of(n)`, and nothing can be mapped: in a store whose look-ups wait
/// at the gate, and in one where they do not.
fn gated_and_not(memory: &Arc<UffdMemory>, blocks: usize) -> (Arc<Gated<MemStore>>, [Reader; 2]) {
    let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
    let base = store.snapshot().unwrap();
    let edit = (0..blocks as u64).fold(Edit::create("a", array_of(blocks)), |edit, n| edit.page(&*base, n, 0, n));
    Edit::commit(&store, &*base, &[edit]).unwrap();
    let gate = Arc::new(Gated::of_lookups(store.clone()));
    let readers = [gate.clone() as Arc<dyn Store>, Arc::new(store)].map(|store| {
        let engine = Engine::new(store, memory.clone(), EngineOptions::default());
        engine.reader(&engine.snapshot().unwrap(), "a").unwrap()
    });
    (gate, readers)
}

#[test]
fn faults_of_another_array_are_answered_while_a_look_up_blocks() {
    let _watchdog = common::watchdog();
    for memory in common::lazy_memories() {
        let (gate, [blocking, other]) = gated_and_not(&memory, 1);
        gate.hold();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| first_byte(&blocking));
            gate.wait_for(1);
            assert_eq!(first_byte(&other), page_of(0)[0]);
            assert!(!waits.is_finished());
            gate.open();
            assert_eq!(waits.join().unwrap(), page_of(0)[0]);
        });
    }
}

#[test]
fn faults_are_answered_while_all_look_ups_of_prefetches_block() {
    let _watchdog = common::watchdog();
    for memory in common::lazy_memories() {
        // More parts than there are resolvers, in one prefetch and in several.
        let blocks = 12 * 32;
        let (gate, [blocking, other]) = gated_and_not(&memory, blocks);
        gate.hold();
        let prefetches: Vec<_> = (0..3).map(|_| blocking.prefetch_ahead(0..blocks * common::BLOCK).unwrap()).collect();
        gate.wait_for(1);
        std::thread::scope(|scope| {
            for first in 0..4 {
                let other = &other;
                scope.spawn(move || {
                    for block in (first..blocks).step_by(4) {
                        assert_eq!(byte(other, block * common::BLOCK), page_of(block as u64)[0]);
                    }
                });
            }
        });
        assert!(prefetches.iter().all(|prefetch| !prefetch.is_done()));
        gate.open();
        prefetches.iter().for_each(|prefetch| prefetch.wait().unwrap());
        let all = 0..blocks * common::BLOCK;
        assert_eq!(blocking.resident_bytes(all.clone()).unwrap(), all.len());
    }
}

static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn signals_arrive_while_a_thread_waits_for_a_prefetch() {
    let _watchdog = common::watchdog();
    let action = SigAction::new(SigHandler::Handler(count_signal), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler touches an atomic.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    for memory in common::lazy_memories() {
        let (gate, [blocking, _]) = gated_and_not(&memory, 4);
        gate.hold();
        let prefetch = blocking.prefetch_ahead(0..4 * common::BLOCK).unwrap();
        std::thread::scope(|scope| {
            let (is, waiting) = std::sync::mpsc::channel();
            let prefetch = &prefetch;
            let waits = scope.spawn(move || {
                // SAFETY: asks which thread this is.
                is.send(unsafe { libc::pthread_self() }).unwrap();
                prefetch.wait()
            });
            let thread = waiting.recv().unwrap();
            // The thread goes on between any two of so many signals, so most of them find it waiting.
            for _ in 0..200 {
                let before = HANDLED.load(Ordering::SeqCst);
                // SAFETY: the thread waits for the gate, which this one opens.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                common::eventually("a signal is handled", || HANDLED.load(Ordering::SeqCst) > before);
            }
            assert!(!waits.is_finished());
            gate.open();
            waits.join().unwrap().unwrap();
        });
    }
}
