//! As many loads wait for storage side by side as there are resolvers.

mod common;

use std::sync::Arc;

use bigarray_core::memory::Memory;
use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, Reader};
use bigarray_testing::{Edit, Gated, MemStore, array_of, page_of};
use bigarray_uffd::{MemoryOptions, UffdMemory, Userfaultfd};
use common::*;

const RESOLVERS: usize = 6;

/// The first byte of block `block`, read as a program does.
fn first_byte(reader: &Reader, block: usize) -> u8 {
    let base = reader.base().unwrap();
    // SAFETY: a byte of the array, which stays as it is as long as the reader lives.
    unsafe { base.add(block * BLOCK).read_volatile() }
}

/// Blocks of a store that reads slowly, faulted in by as many threads. How many reads were under way at once.
fn most_reads(userfaultfd: Userfaultfd, blocks: usize, opens_at: usize) -> Option<usize> {
    let options = MemoryOptions { userfaultfd, resolvers: RESOLVERS, ..MemoryOptions::default() };
    let memory = UffdMemory::new(options).unwrap();
    if !memory.delivers_faults() {
        eprintln!("skipped: {}", memory.describe());
        return None;
    }
    let store = MemStore::new();
    let base = store.snapshot().unwrap();
    let edit = Edit::create("a", array_of(blocks));
    let edit = (0..blocks as u64).fold(edit, |edit, n| edit.page(&*base, n, 0, n));
    Edit::commit(&store, &*base, &[edit]).unwrap();
    let store = Arc::new(Gated::new(store, opens_at));
    // Copying reads each block.
    let engine = Engine::new(store.clone(), memory, EngineOptions { copy: true, ..EngineOptions::default() });
    let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
    std::thread::scope(|scope| {
        for block in 0..blocks {
            let reader = &reader;
            scope.spawn(move || assert_eq!(first_byte(reader, block), page_of(block as u64)[0]));
        }
    });
    Some(store.most_reads())
}

#[test]
fn faults_of_many_threads_are_resolved_by_all_resolvers_at_once() {
    let _dog = watchdog();
    for userfaultfd in [Userfaultfd::Auto, Userfaultfd::UserMode] {
        if let Some(most) = most_reads(userfaultfd, RESOLVERS, RESOLVERS) {
            assert_eq!(most, RESOLVERS);
        }
        // More threads than resolvers.
        if let Some(most) = most_reads(userfaultfd, 8 * RESOLVERS, RESOLVERS) {
            assert_eq!(most, RESOLVERS);
        }
    }
}
