//! Rows dropped at the front: what a transaction after it shows, and what it has to do, counted.

mod support;

use std::ops::Range;
use std::sync::Arc;

use bigarray_core::{Engine, EngineOptions, PAGE, Reader, Transaction};
use bigarray_testing::{Counted, MemStore, SimMemory, SimOp, array_of};
use support::{BLOCK, World};

/// Byte `at` of the array as it was created.
fn value(at: usize) -> u8 {
    (at / PAGE % 250 + 1) as u8
}

/// An array "a" of 16 blocks, read whole by a transaction before.
struct Log {
    engine: Arc<Engine>,
    memory: SimMemory,
    store: Arc<Counted<MemStore>>,
    dropped: usize,
}

impl Log {
    fn new() -> Log {
        let plain = MemStore::new();
        let store = Arc::new(Counted::new(plain.clone()));
        let memory = SimMemory::new(plain.file());
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), EngineOptions::default());
        let log = Log { engine, memory, store, dropped: 0 };
        let transaction = log.engine.begin().unwrap();
        drop(transaction.create("a", array_of(16)).unwrap());
        let bytes: Vec<u8> = (0..16 * BLOCK).map(value).collect();
        log.write(&transaction, 0, &bytes);
        transaction.commit(None).unwrap();
        log
    }

    fn write(&self, transaction: &Transaction, at: usize, bytes: &[u8]) {
        let mut writer = transaction.open("a").unwrap();
        writer.expose_mut(at..at + bytes.len()).unwrap();
        let (span, offset) = self.memory.span_over(writer.base().unwrap());
        span.store(offset + at, bytes).unwrap();
    }

    /// A commit that drops `bytes`, and writes what is there to a page of the rest if `writes`.
    fn drop_front(&mut self, bytes: usize, writes: bool) {
        let transaction = self.engine.begin().unwrap();
        transaction.open("a").unwrap().drop_front(bytes).unwrap();
        self.dropped += bytes;
        if writes {
            let at = BLOCK + 7;
            self.write(&transaction, at, &[value(self.dropped + at)]);
        }
        transaction.commit(None).unwrap();
    }

    fn reader(&self) -> Reader {
        self.engine.reader(&self.engine.snapshot().unwrap(), "a").unwrap()
    }

    /// Look-ups and loads that it takes to open the array and to read all of it.
    fn cost_of_reading(&self) -> [usize; 2] {
        let loads = |log: &Log| log.memory.count(SimOp::Map) + log.memory.count(SimOp::Copy);
        let before = [self.store.lookups(), loads(self)];
        let reader = self.reader();
        let (span, offset) = self.memory.span_over(reader.base().unwrap());
        let len = reader.descriptor().nbytes();
        let right: Vec<u8> = (self.dropped..self.dropped + len).map(value).collect();
        assert!(span.load(offset..offset + len).unwrap() == right, "{} bytes dropped", self.dropped);
        [self.store.lookups() - before[0], loads(self) - before[1]]
    }
}

#[test]
fn after_rows_were_dropped_no_block_is_compared_or_loaded_again() {
    for writes in [false, true] {
        let mut log = Log::new();
        log.cost_of_reading();
        let transaction = log.engine.begin().unwrap();
        log.write(&transaction, BLOCK + 7, &[value(BLOCK + 7)]);
        transaction.commit(None).unwrap();
        let usual = log.cost_of_reading();
        for bytes in [BLOCK + 5 * PAGE, 100, 3 * BLOCK, PAGE, BLOCK] {
            log.drop_front(bytes, writes);
            let cost = log.cost_of_reading();
            assert!(
                cost[0] <= usual[0] && cost[1] <= usual[1],
                "{bytes} dropped, {writes}: {cost:?}, usually {usual:?}"
            );
        }
    }
}

/// The span of the first reader idles until all of the commits are done.
#[test]
fn a_span_that_idled_while_rows_were_dropped_shows_what_is_left() {
    let mut log = Log::new();
    let old = log.reader();
    log.cost_of_reading();
    for bytes in [2 * BLOCK + 9, BLOCK, 5] {
        log.drop_front(bytes, true);
    }
    drop(old);
    log.cost_of_reading();
}

fn exposed_whole(world: &World, times: usize) {
    for _ in 0..times {
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.open("a").unwrap();
        let (span, offset) = world.memory.span_over(writer.base().unwrap());
        let all: Range<usize> = 0..writer.descriptor().nbytes();
        span.load(offset..offset + all.end).unwrap();
        writer.expose_mut(all).unwrap();
        drop(writer);
        transaction.commit(None).unwrap();
    }
}

/// It has other bytes than the array's, as the last one may have.
#[test]
fn the_first_block_is_tracked_where_rows_of_it_were_dropped() {
    let world = World::new(|world, transaction| world.write(transaction, 0, &[1; 3 * BLOCK])).reopened();
    let transaction = world.engine.begin().unwrap();
    transaction.open("a").unwrap().drop_front(2 * BLOCK + PAGE).unwrap();
    transaction.commit(None).unwrap();
    exposed_whole(&world, 2);
    assert_eq!(world.memory.count(SimOp::TrackWrites), 1);
}
