//! The allocator against a naive model: every page of a small file has a stamp that says which object wrote it last. The
//! pages of a snapshot, and of a claim, must keep their stamps, whatever is allocated, dropped half-way, swept or lost with
//! the power.

mod ops;

use std::collections::BTreeMap;

use bigarray_core::Error;
use proptest::prelude::*;

use super::simulated::{OWNER, SimulatedTable};
use crate::alloc::{CHUNK_PAGES, OldestReader, Owner, Run, Space, runs_of};
use ops::{Op, What, Where, op};

/// A stored object: its pages, and the stamp that all of them have.
#[derive(Clone, Debug)]
struct Object {
    runs: Vec<Run>,
    stamp: u64,
}

/// A committed state: the tables, and the stored objects.
#[derive(Clone)]
struct ModelState {
    table: SimulatedTable,
    objects: BTreeMap<u64, Object>,
}

/// A transaction that writes to claimed pages before its commit.
struct Writer {
    owner: Owner,
    stamp: u64,
    /// Written so far.
    written: Vec<Run>,
    alive: bool,
}

struct Model {
    /// The content of the disk: the stamp of each page.
    pages: Vec<u64>,
    now: ModelState,
    /// The state before, to which a power loss may fall back.
    before: Option<ModelState>,
    snapshots: Vec<ModelState>,
    writers: Vec<Writer>,
    /// The chunk that small commits fill, even if the transaction that opened it was dropped.
    open: Option<u64>,
    next: u64,
}

