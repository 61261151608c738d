//! Whatever call of storage or memory fails, at whichever point: no wrong byte is ever seen, and what is committed is
//! whole. A script of a few transactions and readers runs once for each call that could fail.

use std::sync::Arc;

use bigarray_core::{BlockSize, Engine, EngineOptions, Error, ErrorKind, Prefetch, Reader, Result, Transaction};
use bigarray_testing::{
    Counted, Failing, MemStore, MemStoreOptions, Signal, SimMemory, SimOp, SimOptions, StoreOp, array_of,
};

const BLOCK: usize = BlockSize::MIN.bytes();
const LEN: usize = 4 * BLOCK;

#[derive(Clone, Copy, Debug)]
struct Mode {
    copy: bool,
    faults: bool,
    produced: u64,
    /// With memory for two blocks; transactions flush, and go back to savepoints.
    spills: bool,
    /// Look-ups may block, so that they are made by jobs.
    blocks: bool,
}

const MODES: [Mode; 5] = [
    Mode { copy: false, faults: true, produced: 0, spills: false, blocks: false },
    Mode { copy: true, faults: true, produced: 0, spills: false, blocks: false },
    Mode { copy: false, faults: true, produced: 2, spills: false, blocks: false },
    Mode { copy: false, faults: false, produced: 2, spills: false, blocks: false },
    Mode { copy: false, faults: true, produced: 2, spills: false, blocks: true },
];

const SPILLING: [Mode; 5] = [
    Mode { copy: false, faults: true, produced: 0, spills: true, blocks: false },
    Mode { copy: true, faults: true, produced: 0, spills: true, blocks: false },
    Mode { copy: false, faults: true, produced: 2, spills: true, blocks: false },
    Mode { copy: false, faults: false, produced: 0, spills: true, blocks: false },
    Mode { copy: false, faults: true, produced: 1, spills: true, blocks: true },
];

struct World {
    mode: Mode,
    /// Blocks are prefetched, too, by jobs that run amid all else.
    is_ahead: bool,
    engine: Arc<Engine>,
    store: Arc<Failing<MemStore>>,
    plain: MemStore,
    memory: SimMemory,
    /// What is committed; no array at first.
    committed: Option<Vec<u8>>,
    failures: usize,
}

