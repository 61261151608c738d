//! Blocks that have to be produced are loaded before a reader in order comes to them, so that it waits for the slowest
//! of several threads and not for one block after the other. A reader is seen by its faults alone, also by those for a
//! block that is loading: a reader that never catches up needs no more blocks loaded.

use crate::memory::Job;
use crate::pager::table::{Presence, Table};
use crate::pager::{Access, Pager};

/// Loaded ahead of one reader at most, and no more than an eighth of the budget.
const AHEAD_BYTES: usize = 16 << 20;

impl Pager {
    /// A reader waits for `block`, which has to be produced: jobs that load the blocks that it will wait for next.
    pub(crate) fn load_ahead_of(&self, table: &mut Table, block: u64) -> Vec<Job> {
        let access = self.access();
        let most = AHEAD_BYTES.min(self.budget.limit_bytes() / 8) / self.block_size.bytes();
        if access == Access::Random || most == 0 {
            return Vec::new();
        }
        let end = table.shown.binding().map_or(0, |binding| binding.end).min(self.blocks().end);
        let wanted = table.streams.follow(block, most as u64, access == Access::Sequential);
        let mut jobs: Vec<Job> = Vec::new();
        for next in wanted.start..wanted.end.min(end) {
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
