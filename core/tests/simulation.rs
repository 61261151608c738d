//! One seed drives transactions, readers, faults and failures over the fakes, against a model of plain vectors.
//!
//! The store scribbles over every page that no state refers to, so a reader that sees anything but its own state fails
//! here. The same seed gives the same run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use bigarray_core::store::Store;
use bigarray_core::{
    ArrayId, BlockNo, BlockSize, Codec, Descriptor, Engine, EngineOptions, FillValue, Order, Prefetch, Reader,
    Savepoint, Transaction, Version, Writer,
};
use bigarray_testing::{Hiccuping, MemStore, MemStoreOptions, Rng, SimMemory, SimOp, SimOptions, Versions};

const BLOCK: usize = BlockSize::MIN.bytes();
const MOST: usize = 6 * BLOCK;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// No number of them is a block.
const FILL: [u8; 3] = [1, 0, 255];

/// Arrays as plain vectors, each with a number that a rename keeps.
type Model = BTreeMap<String, (u64, Vec<u8>)>;

/// Attributes of the database.
type Attrs = serde_json::Map<String, serde_json::Value>;

#[derive(Clone, Copy, Debug)]
struct Mode {
    copy: bool,
    faults: bool,
    kernel_faults: bool,
    mappings: usize,
    produced: u64,
    /// Blocks of memory of their own that all spans may have; 0 is any number.
    budget: usize,
    compressed: bool,
    /// The system merges equal pages.
    merges: bool,
    /// Devices store to pages that are held back, or would be.
    devices: bool,
    /// Pages can be taken out, and those that devices store to stay.
    moves: bool,
    /// Steps of a transaction at most.
    steps: usize,
    versions: Versions,
    /// Look-ups may block, so that the monitor asks nothing.
    lookups_may_block: bool,
    /// As a rule files have what is produced.
    caches: bool,
    /// The store is unavailable to faults now and then.
    hiccups: bool,
    /// Arrays have the fill value `FILL`.
    fill: bool,
}

const MAP: Mode = Mode {
    copy: false,
    faults: true,
    kernel_faults: true,
    mappings: 60_000,
    produced: 0,
    budget: 0,
    compressed: false,
    merges: false,
    devices: false,
    moves: true,
    steps: 4,
    versions: Versions::Numbers,
    lookups_may_block: false,
    caches: false,
    hiccups: false,
    fill: false,
};

struct World {
    engine: Arc<Engine>,
    store: MemStore,
    memory: SimMemory,
    mode: Mode,
    rng: Rng,
    /// For attributes of the database.
    attrs_rng: Rng,
    committed: Model,
    attrs: Attrs,
    /// Those that may be going on.
    prefetches: Vec<Prefetch>,
}

impl World {
    fn new(mode: Mode, seed: u64) -> World {
        let Mode { produced: produced_every, versions, lookups_may_block, caches, .. } = mode;
        let cached_but_every = if caches { 3 } else { 0 };
        let options = MemStoreOptions {
            produced_every,
            versions,
            lookups_may_block,
            cached_but_every,
            ..MemStoreOptions::default()
        };
        let store = MemStore::with(options);
        let options = SimOptions {
            seed,
            delivers_faults: mode.faults,
            delivers_kernel_faults: mode.kernel_faults,
            most_mappings: mode.mappings,
            reports_read_zero_pages: seed.is_multiple_of(2),
            merges: mode.merges,
            moves: mode.moves,
            maps_other_files: caches,
            leaves_jobs: seed.is_multiple_of(3),
            ..SimOptions::default()
        };
        let memory = SimMemory::with(store.file(), options);
        let options = EngineOptions {
            copy: mode.copy,
            verify: seed.is_multiple_of(5),
            budget_bytes: if mode.budget == 0 { usize::MAX } else { mode.budget * BLOCK },
            spill_under_views: !seed.is_multiple_of(7),
            ..EngineOptions::default()
        };
        let seen: Arc<dyn Store> = match mode.hiccups {
            true => Arc::new(Hiccuping::new(store.clone(), seed)),
            false => Arc::new(store.clone()),
        };
        let engine = Engine::new(seen, Arc::new(memory.clone()), options);
        let (rng, attrs_rng) = (Rng::new(seed), Rng::new(!seed));
        let (committed, attrs, prefetches) = (Model::new(), Attrs::new(), Vec::new());
        World { engine, store, memory, mode, rng, attrs_rng, committed, attrs, prefetches }
    }

