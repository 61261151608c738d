//! Blocks that have to be produced are loaded before a reader in order comes to them, so that it waits for the slowest
//! of several threads and not for one block after the other. A reader is seen by its faults alone, also by those for a
//! block that is loading: a reader that never catches up needs no more blocks loaded.

use crate::memory::Job;
use crate::pager::load::streams::Reach;
use crate::pager::table::{Presence, Table};
use crate::pager::{Access, Pager};

/// Loaded ahead of one reader at most, and no more than an eighth of the budget.
const AHEAD_BYTES: usize = 16 << 20;

/// Storage is told of so much ahead of a reader, which is more: what it fetches of that takes no memory of the budget,
/// and an answer of another machine takes as long as megabytes take to arrive.
const TOLD_BYTES: usize = 64 << 20;

impl Pager {
    /// A reader waits for `block`, which has to be produced: jobs that load the blocks that it will wait for next.
    pub(crate) fn load_ahead_of(&self, table: &mut Table, block: u64) -> Vec<Job> {
        let access = self.access();
        let most = AHEAD_BYTES.min(self.budget.limit_bytes() / 8) / self.block_size.bytes();
        if access == Access::Random || most == 0 {
            return Vec::new();
        }
        let reach = Reach { load: most as u64, tell: (TOLD_BYTES / self.block_size.bytes()) as u64 };
        let end = table.shown.binding().map_or(0, |binding| binding.end).min(self.blocks().end);
        let ahead = table.streams.follow(block, reach, access == Access::Sequential);
        if let Some(binding) = table.shown.binding() {
            binding.will_need(&(ahead.tell.start..ahead.tell.end.min(end)), self.maps_cached(binding));
        }
        let mut jobs: Vec<Job> = Vec::new();
        for next in ahead.load.start..ahead.load.end.min(end) {
            if table.presence(next) == Presence::Missing
                && let Some(load) = self.start_queued(table, next)
            {
                jobs.push(Box::new(move || load.run_ahead()));
            }
        }
        jobs
    }

    /// A reader waits for `block`, which is loading.
    pub(crate) fn load_ahead_of_loading(&self, table: &mut Table, block: u64) -> Vec<Job> {
        if table.streams.is_ahead(block) { self.load_ahead_of(table, block) } else { Vec::new() }
    }
}
