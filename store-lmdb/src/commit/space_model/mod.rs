//! How the data file settles under small and large commits: the allocator, laying pages over blocks and defragmenting, run
//! for many commits without an index, a file or a payload.
//!
//! `just space-model` runs a million commits of each kind, or as many as it is told, and prints what becomes of the file.

mod database;

use bigarray_testing::Rng;
use database::{Change, Database};

/// Pages of a block of each of the three arrays: 64 KiB, 256 KiB and 2 MiB.
const BLOCKS: [u16; 3] = [16, 64, 512];
/// Pages of each array: 128 MiB.
const ARRAY: usize = 32_768;

/// What the commits are.
#[derive(Clone, Copy, Debug)]
enum Workload {
    /// Each rewrites a block, or changes one element.
    Small,
    /// Each does that in eight places.
    Large,
    /// As small ones, and what was written is flushed before the commit.
    Flushed,
}

/// Commits to three arrays, wherever in them.
struct Simulation {
    workload: Workload,
    database: Database,
    random: Rng,
    commits: u64,
    /// Commits, and the pages that they wrote, at the last report.
    reported: (u64, u64),
}

impl Simulation {
    fn new(workload: Workload) -> Simulation {
        let mut database = Database::new();
        for pages in BLOCKS {
            database.create(ARRAY / usize::from(pages), pages);
        }
        Simulation { workload, database, random: Rng::new(14), commits: 0, reported: (0, 0) }
    }

    fn commit(&mut self) {
        let n = if matches!(self.workload, Workload::Large) { 8 } else { 1 };
        let mut changes: Vec<Change> = (0..n).map(|_| self.change()).collect();
        changes.sort_by_key(|change| (change.array, change.block));
        changes.dedup_by_key(|change| (change.array, change.block));
        self.database.commit(&changes, matches!(self.workload, Workload::Flushed));
        self.commits += 1;
    }

    fn change(&mut self) -> Change {
        let array = self.random.below(3);
        let of_block = usize::from(BLOCKS[array]);
        let block = self.random.below(ARRAY / of_block);
        let pages = match self.random.below(2) {
            0 => 0..of_block,
            _ => {
                let page = self.random.below(of_block);
                page..page + 1
            }
        };
        Change { array, block, pages: pages.start as u32..pages.end as u32 }
    }

    /// The file's bytes against the live ones.
    fn ratio(&self) -> f64 {
        self.database.file_pages() as f64 / self.database.live_pages() as f64
    }

    fn report(&mut self) {
        let Simulation { database, commits, reported, .. } = self;
        let mib = |pages: u64| pages / 256;
        let pages = (database.written - reported.1) as f64 / (*commits - reported.0) as f64;
        *reported = (*commits, database.written);
        println!(
            "{commits:>9}: live {} MiB, file {} MiB, free in whole chunks {} MiB, in others {} MiB, pieces a block {:.2} {:.2} \
             {:.2}, pages written a commit {pages:.1}, copies {}",
            mib(database.live_pages()),
            mib(database.file_pages()),
            mib(database.free_in_whole()),
            mib(database.free_in_part()),
            database.pieces(0),
            database.pieces(1),
            database.pieces(2),
            database.copies,
        );
    }
}

/// Runs so many commits, fails if a page is in two places then or in none, and returns the greatest ratio of file and live
/// bytes at every 500th.
fn most(workload: Workload, commits: u64) -> f64 {
    println!("{workload:?} commits");
    let mut simulation = Simulation::new(workload);
    let mut most = 0.0_f64;
    let mut next = 1000;
    while simulation.commits < commits {
        simulation.commit();
        if simulation.commits.is_multiple_of(500) {
            most = most.max(simulation.ratio());
        }
        if simulation.commits == next {
            simulation.report();
            next = if next < 10_000 { next + 1000 } else { 2 * next };
        }
    }
    simulation.report();
    simulation.database.check();
    most
}

/// As many as the recipe `space-model` asks for, else `usual`.
fn commits(usual: u64) -> u64 {
    std::env::var("COMMITS").map_or(usual, |n| n.parse().expect("COMMITS is a number"))
}

/// Fails if the file grows to more than `limit` times what lives in it.
#[track_caller]
fn settles(workload: Workload, commits: u64, limit: f64) {
    let most = most(workload, commits);
    assert!(most <= limit, "the file grew to {most:.2} times what lives in it");
}

#[test]
fn a_file_settles_under_small_commits() {
    settles(Workload::Small, commits(100_000), 1.5);
}

#[test]
fn a_file_settles_under_large_commits() {
    settles(Workload::Large, commits(20_000), 1.5);
}

#[test]
fn a_file_settles_under_flushes() {
    settles(Workload::Flushed, commits(20_000), 1.5);
}