impl World {
    fn new(mode: Mode, is_ahead: bool, seed: u64) -> World {
        let caches = mode.blocks && seed.is_multiple_of(2);
        let plain = MemStore::with(MemStoreOptions {
            produced_every: mode.produced,
            lookups_may_block: mode.blocks,
            cached_but_every: if caches { 3 } else { 0 },
            ..MemStoreOptions::default()
        });
        let store = Arc::new(Failing::new(plain.clone()));
        let options =
            SimOptions { seed, delivers_faults: mode.faults, maps_other_files: caches, ..SimOptions::default() };
        let memory = SimMemory::with(plain.file(), options);
        let budget_bytes = if mode.spills { 2 * BLOCK } else { usize::MAX };
        let options = EngineOptions { copy: mode.copy, budget_bytes, ..EngineOptions::default() };
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), options);
        World { mode, is_ahead, engine, store, plain, memory, committed: None, failures: 0 }
    }

    /// Reads and changes one page of each block and all of the last, and commits, or sees that it did not.
    fn transact(&mut self, round: usize) {
        let was = self.committed.clone();
        match self.try_transact(round) {
            Ok(data) => self.committed = Some(data),
            Err(error) => {
                self.failures += 1;
                assert!(is_told(&error), "{error:?}");
                self.committed = was;
            }
        }
        self.plain.check();
    }

    fn try_transact(&self, round: usize) -> Result<Vec<u8>> {
        let mut transaction = self.engine.begin()?;
        let mut data = self.committed.clone().unwrap_or_else(|| vec![0; LEN]);
        let mut writer = match self.committed {
            None => transaction.create("a", array_of(4))?,
            Some(_) => transaction.open("a")?,
        };
        let span = self.memory.span_at(writer.base()?);
        let prefetch = if self.is_ahead { Some(writer.prefetch_ahead(0..LEN)?) } else { None };
        let mut killed = None;
        for block in 0..4 {
            let at = block * BLOCK + round * 4096 + 10;
            let len = if block == 3 { BLOCK / 2 } else { 100 };
            match span.load(at..at + len) {
                Ok(got) => assert!(got == data[at..at + len], "block {block} in round {round} shows wrong bytes"),
                Err(signal) => killed = Some(signal),
            }
            writer.expose_mut(at..at + len)?;
            let bytes = vec![(round * 4 + block + 1) as u8; len];
            match span.store(at, &bytes) {
                Ok(()) => data[at..at + len].copy_from_slice(&bytes),
                Err(signal) => killed = Some(signal),
            }
        }
        drop(writer);
        if let Some(prefetch) = prefetch.filter(Prefetch::is_done)
            && let Err(error) = prefetch.wait()
        {
            assert!(is_told(&error), "{error:?}");
        }
        if self.mode.spills && killed.is_none() {
            killed = self.goes_back(&mut transaction, &mut data, round)?;
        }
        let outcome = transaction.commit(None);
        // A process that got the signal is no more; should it have caught it, nothing of this may land.
        assert!(killed.is_none() || outcome.is_err(), "a transaction that saw {killed:?} was committed");
        outcome.map(|()| data)
    }

    /// Flushes, whether or not that can be done; overwrites a part with zeros; goes on behind a savepoint, and back.
    fn goes_back(&self, transaction: &mut Transaction, data: &mut [u8], round: usize) -> Result<Option<Signal>> {
        let write = |transaction: &Transaction, data: &mut [u8], at: usize, bytes: &[u8]| {
            let mut writer = transaction.open("a")?;
            writer.expose_mut(at..at + bytes.len())?;
            let span = self.memory.span_at(writer.base()?);
            if let Err(signal) = span.store(at, bytes) {
                return Ok(Some(signal));
            }
            data[at..at + bytes.len()].copy_from_slice(bytes);
            for block in 0..4 {
                match span.load(block * BLOCK..(block + 1) * BLOCK) {
                    Ok(got) => assert!(got == data[block * BLOCK..][..BLOCK], "block {block} shows wrong bytes"),
                    Err(signal) => return Ok(Some(signal)),
                }
            }
            Ok(None)
        };
        if let Err(error) = transaction.open("a")?.flush() {
            assert!(is_told(&error), "{error:?}");
        }
        let at = round * 4096;
        if let Some(signal) = write(transaction, data, at, &[0; 4096])? {
            return Ok(Some(signal));
        }
        let savepoint = transaction.savepoint()?;
        let mut later = data.to_vec();
        // Whatever went wrong here is given up with what was written.
        write(transaction, &mut later, at + 5, &vec![9; 2 * BLOCK])?;
        transaction.rollback(savepoint)?;
        write(transaction, data, 3 * BLOCK, &[7; 3])
    }

    fn reader(&mut self) -> Option<(Reader, Vec<u8>)> {
        let data = self.committed.clone()?;
        match self.engine.snapshot().and_then(|snapshot| self.engine.reader(&snapshot, "a")) {
            Ok(reader) => Some((reader, data)),
            Err(error) => {
                self.failures += 1;
                assert!(is_told(&error), "{error:?}");
                None
            }
        }
    }

    /// The right bytes, or none.
    fn look(&mut self, reader: &Reader, data: &[u8]) {
        let base = match reader.base() {
            Ok(base) => base,
            Err(error) => {
                self.failures += 1;
                return assert!(is_told(&error), "{error:?}");
            }
        };
        self.prefetch(reader);
        for block in [2, 0, 3, 1] {
            let range = block * BLOCK..(block + 1) * BLOCK;
            match self.memory.span_at(base).load(range.clone()) {
                Ok(got) => assert!(got == data[range], "block {block} shows wrong bytes"),
                Err(signal) => {
                    self.failures += 1;
                    assert_eq!(signal, Signal::Bus);
                }
            }
        }
    }

    /// A failure of a prefetch is told by it alone.
    fn prefetch(&mut self, reader: &Reader) {
        if self.is_ahead {
            let prefetch = reader.prefetch_ahead(0..LEN).unwrap();
            self.memory.run_jobs();
            if let Err(error) = prefetch.wait() {
                self.failures += 1;
                assert!(is_told(&error), "{error:?}");
            }
        }
    }

    fn script(&mut self) {
        let mut old = None;
        for round in 0..4 {
            self.transact(round);
            if let Some((reader, data)) = self.reader() {
                self.look(&reader, &data);
                old.get_or_insert((reader, data));
            }
            if let Some((reader, data)) = &old {
                self.look(reader, data);
            }
        }
    }

    /// Failures that are yet to come.
    fn pending(&self) -> usize {
        self.store.pending() + self.memory.pending_failures()
    }

    /// Once nothing fails any more all is as committed, and the next commit lands.
    fn recovers(&mut self) {
        assert_eq!(self.pending(), 0);
        let before = self.failures;
        self.transact(4);
        let (reader, data) = self.reader().expect("a reader of what was just committed");
        self.look(&reader, &data);
        assert_eq!(self.failures, before, "a failure had consequences after all had ended that saw it");
    }
}