impl Model {
    fn new(disk: u64) -> Model {
        Model {
            pages: vec![0; (disk * u64::from(CHUNK_PAGES)) as usize],
            now: ModelState { table: SimulatedTable::new(disk), objects: BTreeMap::new() },
            before: None,
            snapshots: Vec::new(),
            writers: Vec::new(),
            open: None,
            next: 1,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn oldest(&self) -> OldestReader {
        self.snapshots.iter().map(|s| s.table.txn).min().map_or(OldestReader::None, OldestReader::At)
    }

    /// Stamps pages, as their new owner writes them at once.
    fn write(&mut self, runs: &[Run], stamp: u64) {
        for run in runs {
            self.pages[range_of(run)].fill(stamp);
        }
    }

    fn commit(&mut self, new: ModelState) {
        self.before = Some(std::mem::replace(&mut self.now, new));
    }

    /// Takes objects out of `state`, chosen by number.
    fn pick(state: &mut ModelState, chosen: &[usize]) -> Vec<Run> {
        let mut runs = Vec::new();
        for n in chosen {
            if let Some(key) = state.objects.keys().nth(n % state.objects.len().max(1)).copied() {
                runs.extend(state.objects.remove(&key).unwrap().runs);
            }
        }
        runs
    }

    fn apply(&mut self, op: &Op) {
        let oldest = self.oldest();
        let mut new = ModelState { table: self.now.table.begin(), objects: self.now.objects.clone() };
        match op {
            Op::Commit { wanted, free, reclaim, dropped_after } => {
                let steps = dropped_after.unwrap_or(usize::MAX);
                let freed = Self::pick(&mut new, free);
                let mut space = Space::new(&mut new.table);
                space.reclaim(oldest, *reclaim).unwrap();
                if steps == 0 {
                    return;
                }
                let runs = match space.allocate(wanted) {
                    Ok(runs) => runs,
                    Err(full) => return assert_full(&new.table, wanted, &full),
                };
                if steps > 1 {
                    space.free(freed).unwrap();
                }
                let mut rest = runs.into_iter();
                for pages in wanted {
                    let mut object = Object { runs: Vec::new(), stamp: self.number() };
                    let mut missing = *pages;
                    while missing > 0 {
                        let run = rest.next().expect("too few pages");
                        assert!(run.is_sound() && run.pages <= missing, "{run:?} for {missing} pages");
                        missing -= run.pages;
                        object.runs.push(run);
                    }
                    self.write(&object.runs, object.stamp);
                    new.objects.insert(object.stamp, object);
                }
                assert_eq!(rest.next(), None, "more pages than wanted");
                if steps > 2 {
                    self.commit(new);
                }
            }
            Op::Place { place, free, reclaim, dropped } => {
                let freed = Self::pick(&mut new, free);
                let before = new.objects.values().flat_map(|o| o.runs.last()).copied().collect::<Vec<_>>();
                let mut space = Space::new(&mut new.table);
                space.reclaim(oldest, *reclaim).unwrap();
                let (wanted, runs) = match place {
                    Where::Open(wanted) => (wanted.clone(), space.allocate_in(&mut self.open, wanted).map(Some)),
                    Where::Whole(pages, room) => (vec![*pages], space.allocate_whole(*pages, *room).map(Some)),
                    Where::Behind(object, pages) => {
                        let Some(run) = before.get(object % before.len().max(1)) else { return };
                        let behind = space.allocate_behind(run, *pages);
                        if let Ok(Some(runs)) = &behind {
                            let starts = runs.iter().map(|r| range_of(r).start);
                            let ends = [run].into_iter().chain(runs).map(|r| range_of(r).end);
                            assert!(starts.eq(ends.take(runs.len())), "{runs:?} do not follow {run:?}");
                        }
                        (vec![*pages], behind)
                    }
                };
                let runs = match runs {
                    Ok(Some(runs)) => runs,
                    // The pages behind are taken: nothing has changed, the transaction may go on.
                    Ok(None) => Vec::new(),
                    Err(full) => return assert_full(&new.table, &wanted, &full),
                };
                space.free(freed).unwrap();
                if !runs.is_empty() {
                    let pages = |runs: &[Run]| runs.iter().map(|r| usize::from(r.pages)).sum::<usize>();
                    assert_eq!(pages(&runs), wanted.iter().map(|n| usize::from(*n)).sum::<usize>());
                    if let Some(next) = space.prezeroed_next(&runs[runs.len() - 1]).unwrap() {
                        // Prezeroed: no object may rely on it.
                        self.write(&[next], 0);
                    }
                    let object = Object { runs, stamp: self.number() };
                    self.write(&object.runs, object.stamp);
                    new.objects.insert(object.stamp, object);
                }
                if !dropped {
                    self.commit(new);
                }
            }
            Op::Claim { writer, what, left, reclaim, dropped } => {
                let living: Vec<usize> = (0..self.writers.len()).filter(|i| self.writers[*i].alive).collect();
                let known = writer.and_then(|n| living.get(n % living.len().max(1)).copied());
                let fresh = Owner { serial: self.number(), ..OWNER };
                let owner = known.map_or(fresh, |i| self.writers[i].owner);
                let mut space = Space::new(&mut new.table);
                space.reclaim(oldest, *reclaim).unwrap();
                let claimed = match what {
                    What::Pages(wanted, least) => space.claim(&owner, *wanted, *least),
                    What::Piece(pages) => space.claim_piece(&owner, &mut self.open, *pages).map(|piece| vec![piece]),
                    What::Scattered(wanted) => {
                        let claimed = space.claim_scattered(&owner, &mut self.open, wanted);
                        claimed.map(|runs| runs.iter().map(Run::in_file).collect())
                    }
                };
                let got = match claimed {
                    Ok(got) => got,
                    Err(full) => {
                        assert!(full.is_store_full(), "{full:?}");
                        // Nothing has changed, the transaction may go on: but not where one run of several has no room.
                        if !matches!(what, What::Scattered(_)) {
                            self.commit(new);
                        }
                        return;
                    }
                };
                let lengths: Vec<u64> = got.iter().map(|range| range.end - range.start).collect();
                let sum: u64 = lengths.iter().sum();
                match what {
                    What::Pages(wanted, least) => {
                        let (fewest, least) = ((*wanted).max((*least).into()), u64::from(*least));
                        assert!(lengths.iter().all(|n| *n >= least), "{got:?} in runs of {least}");
                        assert!((fewest..fewest + least).contains(&sum), "{got:?} for {wanted}");
                    }
                    What::Piece(pages) => assert_eq!(lengths, [u64::from(*pages)]),
                    What::Scattered(wanted) => assert_eq!(sum, wanted.iter().map(|n| u64::from(*n)).sum::<u64>()),
                }
                if *dropped {
                    return;
                }
                self.commit(new);
                let index = known.unwrap_or_else(|| {
                    let stamp = self.number();
                    self.writers.push(Writer { owner, stamp, written: Vec::new(), alive: true });
                    self.writers.len() - 1
                });
                let mut written: Vec<Run> = got.into_iter().flat_map(runs_of).collect();
                written.truncate(written.len().saturating_sub(*left));
                self.write(&written, self.writers[index].stamp);
                self.writers[index].written.extend(written);
            }
            Op::Consume { writer, skip, free, dropped } => {
                let Some(index) = self.living(*writer) else { return };
                let Writer { owner, stamp, ref written, .. } = self.writers[index];
                let used = written.iter().enumerate().filter(|(i, _)| i % skip != skip - 1);
                let runs: Vec<Run> = used.map(|(_, run)| *run).collect();
                let freed = Self::pick(&mut new, free);
                let mut space = Space::new(&mut new.table);
                space.consume_claim(&owner, &runs).unwrap();
                space.free(freed).unwrap();
                if !dropped {
                    new.objects.insert(stamp, Object { runs, stamp });
                    self.commit(new);
                    self.writers.remove(index);
                }
            }
            Op::Release { writer, dropped } => {
                let Some(index) = self.living(*writer) else { return };
                Space::new(&mut new.table).release(&self.writers[index].owner).unwrap();
                if !dropped {
                    self.commit(new);
                    self.writers.remove(index);
                }
            }
            Op::Die { writer } => {
                if let Some(index) = self.living(*writer) {
                    self.writers[index].alive = false;
                }
            }
            Op::Sweep { max, dropped } => {
                let dead: Vec<Owner> = self.writers.iter().filter(|w| !w.alive).map(|w| w.owner).collect();
                let swept = Space::new(&mut new.table).sweep(*max, &mut |owner| Ok(!dead.contains(owner))).unwrap();
                assert_eq!(swept, dead.len().min(*max));
                if !dropped {
                    self.writers.retain(|w| w.alive || new.table.claims.contains_key(&w.owner.to_bytes()));
                    self.commit(new);
                }
            }
            Op::Look => self.snapshots.push(self.now.clone()),
            Op::LookAway { snapshot } => {
                if !self.snapshots.is_empty() {
                    self.snapshots.swap_remove(snapshot % self.snapshots.len());
                }
            }
            Op::PowerLoss => {
                self.snapshots.clear();
                if let Some(before) = self.before.take() {
                    self.now = before;
                }
                // All writers are gone. Only the index still lists their claims.
                let claims = self.now.table.claims.keys();
                let dead = claims.map(Owner::from_bytes);
                self.writers =
                    dead.map(|owner| Writer { owner, stamp: 0, written: Vec::new(), alive: false }).collect();
            }
        }
    }

    /// A writer that lives, chosen by number.
    fn living(&self, chosen: usize) -> Option<usize> {
        let living: Vec<usize> = (0..self.writers.len()).filter(|i| self.writers[*i].alive).collect();
        living.get(chosen % living.len().max(1)).copied()
    }

    /// Pages of states and claims have their stamps, and every page is in exactly one place.
    fn check(&self) {
        for state in self.snapshots.iter().chain([&self.now]) {
            for object in state.objects.values() {
                self.check_stamp(&object.runs, object.stamp);
            }
        }
        for writer in self.writers.iter().filter(|w| w.alive) {
            self.check_stamp(&writer.written, writer.stamp);
        }
        let table = &self.now.table;
        let mut places = vec![None; table.end as usize * usize::from(CHUNK_PAGES)];
        let referenced = self.now.objects.values().flat_map(|o| o.runs.clone()).map(|run| ("referenced", run));
        let freed = table.freed.values().flatten().map(|run| ("freed", *run));
        let claimed = table.claims.values().flatten().cloned().flat_map(runs_of).map(|run| ("claimed", run));
        let free = table.free_runs().map(|run| ("free", run));
        for (place, run) in referenced.chain(freed).chain(claimed).chain(free) {
            for page in &mut places[range_of(&run)] {
                assert_eq!(page.replace(place), None, "{run:?} is {place}, and something else");
            }
        }
        assert!(places.iter().all(Option::is_some), "a page is nowhere");
        let listed: Vec<(u64, u8)> = table.chunks.iter().map(|(c, bitmap)| (*c, bitmap.class().unwrap())).collect();
        let mut fits: Vec<(u64, u8)> = table.fits.iter().map(|(class, chunk)| (*chunk, *class)).collect();
        fits.sort_unstable();
        assert_eq!(listed, fits, "chunks are listed by their longest runs");
    }

    fn check_stamp(&self, runs: &[Run], stamp: u64) {
        for run in runs {
            assert!(self.pages[range_of(run)].iter().all(|s| *s == stamp), "{run:?} was overwritten");
        }
    }

    /// Without readers and writers, all pages that are not referenced become free, in a few transactions.
    fn check_nothing_leaks(&mut self) {
        self.snapshots.clear();
        for writer in &mut self.writers {
            writer.alive = false;
        }
        self.apply(&Op::Sweep { max: usize::MAX, dropped: false });
        for _ in 0..3 {
            let reclaim = usize::MAX;
            self.apply(&Op::Commit { wanted: vec![], free: vec![], reclaim, dropped_after: None });
        }
        self.check();
        assert!(self.now.table.freed.is_empty() && self.now.table.claims.is_empty());
    }
}

/// The file is full only if it has too few free pages, however scattered they are.
fn assert_full(table: &SimulatedTable, wanted: &[u16], full: &Error) {
    assert!(full.is_store_full(), "{full:?}");
    let free: u64 = table.free_runs().map(|r| u64::from(r.pages)).sum();
    let all: u64 = wanted.iter().map(|n| u64::from(*n)).sum();
    assert!(free < all, "full, with {free} pages free and {all} wanted");
}

fn range_of(run: &Run) -> std::ops::Range<usize> {
    let first = run.chunk as usize * usize::from(CHUNK_PAGES) + usize::from(run.first);
    first..first + usize::from(run.pages)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_in_use_is_handed_out_and_nothing_leaks(disk in 2..12_u64, ops in prop::collection::vec(op(), 0..60)) {
        let mut model = Model::new(disk);
        for op in &ops {
            model.apply(op);
            model.check();
        }
        model.check_nothing_leaks();
    }
}
