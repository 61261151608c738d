//! Runs a scenario on the engine and on the model, side by side.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::store::{Snapshot, Store};
use bigarray_core::{
    Codec, Descriptor, Engine, EngineOptions, Error, FillValue, Prefetch, Reader, Result, Savepoint, Transaction,
    Writer,
};
use bigarray_testing::{MemStore, MemStoreOptions, Signal, SimMemory, SimOp, SimOptions, SimSpan, array_of};

use crate::model::{Draft, Model, Verdict};
use crate::scenario::{Change, MemoryBudget, Op, Paging, Place, Scenario, Setup, pattern};

/// Name of the array.
const NAME: &str = "A";

/// Snapshots that are kept at a time.
const HELD: usize = 4;

/// Runs `scenario` to its end.
///
/// # Panics
/// If anything is not as the model says, and where simulated memory or store see their contracts broken.
pub fn run(scenario: &Scenario) {
    let mut world = World::new(scenario.setup);
    for op in &scenario.ops {
        world.step(*op);
    }
    world.commit();
    world.held.clear();
    world.check_newest();
    world.memory.run_jobs();
    world.end_prefetches();
    drop(world.engine);
    world.store.check();
}

struct World {
    setup: Setup,
    store: MemStore,
    memory: SimMemory,
    engine: Arc<Engine>,
    model: Model,
    open: Option<Open>,
    held: Vec<Held>,
    /// Those that may be going on.
    prefetches: Vec<Prefetch>,
    /// A call was ordered to fail: from now on errors are no surprise, but wrong bytes are.
    failures: bool,
}

/// The transaction that is open.
struct Open {
    transaction: Transaction,
    draft: Draft,
    /// Oldest first, each with what was there.
    savepoints: Vec<(Savepoint, Draft)>,
    /// An access ended in a signal: it cannot commit.
    poisoned: bool,
}

/// A snapshot that is kept; its array is opened when it is first read.
struct Held {
    snapshot: Arc<dyn Snapshot>,
    reader: Option<Reader>,
    bytes: Arc<Vec<u8>>,
}