/// Errors that were ordered, and their consequences.
fn is_told(error: &Error) -> bool {
    error.to_string().contains("simulated")
}

/// Runs the script with each call in turn failing, as `fail` orders it, until none is left to fail.
fn sweep(modes: &[Mode], fail: impl Fn(&World, usize)) {
    let mut calls = 0;
    for (mode, is_ahead) in modes.iter().flat_map(|mode| [(*mode, false), (*mode, true)]) {
        for nth in 0.. {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let mut world = World::new(mode, is_ahead, nth as u64);
                fail(&world, nth);
                let planned = world.pending();
                world.script();
                let left = world.pending();
                if left == 0 {
                    world.recovers();
                }
                left < planned
            }));
            match outcome {
                Ok(true) => calls += 1,
                Ok(false) => break,
                Err(_) => panic!("call {nth} failing in {mode:?}, ahead: {is_ahead}"),
            }
        }
    }
    assert!(calls > 0, "nothing failed");
}

fn sweep_store(op: StoreOp, kind: ErrorKind) {
    sweep(&MODES, |world, nth| world.store.fail(op, nth, kind));
}

fn sweep_memory(op: SimOp, modes: &[Mode]) {
    sweep(modes, |world, nth| world.memory.fail(op, nth));
}

#[test]
fn a_snapshot_that_cannot_begin_loses_nothing() {
    sweep_store(StoreOp::Snapshot, ErrorKind::Io);
}

#[test]
fn metadata_that_cannot_be_had_loses_nothing() {
    sweep_store(StoreOp::Metadata, ErrorKind::Corrupt);
}

#[test]
fn blocks_that_cannot_be_looked_up_are_never_taken_for_holes() {
    sweep_store(StoreOp::Blocks, ErrorKind::Corrupt);
}

#[test]
fn bytes_that_cannot_be_read_are_never_shown() {
    sweep_store(StoreOp::Read, ErrorKind::Corrupt);
}

#[test]
fn files_that_cannot_be_read_ahead_harm_no_access() {
    sweep_memory(SimOp::ReadAhead, &MODES[..1]);
}

#[test]
fn a_commit_that_fails_leaves_the_old_state() {
    sweep_store(StoreOp::Commit, ErrorKind::StoreFull);
}

#[test]
fn memory_that_cannot_be_installed_shows_nothing() {
    sweep_memory(SimOp::Zero, &MODES);
    sweep_memory(SimOp::Map, &MODES);
    sweep_memory(SimOp::Copy, &MODES);
}

#[test]
fn a_block_that_cannot_be_unprotected_is_not_written_to() {
    sweep_memory(SimOp::Unprotect, &MODES[1..3]);
}

#[test]
fn a_scan_that_fails_fails_the_commit() {
    sweep_memory(SimOp::Written, &MODES);
}