    fn array(&self, len: usize) -> Descriptor {
        let codec = if self.mode.compressed { Codec::Lz4 { shuffle: false } } else { Codec::None };
        match self.mode.fill {
            true => {
                let (item_size, shape) = (FILL.len(), vec![len / FILL.len()]);
                Descriptor { codec, item_size, shape, fill: FillValue::new(&FILL), ..bytes_array(len) }
            }
            false => Descriptor { codec, ..bytes_array(len) },
        }
    }

    /// Bytes of an array, a whole number of elements.
    fn length(&mut self) -> usize {
        let len = match self.rng.below(4) {
            0 => self.rng.below(3),
            1 => (1 + self.rng.below(5)) * BLOCK,
            _ => self.rng.below(MOST),
        };
        if self.mode.fill { len / FILL.len() * FILL.len() } else { len }
    }

    fn new_data(&self, len: usize) -> Vec<u8> {
        let mut data = Vec::new();
        resize(&mut data, len, self.mode.fill);
        data
    }

    /// One step inside a transaction and in its model.
    fn step(&mut self, transaction: &Transaction, model: &mut Model) {
        let name = NAMES[self.rng.below(NAMES.len())];
        let Some((_, data)) = model.get_mut(name) else {
            let len = self.length();
            drop(transaction.create(name, self.array(len)).unwrap());
            let data = self.new_data(len);
            model.insert(name.to_owned(), (self.rng.draw(), data));
            return;
        };
        match self.rng.below(14) {
            0 => {
                transaction.remove(name).unwrap();
                model.remove(name);
            }
            1 => {
                let to = NAMES[self.rng.below(NAMES.len())];
                if to == name || model.contains_key(to) {
                    assert_eq!(transaction.rename(name, to).is_ok(), to == name);
                } else {
                    transaction.rename(name, to).unwrap();
                    let data = model.remove(name).unwrap();
                    model.insert(to.to_owned(), data);
                }
            }
            2..5 => {
                let len = self.length();
                let mut writer = transaction.open(name).unwrap();
                writer.set_shape(&[len / writer.descriptor().item_size]).unwrap();
                resize(data, len, self.mode.fill);
                assert_same(&self.memory, &writer_bytes(&writer, &self.memory), data, "after a resize");
            }
            5 => {
                let mut writer = transaction.open(name).unwrap();
                let before = writer.descriptor().clone();
                assert!(writer.set_shape(&[1, 1]).unwrap_err().is_shape_mismatch());
                assert_eq!(*writer.descriptor(), before);
            }
            6 | 7 => {
                let mut writer = transaction.open(name).unwrap();
                let rows = match self.rng.below(6) {
                    0 => data.len(),
                    1 => self.rng.below(data.len() + 1),
                    _ => self.rng.below(data.len().min(2 * BLOCK) + 1),
                };
                assert!(writer.drop_front(data.len() + 1).unwrap_err().is_shape_mismatch());
                let item_size = writer.descriptor().item_size;
                match writer.drop_front(rows / item_size) {
                    Ok(()) => drop(data.drain(..rows / item_size * item_size)),
                    Err(error) => assert!(self.mode.versions == Versions::Hashes && error.is_unsupported(), "{error}"),
                }
                assert_same(&self.memory, &writer_bytes(&writer, &self.memory), data, "after rows at the front went");
            }
            _ => {
                let mut writer = transaction.open(name).unwrap();
                if self.rng.one_in(3) {
                    let part = self.part_of(data.len());
                    self.prefetches.push(writer.prefetch_ahead(part).unwrap());
                }
                for _ in 0..self.rng.below(4) {
                    self.write(&mut writer, data);
                }
                if self.rng.one_in(3) {
                    writer.prefetch(0..data.len()).unwrap();
                }
                if self.rng.one_in(6) {
                    writer.flush().unwrap();
                }
                if self.rng.one_in(3) {
                    assert_same(&self.memory, &writer_bytes(&writer, &self.memory), data, "in a transaction");
                }
            }
        }
    }