impl World {
    fn new(setup: Setup) -> World {
        let store = MemStore::with(MemStoreOptions {
            produced_every: if setup.produced { 3 } else { 0 },
            never_shrinks: setup.seed % 2 == 1,
            capacity_pages: if setup.small_store { 120 } else { 0 },
            lookups_may_block: setup.seed.is_multiple_of(7),
            ..MemStoreOptions::default()
        });
        let user_mode = matches!(setup.paging, Paging::UserMode | Paging::UserModeCopy);
        let memory = SimMemory::with(
            store.file(),
            SimOptions {
                seed: u64::from(setup.seed),
                delivers_faults: setup.paging != Paging::Eager,
                delivers_kernel_faults: !user_mode && setup.paging != Paging::Eager,
                most_mappings: if setup.few_mappings { 40 } else { 60_000 },
                reports_read_zero_pages: setup.reports_read_zero_pages,
                leaves_jobs: setup.leaves_jobs,
                tracks: true,
                merges: setup.seed.is_multiple_of(5),
                moves: !setup.seed.is_multiple_of(3),
                maps_other_files: false,
                patience: Duration::ZERO, // there is one thread
            },
        );
        let copy = matches!(setup.paging, Paging::Copy | Paging::UserModeCopy);
        let options = EngineOptions {
            copy,
            verify: setup.verify,
            budget_bytes: setup.budget.bytes(),
            spill_under_views: !setup.spares_views,
            ..EngineOptions::default()
        };
        let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), options);
        let transaction = engine.begin().expect("a transaction");
        let array = array(setup, array_of(2).nbytes());
        let len = array.nbytes();
        drop(transaction.create(NAME, array).expect("a new array"));
        transaction.commit(None).expect("the first commit");
        let model = Model::new(len, setup.fill());
        let (held, prefetches) = (Vec::new(), Vec::new());
        World { setup, store, memory, engine, model, open: None, held, prefetches, failures: false }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Change(change) => self.change(change),
            Op::Elsewhere(change) => self.elsewhere(change),
            Op::Read(place) => self.read(place, |span, range| span.load(range)),
            Op::ReadInKernel(place) => self.read(place, |span, range| span.load_in_kernel(range)),
            Op::Flush => self.flush(),
            Op::Savepoint => self.savepoint(),
            Op::Rollback(which) => self.roll_back(usize::from(which)),
            Op::Commit => self.commit(),
            Op::Abort => self.open = None,
            Op::Hold if self.held.len() < HELD => {
                let snapshot = self.engine.snapshot().expect("a snapshot");
                self.held.push(Held { snapshot, reader: None, bytes: self.model.newest.clone() });
            }
            Op::Hold => {}
            Op::ReadHeld(which, place) => self.read_held(usize::from(which), place),
            Op::Release(which) if !self.held.is_empty() => {
                self.held.swap_remove(usize::from(which) % self.held.len());
            }
            Op::Release(_) => {}
            Op::PrefetchAhead(place) => self.prefetch_ahead(place),
            Op::RunJobs => {
                self.memory.run_jobs();
                self.end_prefetches();
            }
            Op::Fail(call, nth) => self.fail(call.into(), nth),
            Op::ShortOfAddresses(n) => (0..n % 24).for_each(|nth| self.fail(SimOp::Reserve, nth)),
        }
    }

    fn fail(&mut self, op: SimOp, nth: u8) {
        self.failures = true;
        self.memory.fail(op, usize::from(nth));
    }

    fn change(&mut self, change: Change) {
        let mut open = self.open.take().unwrap_or_else(|| self.begin());
        self.apply(&mut open, change);
        self.open = Some(open);
    }

    fn elsewhere(&mut self, change: Change) {
        let mut other = self.begin();
        self.apply(&mut other, change);
        self.finish(other);
    }

    fn begin(&self) -> Open {
        let transaction = self.engine.begin().expect("a transaction");
        Open { transaction, draft: self.model.begin(), savepoints: Vec::new(), poisoned: false }
    }

    fn prefetch_ahead(&mut self, place: Place) {
        let mut begun = Vec::new();
        if let Some(open) = &self.open {
            let bytes = place.within(open.draft.bytes.len());
            begun.push(open.transaction.open(NAME).and_then(|writer| writer.prefetch_ahead(bytes)));
        }
        if let Some(Held { reader: Some(reader), bytes, .. }) = self.held.first() {
            begun.push(reader.prefetch_ahead(place.within(bytes.len())));
        }
        for begun in begun {
            match begun {
                Ok(prefetch) => self.prefetches.push(prefetch),
                Err(error) => self.allow(&error),
            }
        }
    }

    /// No job is left.
    fn end_prefetches(&mut self) {
        for prefetch in std::mem::take(&mut self.prefetches) {
            assert!(prefetch.is_done(), "a prefetch that no job goes on with");
            if let Err(error) = prefetch.wait() {
                self.allow(&error);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(open) = &self.open
            && let Err(error) = open.transaction.open(NAME).and_then(|mut writer| writer.flush())
        {
            self.allow(&error);
        }
    }

    fn savepoint(&mut self) {
        let Some(open) = &mut self.open else { return };
        match open.transaction.savepoint() {
            Ok(savepoint) => {
                assert!(!open.poisoned, "a savepoint of what could not be loaded");
                open.savepoints.push((savepoint, open.draft.clone()));
            }
            Err(error) => self.allow(&error),
        }
    }

    /// Whatever failed since, this does not.
    fn roll_back(&mut self, which: usize) {
        let Some(open) = self.open.as_mut().filter(|open| !open.savepoints.is_empty()) else { return };
        let at = which % open.savepoints.len();
        let (savepoint, draft) = open.savepoints.swap_remove(at);
        open.savepoints.truncate(at);
        open.transaction.rollback(savepoint).expect("a savepoint of this transaction");
        (open.draft, open.poisoned) = (draft, false);
    }

    fn commit(&mut self) {
        if let Some(open) = self.open.take() {
            self.finish(open);
        }
    }

    /// Does `change` to array and model; to neither, if it fails.
    fn apply(&self, open: &mut Open, change: Change) {
        let mut draft = open.draft.clone();
        draft.apply(change);
        match self.apply_to_array(&open.transaction, &open.draft, change) {
            Ok(Ok(())) => {
                open.draft = draft;
                // What could not be loaded is removed.
                open.poisoned &= !matches!(change, Change::Recreate(_));
            }
            Ok(Err(signal)) => {
                self.allow_signal(signal);
                open.poisoned = true;
            }
            Err(error) => self.allow(&error),
        }
    }

    fn apply_to_array(
        &self,
        transaction: &Transaction,
        draft: &Draft,
        change: Change,
    ) -> Result<std::result::Result<(), Signal>> {
        let len = draft.bytes.len();
        match change {
            Change::Write(place, value) => {
                let range = place.within(len);
                let bytes: Vec<u8> = range.clone().map(|at| pattern(at, value)).collect();
                self.write(&mut transaction.open(NAME)?, range.start, &bytes)
            }
            Change::Resize(size) => transaction.open(NAME)?.set_shape(&[size.bytes()]).map(Ok),
            Change::Append(more, value) => {
                let bytes: Vec<u8> = (len..len + usize::from(more)).map(|at| pattern(at, value)).collect();
                let mut writer = transaction.open(NAME)?;
                let before = writer.descriptor().clone();
                writer.append_rows(bytes.len())?;
                if bytes.is_empty() {
                    return Ok(Ok(()));
                }
                let written = writer.base().map(|base| self.store(base, len, &bytes));
                if written.is_err() {
                    // As `append` does, which leaves the array as it was.
                    writer.take_back_growth(before);
                }
                written
            }
            Change::DropFront(size) => transaction.open(NAME)?.drop_front(size.bytes().min(len)).map(Ok),
            Change::Recreate(size) => {
                transaction.remove(NAME)?;
                transaction.create(NAME, array(self.setup, size.bytes())).map(|_| Ok(()))
            }
        }
    }

    fn write(&self, writer: &mut Writer<'_>, at: usize, bytes: &[u8]) -> Result<std::result::Result<(), Signal>> {
        if bytes.is_empty() {
            return Ok(Ok(()));
        }
        // First: it closes the windows of an array that no addresses are left for.
        writer.expose_mut(at..at + bytes.len())?;
        Ok(self.store(writer.base()?, at, bytes))
    }

    /// Stores bytes of an array whose first is at `base`.
    fn store(&self, base: NonNull<u8>, at: usize, bytes: &[u8]) -> std::result::Result<(), Signal> {
        let (span, first) = self.memory.span_over(base);
        span.store(first + at, bytes)
    }

    fn read(&mut self, place: Place, read: impl Fn(&SimSpan, Range<usize>) -> std::result::Result<Vec<u8>, Signal>) {
        let Some(mut open) = self.open.take() else { return };
        let range = place.within(open.draft.bytes.len());
        let loaded = open.transaction.open(NAME).and_then(|writer| {
            if range.is_empty() {
                return Ok(Ok(Vec::new()));
            }
            writer.prefetch(range.clone())?;
            let (span, first) = self.memory.span_over(writer.base()?);
            Ok(read(&span, first + range.start..first + range.end))
        });
        match loaded {
            Ok(Ok(bytes)) => assert_same(&bytes, &open.draft.bytes[range.clone()], range.start, "the transaction"),
            // What was prefetched may have been let go of again.
            Ok(Err(Signal::Efault)) if self.setup.budget != MemoryBudget::Unlimited => {}
            Ok(Err(signal)) => {
                self.allow_signal(signal);
                open.poisoned = true;
            }
            Err(error) => self.allow(&error),
        }
        self.open = Some(open);
    }

    fn read_held(&mut self, which: usize, place: Place) {
        if self.held.is_empty() {
            return;
        }
        let at = which % self.held.len();
        let held = &mut self.held[at];
        let range = place.within(held.bytes.len());
        let reader = match &held.reader {
            Some(reader) => Ok(reader.clone()),
            None => self.engine.reader(&held.snapshot, NAME),
        };
        match reader {
            Ok(reader) => {
                held.reader = Some(reader.clone());
                let bytes = held.bytes.clone();
                self.compare(&reader, &bytes, range, "a snapshot that was kept");
            }
            Err(error) => self.allow(&error),
        }
    }

    fn compare(&self, reader: &Reader, expected: &[u8], range: Range<usize>, whose: &str) {
        assert_eq!(reader.descriptor().nbytes(), expected.len(), "length in {whose}");
        if range.is_empty() {
            return;
        }
        match reader.base() {
            Ok(base) => match self.load(base, &range) {
                Ok(bytes) => assert_same(&bytes, &expected[range.clone()], range.start, whose),
                Err(signal) => self.allow_signal(signal),
            },
            Err(error) => self.allow(&error),
        }
    }

    /// Loads bytes of an array whose first is at `base`.
    fn load(&self, base: NonNull<u8>, range: &Range<usize>) -> std::result::Result<Vec<u8>, Signal> {
        let (span, first) = self.memory.span_over(base);
        span.load(first + range.start..first + range.end)
    }

    fn finish(&mut self, open: Open) {
        let verdict = self.model.verdict(&open.draft);
        match open.transaction.commit(None) {
            Ok(()) => {
                assert!(verdict != Verdict::Conflicts, "a commit landed on what another changed");
                assert!(!open.poisoned, "a transaction that could not load a page was committed");
                self.model.commit(open.draft);
            }
            Err(error) if error.is_conflict() => {
                // A resize that failed may have dropped blocks.
                assert!(verdict != Verdict::Lands || self.failures, "a conflict without another transaction: {error}");
            }
            Err(error) => self.allow(&error),
        }
        self.check_newest();
    }

    /// The newest state, all of it.
    fn check_newest(&self) {
        self.store.check();
        let snapshot = self.store.snapshot().expect("a snapshot");
        match self.engine.reader(&snapshot, NAME) {
            Ok(reader) => {
                let all = 0..self.model.newest.len();
                self.compare(&reader, &self.model.newest, all, "the newest state");
            }
            Err(error) => self.allow(&error),
        }
    }

    fn allow(&self, error: &Error) {
        let full = self.setup.small_store && error.is_store_full();
        // Without faults all that cannot be mapped has to be in memory.
        let is_held = self.setup.paging == Paging::Eager && (self.setup.compressed || self.setup.produced);
        let too_much = is_held && self.setup.budget != MemoryBudget::Unlimited && error.is_unsupported();
        assert!(self.failures || full || too_much, "nothing failed, but: {error}");
    }

    fn allow_signal(&self, signal: Signal) {
        assert!(signal == Signal::Bus, "a system call met a missing page after a prefetch");
        assert!(self.failures, "nothing failed, but an access ended in a signal");
    }
}

fn array(setup: Setup, len: usize) -> Descriptor {
    let codec = if setup.compressed { Codec::Lz4 { shuffle: false } } else { Codec::None };
    Descriptor { codec, fill: FillValue::new(&[setup.fill()]), shape: vec![len], ..array_of(0) }
}

fn assert_same(found: &[u8], expected: &[u8], start: usize, whose: &str) {
    if let Some(at) = found.iter().zip(expected).position(|(found, expected)| found != expected) {
        panic!("byte {} of {whose} is {}, not {}", start + at, found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len());
}