#[test]
fn memory_that_cannot_be_reset_is_not_used_again() {
    sweep_memory(SimOp::Reset, &MODES);
}

#[test]
fn pages_that_cannot_be_spilled_or_read_back_are_never_shown_wrong() {
    for op in [StoreOp::SpillArea, StoreOp::Spill] {
        sweep(&SPILLING, |world, nth| world.store.fail(op, nth, ErrorKind::StoreFull));
    }
    sweep(&SPILLING, |world, nth| world.store.fail(StoreOp::ReadSpilled, nth, ErrorKind::Corrupt));
    for op in [StoreOp::Read, StoreOp::Blocks] {
        sweep(&SPILLING, |world, nth| world.store.fail(op, nth, ErrorKind::Io));
    }
}

#[test]
fn memory_that_cannot_be_write_protected_or_taken_away_loses_nothing() {
    for op in [SimOp::WriteProtect, SimOp::Evict, SimOp::Unprotect] {
        sweep_memory(op, &SPILLING[..3]);
    }
    for op in [SimOp::Written, SimOp::Reset, SimOp::Copy, SimOp::Map, SimOp::Zero, SimOp::Remap] {
        sweep_memory(op, &SPILLING);
    }
}

#[test]
fn addresses_that_are_short_lose_nothing() {
    // A large span that cannot be had may be a smaller one: many in a row fail.
    sweep(&MODES, |world, nth| (nth..nth + 40).for_each(|nth| world.memory.fail(SimOp::Reserve, nth)));
}

#[test]
fn a_full_store_goes_on_once_there_is_room() {
    let store = MemStore::with(MemStoreOptions { capacity_pages: 20, ..MemStoreOptions::default() });
    let memory = SimMemory::new(store.file());
    let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), EngineOptions::default());
    let write = |pages: usize, byte| {
        let transaction = engine.begin()?;
        let mut writer = transaction.create("a", array_of(4)).or_else(|_| transaction.open("a"))?;
        writer.expose_mut(0..pages * 4096).unwrap();
        memory.span_at(writer.base()?).store(0, &vec![byte; pages * 4096]).expect("mapped");
        drop(writer);
        transaction.commit(None)
    };
    write(10, 1).expect("room enough");
    assert!(write(30, 2).expect_err("30 pages of 20").is_store_full());
    store.check();
    write(5, 3).expect("room for that");
    let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
    let got = memory.span_at(reader.base().unwrap()).load(0..11 * 4096).unwrap();
    let expected = [[3; 5 * 4096].as_slice(), &[1; 5 * 4096], &[0; 4096]].concat();
    assert!(got == expected);
}

#[test]
fn many_threads_on_one_block_look_it_up_once() {
    let plain = MemStore::new();
    let store = Arc::new(Counted::new(plain.clone()));
    let memory = SimMemory::new(plain.file());
    for copy in [false, true] {
        let options = EngineOptions { copy, ..EngineOptions::default() };
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), options);
        let transaction = engine.begin().unwrap();
        let mut writer = transaction.create("a", array_of(1)).or_else(|_| transaction.open("a")).unwrap();
        writer.expose_mut(0..BLOCK).unwrap();
        memory.span_at(writer.base().unwrap()).store(0, &[7; BLOCK]).unwrap();
        drop(writer);
        transaction.commit(None).unwrap();
        drop(engine);
        let engine = Engine::new(store.clone(), Arc::new(memory.clone()), options);
        let reader = engine.reader(&engine.snapshot().unwrap(), "a").unwrap();
        let span = memory.span_at(reader.base().unwrap());
        let before = (store.lookups(), store.pages_read());
        std::thread::scope(|scope| {
            for n in 0..32 {
                let span = &span;
                scope.spawn(move || assert_eq!(span.load(n * 2000..n * 2000 + 1000).unwrap(), [7; 1000]));
            }
        });
        let pages = if copy { 16 } else { 0 };
        assert_eq!((store.lookups(), store.pages_read()), (before.0 + 1, before.1 + pages), "copy: {copy}");
    }
    assert!(store.commits() >= 1);
}