    /// Sets or removes an attribute of the database, now and then.
    fn set_attr(&mut self, transaction: &Transaction, attrs: &mut Attrs) {
        let name = ["unit", "title", "source"][self.attrs_rng.below(3)];
        match self.attrs_rng.below(8) {
            0 => {
                let value = self.attrs_rng.draw();
                transaction.set_attr(name, value.into()).unwrap();
                attrs.insert(name.to_owned(), value.into());
            }
            1 => assert_eq!(transaction.remove_attr(name).unwrap(), attrs.remove(name)),
            2 => assert_eq!(transaction.attrs().unwrap(), *attrs),
            _ => {}
        }
    }

    fn write(&mut self, writer: &mut Writer<'_>, data: &mut [u8]) {
        if data.is_empty() {
            return;
        }
        let at = self.rng.below(data.len());
        let most = if self.rng.one_in(4) { data.len() - at } else { (data.len() - at).min(5000) };
        let mut bytes = vec![0; 1 + self.rng.below(most)];
        if !self.rng.one_in(3) {
            self.rng.fill(&mut bytes);
        }
        // Views are often of the whole, and often of a part.
        if self.rng.one_in(2) {
            writer.expose_mut(0..data.len()).unwrap();
        } else {
            writer.expose_mut(at..at + bytes.len()).unwrap();
        }
        let (span, first) = self.memory.span_over(writer.base().unwrap());
        span.store(first + at, &bytes).unwrap();
        data[at..at + bytes.len()].copy_from_slice(&bytes);
        if self.mode.devices && self.rng.one_in(2) {
            // A device is given the page, and takes a while, in which others are needed.
            let page = (first + at) / 4096;
            span.pin(page).unwrap();
            for _ in 0..4 {
                let from = self.rng.below(data.len());
                assert_eq!(span.load(first + from..first + from + 1).unwrap(), data[from..from + 1]);
            }
            let byte = self.rng.draw() as u8;
            span.store_pinned(page, (first + at) % 4096, &[byte]);
            data[at] = byte;
            span.unpin(page);
        }
    }

    fn run(&mut self, rounds: usize) {
        let mut held: Vec<(BTreeMap<String, Reader>, Model)> = Vec::new();
        for _ in 0..rounds {
            let mut transaction = self.engine.begin().unwrap();
            let mut model = self.committed.clone();
            let mut attrs = self.attrs.clone();
            let mut savepoints: Vec<(Savepoint, Model, Attrs)> = Vec::new();
            for _ in 0..1 + self.rng.below(self.mode.steps) {
                self.step(&transaction, &mut model);
                self.set_attr(&transaction, &mut attrs);
                if self.rng.one_in(4) {
                    savepoints.push((transaction.savepoint().unwrap(), model.clone(), attrs.clone()));
                } else if !savepoints.is_empty() && self.rng.one_in(3) {
                    savepoints.truncate(1 + self.rng.below(savepoints.len()));
                    let (savepoint, arrays_then, attrs_then) = savepoints.pop().unwrap();
                    transaction.rollback(savepoint).unwrap();
                    (model, attrs) = (arrays_then, attrs_then);
                }
            }
            // Another transaction commits in between, or none does.
            let other = self.rng.one_in(3).then(|| self.other());
            match self.rng.below(4) {
                0 => transaction.abort(),
                _ => match (transaction.commit(None), other) {
                    (Ok(()), other) => {
                        match other.flatten() {
                            None => self.committed = model,
                            Some((name, skip)) => self.merge(model, &name, skip),
                        }
                        self.attrs = attrs;
                    }
                    (Err(error), Some(_)) => assert!(error.is_conflict(), "{error}"),
                    (Err(error), None) => panic!("{error}"),
                },
            }
            self.store.check();
            let stored = self.engine.snapshot().unwrap().attrs(ArrayId::DATABASE).unwrap();
            assert_eq!(stored.into_iter().collect::<Attrs>(), self.attrs);
            if self.rng.one_in(2) {
                held.push((self.readers(), self.committed.clone()));
            }
            for (readers, model) in &held {
                for (name, (_, data)) in model {
                    self.compare(&readers[name], data);
                }
            }
            if held.len() > 3 {
                held.remove(self.rng.below(held.len()));
            }
            if self.rng.one_in(2) {
                self.memory.run_jobs();
                self.end_prefetches();
            }
        }
    }

