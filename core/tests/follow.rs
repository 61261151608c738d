//! Waiting for the next commit: none is missed, and a wait ends.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bigarray_core::{Engine, EngineOptions, ErrorKind, Version};
use bigarray_testing::{Failing, MemStore, SimMemory, StoreOp, array_of};

/// Longer than any test takes: a wait that should end by itself.
const LONG: Duration = Duration::from_secs(600);

fn engine() -> (Arc<Failing<MemStore>>, Arc<Engine>) {
    let store = MemStore::new();
    let memory = Arc::new(SimMemory::new(store.file()));
    let store = Arc::new(Failing::new(store));
    (store.clone(), Engine::new(store, memory, EngineOptions::default()))
}

fn commit(engine: &Arc<Engine>, name: &str) {
    let txn = engine.begin().unwrap();
    drop(txn.create(name, array_of(1)).unwrap());
    txn.commit(None).unwrap();
}

fn now(engine: &Engine) -> Version {
    engine.snapshot().unwrap().version()
}

#[test]
fn a_commit_between_the_snapshot_and_the_wait_is_not_missed() {
    let (_, engine) = engine();
    let seen = now(&engine);
    commit(&engine, "a");
    let newer = engine.wait_for_commit(seen, LONG).unwrap().expect("the commit");
    assert!(newer.version() > seen && newer.array("a").unwrap().is_some());
    // Nor is one of several, and no time at all is enough to see it.
    commit(&engine, "b");
    commit(&engine, "c");
    let newer = engine.wait_for_commit(seen, Duration::ZERO).unwrap().expect("the commits");
    assert_eq!(newer.version(), now(&engine));
}

#[test]
fn a_wait_without_a_commit_ends_with_nothing() {
    let (_, engine) = engine();
    commit(&engine, "a");
    for millis in [0, 1, 30] {
        assert!(engine.wait_for_commit(now(&engine), Duration::from_millis(millis)).unwrap().is_none());
    }
    // A number that is yet to come, too.
    assert!(engine.wait_for_commit(Version(u64::MAX), Duration::from_millis(1)).unwrap().is_none());
}

#[test]
fn a_commit_ends_the_wait_of_every_thread() {
    let (_, engine) = engine();
    let seen = now(&engine);
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| engine.wait_for_commit(seen, LONG))).collect();
        thread::sleep(Duration::from_millis(30));
        commit(&engine, "a");
        for thread in waiting {
            let newer = thread.join().unwrap().unwrap().expect("the commit");
            assert_eq!(newer.version(), now(&engine));
        }
    });
    // A limit that no clock has.
    commit(&engine, "b");
    assert!(engine.wait_for_commit(seen, Duration::MAX).unwrap().is_some());
}

#[test]
fn a_failure_of_storage_ends_the_wait() {
    let (store, engine) = engine();
    let seen = now(&engine);
    store.fail(StoreOp::Snapshot, 3, ErrorKind::Io);
    assert!(engine.wait_for_commit(seen, LONG).err().expect("the failure").is_io());
    commit(&engine, "a");
    assert!(engine.wait_for_commit(seen, LONG).unwrap().is_some());
}
