//! Storage that is unavailable for a while: a program that touches a view waits for it, and sees neither zeros nor a
//! signal, until its patience is over.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bigarray_core::store::Store;
use bigarray_core::{Engine, EngineOptions, Error, ErrorKind, Reader, Result};
use bigarray_testing::{Adapter, Edit, MemStore, MemStoreOptions, StoreOp, Watch, array_of, page_of};
use common::{child, child_succeeds, is_child, lazy_memories, watchdog};
use nix::sys::signal::Signal;

/// Blocks of the array.
const BLOCKS: usize = 8;

/// A network that is down, or up.
#[derive(Clone, Default)]
struct Network(Arc<State>);

#[derive(Default)]
struct State {
    is_down: AtomicBool,
    /// Calls that failed.
    failed: AtomicUsize,
}

impl Watch for Network {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        if matches!(op, StoreOp::Read | StoreOp::Blocks) && self.0.is_down.load(Ordering::SeqCst) {
            self.0.failed.fetch_add(1, Ordering::SeqCst);
            return Err(Error::new(ErrorKind::Unavailable, "far:away: no route to host"));
        }
        Ok(())
    }

    fn lookups_may_block(&self) -> bool {
        true
    }
}

/// A reader of the array, while the network is up, over every memory that delivers faults.
fn readers(network: &Network, patience: Duration) -> Vec<Reader> {
    let reader = |memory| {
        // Nothing of it can be mapped.
        let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
        let base = store.snapshot().unwrap();
        let edit = Edit::create("a", array_of(BLOCKS));
        let edit = (0..BLOCKS as u64).fold(edit, |edit, n| edit.page(&*base, n, 0, n));
        Edit::commit(&store, &*base, &[edit]).unwrap();
        let store = Arc::new(Adapter::wrap(store, network.clone()));
        let engine = Engine::new(store, memory, EngineOptions { patience, ..EngineOptions::default() });
        engine.reader(&engine.snapshot().unwrap(), "a").unwrap()
    };
    lazy_memories().into_iter().map(|memory| reader(memory)).collect()
}

fn first_byte(reader: &Reader, block: usize) -> u8 {
    // SAFETY: the reader lives, and its array has that block.
    unsafe { reader.base().unwrap().add(block * common::BLOCK).read_volatile() }
}

#[test]
fn a_hiccup_shows_neither_zeros_nor_a_signal() {
    let _watchdog = watchdog();
    if !is_child("waits") {
        child_succeeds("waits", &[]);
        return;
    }
    let network = Network::default();
    for reader in readers(&network, Duration::from_secs(600)) {
        network.0.is_down.store(true, Ordering::SeqCst);
        let error = reader.prefetch(0..1).unwrap_err();
        assert!(error.is_unavailable() && error.to_string().contains("no route to host"), "{error}");
        std::thread::scope(|scope| {
            let read = |block| {
                let reader = &reader;
                scope.spawn(move || first_byte(reader, block))
            };
            let reads: Vec<_> = (0..BLOCKS).map(read).collect();
            // More than once each.
            let before = network.0.failed.load(Ordering::SeqCst);
            while network.0.failed.load(Ordering::SeqCst) < before + 4 * BLOCKS {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(reads.iter().all(|read| !read.is_finished()));
            network.0.is_down.store(false, Ordering::SeqCst);
            for (block, read) in (0..).zip(reads) {
                assert_eq!(read.join().unwrap(), page_of(block)[0]);
            }
        });
    }
}

#[test]
fn an_access_that_waits_longer_than_its_patience_ends_the_process() {
    let _watchdog = watchdog();
    if is_child("gives up") {
        let network = Network::default();
        let readers = readers(&network, Duration::from_millis(100));
        network.0.is_down.store(true, Ordering::SeqCst);
        println!("read {}", first_byte(&readers[0], 0));
        return;
    }
    if lazy_memories().is_empty() {
        return;
    }
    let output = child("gives up", &[]);
    assert_eq!(output.status.signal(), Some(Signal::SIGBUS as i32), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("given up after 100ms") && stderr.contains("no route to host"), "{stderr}");
}