    /// Another transaction writes somewhere and commits; says where, if that changed anything, and how many bytes had been
    /// dropped before the first.
    fn other(&mut self) -> Option<(String, usize)> {
        let transaction = self.engine.begin().unwrap();
        let mut model = self.committed.clone();
        let name = match model.iter().find(|(_, (_, data))| !data.is_empty()).map(|(name, _)| name.clone()) {
            Some(name) => name,
            None => {
                drop(transaction.create("other", self.array(9)).or_else(|_| transaction.open("other")).unwrap());
                model.entry("other".into()).or_insert((0, self.new_data(9)));
                "other".to_owned()
            }
        };
        let (_, data) = model.get_mut(&name).unwrap();
        let mut writer = transaction.open(&name).unwrap();
        self.write(&mut writer, data);
        let skip = writer.descriptor().skip;
        drop(writer);
        transaction.commit(None).unwrap();
        let changed = self.committed.get(&name) != model.get(&name);
        self.committed = model;
        changed.then_some((name, skip))
    }

    /// Both landed: what the other one wrote to `name`, where `skip` bytes had been dropped before the first, stays but where
    /// the first wrote, block by block.
    fn merge(&mut self, first: Model, name: &str, skip: usize) {
        let (id, mut theirs) = self.committed.remove(name).unwrap();
        let readers = self.readers();
        self.committed = first;
        if id == 0 {
            self.committed.entry(name.to_owned()).or_insert_with(|| (0, theirs.clone())); // which the first never saw
        }
        // The first did not touch those blocks, else it would have lost: what is stored is one of both, whole.
        let is_filled = self.mode.fill;
        let (name, (_, mine)) = self.committed.iter_mut().find(|(_, (other, _))| *other == id).expect("removed");
        let stored = reader_bytes(&readers[name], &self.memory);
        assert_eq!(stored.len(), mine.len());
        let now = readers[name].descriptor();
        // Rows dropped at the front go with what was written to them; if all went, so did all that was written.
        drop(theirs.drain(..now.skip.checked_sub(skip).map_or(theirs.len(), |dropped| dropped.min(theirs.len()))));
        // A resize that touches no block lands on top of a write.
        resize(&mut theirs, mine.len(), is_filled);
        for block in now.first_block().0..now.block_size.blocks_for(now.end()) {
            let bytes = now.block_size.range_of(BlockNo(block));
            let range = bytes.start.saturating_sub(now.skip)..bytes.end.min(now.end()) - now.skip;
            let is = |data: &[u8]| stored[range.clone()] == data[range.clone()];
            assert!(is(mine) || is(&theirs), "block {block} of {name} is of neither");
        }
        mine.clone_from(&stored);
    }

    fn readers(&self) -> BTreeMap<String, Reader> {
        let snapshot = self.engine.snapshot().unwrap();
        let names = snapshot.arrays().unwrap();
        names.into_iter().map(|(name, _)| (name.clone(), self.engine.reader(&snapshot, &name).unwrap())).collect()
    }

