//! The data file of a database that exists in memory only: what its commits allocate and free, by the code that real ones
//! use, and no byte of payload.

use std::ops::Range;

use bigarray_core::Version;

use crate::alloc::{CHUNK_PAGES, OldestReader, Owner, Pool, Run, SimulatedTable, Space, runs_of as runs_of_pages};
use crate::commit::EARLY_PAGES;
use crate::commit::defragment::most_pieces;
use crate::commit::overlay::{lay_over, without};
use crate::record::{StoredBlock, StoredSegment, runs_of};

/// New content of some pages of a block.
pub(super) struct Change {
    pub(super) array: usize,
    pub(super) block: usize,
    pub(super) pages: Range<u32>,
}

/// A database without readers: a commit's own snapshot is the newest state.
pub(super) struct Database {
    table: SimulatedTable,
    open: Option<u64>,
    /// The blocks of each array.
    pub(super) arrays: Vec<Vec<StoredBlock>>,
    /// Pages that commits wrote.
    pub(super) written: u64,
    /// Copies of blocks in too many pieces.
    pub(super) copies: u64,
}

impl Database {
    pub(super) fn new() -> Database {
        let (table, open) = (SimulatedTable::new(u64::MAX), None);
        Database { table, open, arrays: Vec::new(), written: 0, copies: 0 }
    }

    /// Stores an array of whole blocks, as a large payload does: one behind the other.
    pub(super) fn create(&mut self, blocks: usize, pages: u16) -> usize {
        let owner = self.table.begin_commit();
        let mut space = Space::new(&mut self.table);
        let claimed = space.claim(&owner, (blocks * usize::from(pages)) as u64, pages).unwrap();
        let in_blocks =
            |run: Run| (run.first..run.end()).step_by(pages.into()).map(move |first| Run { first, pages, ..run });
        let runs: Vec<Run> = claimed.into_iter().flat_map(runs_of_pages).flat_map(in_blocks).collect();
        space.consume_claim(&owner, &runs).unwrap();
        let block = |run: &Run| StoredBlock {
            version: Version(self.table.txn),
            pages: pages.into(),
            segments: vec![StoredSegment::plain(0, *run)],
        };
        self.arrays.push(runs.iter().map(block).collect());
        self.arrays.len() - 1
    }

    /// Commits new content of some pages of blocks, no two of which are of one block. A small payload goes to free pages in
    /// the commit. A large one, and one that was `spilled`, goes to claimed pages before it.
    pub(super) fn commit(&mut self, changes: &[Change], spilled: bool) {
        let pages: u64 = changes.iter().map(|change| change.pages.len() as u64).sum();
        self.written += pages;
        let is_claimed = spilled || pages > EARLY_PAGES as u64;
        let wanted: Vec<u16> = changes.iter().map(|change| change.pages.len() as u16).collect();
        let claimed = is_claimed.then(|| self.claim(&wanted, spilled));
        self.table.begin_commit();
        let mut space = Space::new(&mut self.table);
        let oldest = OldestReader::None;
        space.reclaim(oldest, Space::RECLAIM_RUNS).unwrap();
        let runs = match &claimed {
            Some((_, runs)) => runs.clone(),
            None => space.allocate_in(&mut self.open, &wanted).unwrap(),
        };
        let mut runs = Pool::new(runs);
        let (mut freed, mut used) = (Vec::new(), Vec::new());
        for Change { array, block, pages } in changes {
            let stored = &mut self.arrays[*array][*block];
            let mut new = Vec::new();
            let mut first = pages.start;
            for run in runs.draw(pages.len() as u64) {
                new.push(StoredSegment::plain(first, run));
                first += u32::from(run.pages);
            }
            assert_eq!(first, pages.end, "less space was handed out than asked for");
            let over = lay_over(&stored.segments, std::slice::from_ref(pages), &new);
            stored.segments = over.segments;
            freed.extend(over.freed);
            if stored.segments.len() > most_pieces(stored) {
                // What is copied of the claim becomes free with it.
                let claimed = if is_claimed { runs_of(&new) } else { Vec::new() };
                freed.extend(runs_of(&stored.segments).into_iter().flat_map(|run| without(run, &claimed)));
                stored.segments.clear();
                let mut first = 0;
                for run in space.allocate_whole(stored.pages as u16, stored.pages as u16).unwrap() {
                    stored.segments.push(StoredSegment::plain(first, run));
                    first += u32::from(run.pages);
                }
                self.written += u64::from(stored.pages);
                self.copies += 1;
            } else {
                used.extend(runs_of(&new));
            }
        }
        let freed_runs = freed.len();
        space.free(freed).unwrap();
        if let Some((owner, _)) = claimed {
            space.consume_claim(&owner, &used).unwrap();
        }
        space.reclaim(oldest, 2 * freed_runs).unwrap();
    }

    /// Claims pages as [`Claim`](crate::space::Claim) does: for one payload, or for runs that were `spilled` one by one.
    fn claim(&mut self, wanted: &[u16], spilled: bool) -> (Owner, Vec<Run>) {
        let owner = self.table.begin_commit();
        let mut space = Space::new(&mut self.table);
        space.reclaim(OldestReader::None, Space::RECLAIM_RUNS).unwrap();
        let open = &mut self.open;
        let runs = match spilled {
            true => {
                wanted.iter().map(|n| space.claim_piece(&owner, open, *n).unwrap()).flat_map(runs_of_pages).collect()
            }
            false => space.claim_scattered(&owner, open, wanted).unwrap(),
        };
        (owner, runs)
    }

    /// Pages that blocks refer to.
    pub(super) fn live_pages(&self) -> u64 {
        self.blocks().flat_map(|block| &block.segments).map(|segment| u64::from(segment.pages)).sum()
    }

    /// Pages of the file.
    pub(super) fn file_pages(&self) -> u64 {
        self.table.end * u64::from(CHUNK_PAGES)
    }

    /// Pages that are free in chunks which are not wholly free.
    pub(super) fn free_in_part(&self) -> u64 {
        self.table.free_runs().filter(|run| run.pages < CHUNK_PAGES).map(|run| u64::from(run.pages)).sum()
    }

    /// Pages that are free in wholly free chunks.
    pub(super) fn free_in_whole(&self) -> u64 {
        self.table.free_runs().filter(|run| run.pages == CHUNK_PAGES).map(|run| u64::from(run.pages)).sum()
    }

    /// Pieces of a block of the array, on average.
    pub(super) fn pieces(&self, array: usize) -> f64 {
        let blocks = &self.arrays[array];
        blocks.iter().map(|block| block.segments.len()).sum::<usize>() as f64 / blocks.len() as f64
    }

    /// Fails where a page is in two places or in none.
    pub(super) fn check(&self) {
        let mut used = vec![false; self.file_pages() as usize];
        let live = self.blocks().flat_map(|block| runs_of(&block.segments));
        let freed = self.table.freed.values().flatten().copied();
        for run in live.chain(freed).chain(self.table.free_runs()) {
            let first = run.chunk as usize * usize::from(CHUNK_PAGES) + usize::from(run.first);
            for page in &mut used[first..first + usize::from(run.pages)] {
                assert!(!std::mem::replace(page, true), "{run:?} is in two places");
            }
        }
        assert!(used.iter().all(|used| *used), "a page is nowhere");
    }

    fn blocks(&self) -> impl Iterator<Item = &StoredBlock> {
        self.arrays.iter().flatten()
    }
}
