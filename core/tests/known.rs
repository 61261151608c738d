//! A commit asks for no newer state than the one that its store knows: over a network each question is a wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray_core::store::{Change, CommitLock, Committed, Snapshot, SpillArea, Store};
use bigarray_core::{Engine, EngineOptions, PAGE, Result};
use bigarray_testing::{Edit, MemStore, SimMemory, SimOptions, array_of};

/// A store that counts how often it is asked for the newest state.
struct Remote {
    store: MemStore,
    /// A state that it goes on showing, as a user may allow.
    shown: Option<Arc<dyn Snapshot>>,
    asked: AtomicUsize,
}

impl Remote {
    fn new(store: &MemStore, shown: Option<Arc<dyn Snapshot>>) -> Arc<Remote> {
        Arc::new(Remote { store: store.clone(), shown, asked: AtomicUsize::new(0) })
    }
}

impl Store for Remote {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.shown.clone().map_or_else(|| self.newest(), Ok)
    }
    fn known(&self) -> Result<Arc<dyn Snapshot>> {
        self.shown.clone().map_or_else(|| self.store.snapshot(), Ok)
    }
    fn newest(&self) -> Result<Arc<dyn Snapshot>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.store.snapshot()
    }
    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        self.store.commit(change, lock)
    }
    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.store.commit_lock()
    }
    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        self.store.spill_area()
    }
}

#[test]
fn what_only_depends_on_rows_is_true_of_the_newest_state_also_where_older_ones_are_shown() {
    let store = MemStore::new();
    let base = store.snapshot().unwrap();
    Edit::commit(&store, &*base, &[Edit::create("a", array_of(2))]).unwrap();
    let shown = store.snapshot().unwrap();
    let memory = SimMemory::with(store.file(), SimOptions::default());
    let stale = Remote::new(&store, Some(shown.clone()));
    let engine = Engine::new(stale, Arc::new(memory), EngineOptions::default());
    let commit = || {
        let transaction = engine.begin().unwrap();
        transaction.open("a").unwrap().depend_on(0..PAGE);
        transaction.commit(None)
    };
    commit().unwrap();
    Edit::commit(&store, &*shown, &[Edit::of(&*shown, "a").page(&*shown, 0, 0, 7)]).unwrap();
    assert!(commit().unwrap_err().is_conflict());
}

#[test]
fn only_the_beginning_of_a_transaction_asks_for_the_newest_state() {
    let store = MemStore::new();
    let memory = SimMemory::with(store.file(), SimOptions::default());
    let remote = Remote::new(&store, None);
    let engine = Engine::new(remote.clone(), Arc::new(memory.clone()), EngineOptions::default());
    let asked = || remote.asked.load(Ordering::Relaxed);

    let transaction = engine.begin().unwrap();
    let mut writer = transaction.create("a", array_of(1)).unwrap();
    writer.expose_mut(0..PAGE).unwrap();
    memory.span_at(writer.base().unwrap()).store(100, b"hello").unwrap();
    drop(writer);
    transaction.commit(None).unwrap();
    assert_eq!(asked(), 1);

    // What only depends on rows asks whether they are so in the newest state.
    let transaction = engine.begin().unwrap();
    let mut writer = transaction.open("a").unwrap();
    writer.depend_on(0..PAGE);
    drop(writer);
    transaction.commit(None).unwrap();
    assert_eq!(asked(), 3);
}