    /// No job is left.
    fn end_prefetches(&mut self) {
        for prefetch in self.prefetches.drain(..) {
            assert!(prefetch.is_done());
            let outcome = prefetch.wait();
            assert!(outcome.is_ok() || self.mode.hiccups, "{outcome:?}");
        }
    }

    fn part_of(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.rng.below(len + 1);
        start..start + self.rng.below(len - start + 1)
    }

    fn compare(&mut self, reader: &Reader, data: &[u8]) {
        if self.rng.one_in(3) {
            let part = self.part_of(data.len());
            self.prefetches.push(reader.prefetch_ahead(part).unwrap());
        }
        if self.rng.one_in(4) {
            assert_same(&self.memory, &reader_bytes(reader, &self.memory), data, "in a snapshot");
        } else if !data.is_empty() {
            let at = self.rng.below(data.len());
            let range = at..(at + 3000).min(data.len());
            let got = load(&self.memory, reader.base().unwrap(), range.clone());
            assert_same(&self.memory, &got, &data[range], "in a part of a snapshot");
        }
    }
}

/// Gives `data`, whole elements, another length, as a resize does.
fn resize(data: &mut Vec<u8>, len: usize, is_filled: bool) {
    let before = data.len();
    data.resize(len, 0);
    if is_filled && before < len {
        data[before..].iter_mut().zip(FILL.iter().cycle()).for_each(|(byte, fill)| *byte = *fill);
    }
}

fn bytes_array(len: usize) -> Descriptor {
    Descriptor {
        id: ArrayId(0),
        dtype: "|u1".into(),
        item_size: 1,
        shape: vec![len],
        order: Order::RowMajor,
        block_size: BlockSize::MIN,
        skip: 0,
        codec: Codec::None,
        fill: None,
        changed: Version(0),
        reshaped: Version(0),
        named: Version(0),
    }
}

/// Bytes of an array whose first is at `base`.
fn load(memory: &SimMemory, base: NonNull<u8>, bytes: Range<usize>) -> Vec<u8> {
    let (span, first) = memory.span_over(base);
    span.load(first + bytes.start..first + bytes.end).unwrap()
}

fn writer_bytes(writer: &Writer<'_>, memory: &SimMemory) -> Vec<u8> {
    match writer.descriptor().nbytes() {
        0 => Vec::new(),
        len => load(memory, writer.base().unwrap(), 0..len),
    }
}

fn reader_bytes(reader: &Reader, memory: &SimMemory) -> Vec<u8> {
    match reader.descriptor().nbytes() {
        0 => Vec::new(),
        len => load(memory, reader.base().unwrap(), 0..len),
    }
}

#[track_caller]
fn assert_same(_: &SimMemory, got: &[u8], want: &[u8], when: &str) {
    assert_eq!(got.len(), want.len(), "{when}");
    if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
        panic!("{when}: byte {at} of {} is {} and not {}", want.len(), got[at], want[at]);
    }
}

fn simulate(mode: Mode, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| World::new(mode, seed).run(12));
        assert!(outcome.is_ok(), "seed {seed} in {mode:?}");
    }
}

#[test]
fn mapped_blocks_show_each_state_its_own_bytes() {
    simulate(MAP, 0..60);
}

#[test]
fn copied_blocks_show_each_state_its_own_bytes() {
    simulate(Mode { copy: true, ..MAP }, 0..60);
}

#[test]
fn eager_spans_show_each_state_its_own_bytes() {
    simulate(Mode { faults: false, ..MAP }, 0..60);
}

#[test]
fn without_kernel_faults_each_state_shows_its_own_bytes() {
    simulate(Mode { kernel_faults: false, ..MAP }, 0..30);
    simulate(Mode { kernel_faults: false, copy: true, ..MAP }, 0..30);
}

#[test]
fn produced_blocks_show_each_state_its_own_bytes() {
    simulate(Mode { produced: 3, ..MAP }, 0..30);
    simulate(Mode { produced: 3, faults: false, ..MAP }, 0..30);
}

#[test]
fn within_a_budget_of_a_few_blocks_each_state_shows_its_own_bytes() {
    for budget in [2, 3, 5] {
        for mode in [MAP, Mode { copy: true, ..MAP }, Mode { produced: 3, ..MAP }, Mode { faults: false, ..MAP }] {
            simulate(Mode { budget, ..mode }, 0..30);
        }
        simulate(Mode { budget, kernel_faults: false, copy: true, ..MAP }, 0..15);
        simulate(Mode { budget, mappings: 12, ..MAP }, 0..15);
    }
}

#[test]
fn long_transactions_within_a_budget_show_their_own_bytes() {
    let long = Mode { steps: 16, budget: 3, ..MAP };
    for mode in [long, Mode { copy: true, ..long }, Mode { faults: false, ..long }, Mode { compressed: true, ..long }] {
        simulate(mode, 0..8);
        simulate(Mode { mappings: 12, ..mode }, 0..8);
        simulate(Mode { kernel_faults: false, ..mode }, 0..8);
        if mode.faults {
            simulate(Mode { kernel_faults: false, produced: 3, ..mode }, 0..8);
        }
        simulate(Mode { kernel_faults: false, mappings: 12, ..mode }, 0..8);
        simulate(Mode { budget: 0, ..mode }, 0..8);
    }
}

#[test]
fn compressed_blocks_show_each_state_its_own_bytes() {
    for budget in [0, 3] {
        simulate(Mode { compressed: true, budget, ..MAP }, 0..30);
        simulate(Mode { compressed: true, budget, copy: true, ..MAP }, 0..15);
    }
    simulate(Mode { compressed: true, faults: false, ..MAP }, 0..30);
}

#[test]
fn where_versions_are_hashes_each_state_shows_its_own_bytes() {
    let hashes = Mode { versions: Versions::Hashes, ..MAP };
    for mode in
        [hashes, Mode { copy: true, ..hashes }, Mode { produced: 1, ..hashes }, Mode { faults: false, ..hashes }]
    {
        simulate(mode, 0..30);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
}

#[test]
fn where_look_ups_may_block_each_state_shows_its_own_bytes() {
    let blocking = Mode { lookups_may_block: true, ..MAP };
    let far = Mode { produced: 1, versions: Versions::Hashes, ..blocking };
    for mode in [blocking, far, Mode { compressed: true, ..blocking }, Mode { kernel_faults: false, ..far }] {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
        simulate(Mode { copy: true, budget: 5, ..mode }, 0..8);
    }
}

#[test]
fn where_blocks_are_mapped_from_a_cache_each_state_shows_its_own_bytes() {
    let far = Mode { produced: 1, versions: Versions::Hashes, lookups_may_block: true, caches: true, ..MAP };
    let modes = [
        far,
        Mode { produced: 2, ..far },
        Mode { produced: 0, compressed: true, ..far },
        Mode { hiccups: true, ..far },
        Mode { kernel_faults: false, ..far },
        Mode { mappings: 40, ..far },
        Mode { copy: true, ..far },
    ];
    for mode in modes {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    // What an eager span has to copy must fit into the budget.
    simulate(Mode { faults: false, ..far }, 0..20);
}

#[test]
fn where_storage_is_unavailable_now_and_then_each_state_shows_its_own_bytes() {
    let hiccups = Mode { hiccups: true, ..MAP };
    let far = Mode { produced: 1, lookups_may_block: true, ..hiccups };
    for mode in [hiccups, far, Mode { copy: true, ..hiccups }, Mode { compressed: true, ..hiccups }] {
        simulate(mode, 0..20);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    let trace = |seed| {
        let mut world = World::new(far, seed);
        world.run(8);
        world.memory.trace()
    };
    assert_eq!(trace(3), trace(3));
    assert!(trace(3).iter().any(|event| event.op == SimOp::Pause));
}

#[test]
fn where_equal_pages_are_merged_what_is_written_to_them_is_not_lost() {
    let merging = Mode { merges: true, copy: true, ..MAP };
    for mode in
        [merging, Mode { copy: false, compressed: true, ..merging }, Mode { copy: false, produced: 3, ..merging }]
    {
        for budget in [0, 2, 5] {
            simulate(Mode { budget, ..mode }, 0..20);
            simulate(Mode { budget, moves: false, ..mode }, 0..10);
        }
    }
}

#[test]
fn what_a_device_stores_is_not_lost_while_blocks_give_way() {
    let devices = Mode { devices: true, budget: 5, ..MAP };
    for mode in [devices, Mode { copy: true, ..devices }, Mode { compressed: true, ..devices }] {
        simulate(mode, 0..20);
        simulate(Mode { merges: true, ..mode }, 0..10);
    }
}

#[test]
fn where_pages_cannot_be_taken_out_each_state_shows_its_own_bytes() {
    for mode in [MAP, Mode { copy: true, ..MAP }, Mode { compressed: true, ..MAP }] {
        simulate(Mode { budget: 3, moves: false, ..mode }, 0..20);
    }
}

#[test]
fn where_mappings_run_out_blocks_are_copied() {
    simulate(Mode { mappings: 12, ..MAP }, 0..30);
    simulate(Mode { mappings: 12, faults: false, ..MAP }, 0..30);
}

#[test]
fn where_arrays_have_a_fill_value_each_state_shows_its_own_bytes() {
    let fill = Mode { fill: true, ..MAP };
    let far = Mode { produced: 1, versions: Versions::Hashes, lookups_may_block: true, ..fill };
    let modes = [
        fill,
        far,
        Mode { copy: true, ..fill },
        Mode { compressed: true, ..fill },
        Mode { produced: 3, ..fill },
        Mode { kernel_faults: false, ..fill },
        Mode { versions: Versions::Hashes, ..fill },
        Mode { mappings: 12, ..fill },
        Mode { hiccups: true, ..fill },
        Mode { merges: true, ..fill },
        Mode { caches: true, ..far },
        Mode { moves: false, ..fill },
    ];
    for mode in modes {
        simulate(mode, 0..30);
        simulate(Mode { budget: 3, steps: 16, ..mode }, 0..8);
    }
    simulate(Mode { devices: true, budget: 5, ..fill }, 0..20);
    // What an eager span has to copy must fit into the budget.
    simulate(Mode { faults: false, ..fill }, 0..30);
    simulate(Mode { faults: false, steps: 16, ..fill }, 0..8);
    simulate(Mode { faults: false, compressed: true, mappings: 12, ..fill }, 0..30);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(MAP, seed);
        world.run(8);
        world.memory.trace()
    };
    assert_eq!(trace(3), trace(3));
}

#[test]
fn an_array_that_outgrows_its_span_keeps_what_was_written() {
    for copy in [false, true] {
        let mut world = World::new(Mode { copy, ..MAP }, 1);
        // No room beyond the array itself: the large reservations fail.
        for nth in 0..14 {
            world.memory.fail(SimOp::Reserve, nth);
        }
        let transaction = world.engine.begin().unwrap();
        let mut writer = transaction.create("a", bytes_array(BLOCK)).unwrap();
        let mut data = vec![0; BLOCK];
        for _ in 0..5 {
            world.write(&mut writer, &mut data);
        }
        let base = writer.base().unwrap();
        for len in [40 * BLOCK, (64 << 30) + 5] {
            writer.set_shape(&[len]).unwrap();
        }
        assert_ne!(writer.base().unwrap(), base);
        let got = world.memory.span_at(writer.base().unwrap()).load(0..BLOCK + 5000).unwrap();
        assert_eq!(got[..BLOCK], data);
        assert!(got[BLOCK..].iter().all(|&b| b == 0));
        drop(writer);
        transaction.commit(None).unwrap();
        let readers = world.readers();
        assert_eq!(world.memory.span_at(readers["a"].base().unwrap()).load(0..BLOCK).unwrap(), data);
    }
}
