//! What has to be produced is loaded ahead of those who read it in order, so that they wait for the slowest of several
//! threads and not for one block after the other. Who reads on is seen by his faults alone, also by those for a block
//! that is loading: a reader that never catches up needs no more of it.

use crate::memory::Job;
use crate::pager::table::{State, Table};
use crate::pager::{Access, Pager};

/// Loaded ahead of one reader at most, and no more than an eighth of the budget.
const AHEAD_BYTES: usize = 16 << 20;

impl Pager {
    /// Somebody waits for `block`, which has to be produced: jobs that load what he is going to wait for next.
    pub(crate) fn load_ahead_of(&self, table: &mut Table, block: u64) -> Vec<Job> {
        let access = self.access();
        let most = AHEAD_BYTES.min(self.budget.limit_bytes() / 8) / self.block_size.bytes();
        if access == Access::Random || most == 0 {
            return Vec::new();
        }
        let end = table.binding().map_or(0, |binding| binding.end).min(self.blocks().end);
        let wanted = table.streams().follow(block, most as u64, access == Access::Sequential);
        let mut jobs: Vec<Job> = Vec::new();
        for next in wanted.start..wanted.end.min(end) {
            if table.state(next) == State::Missing
                && let Some(load) = self.start_queued(table, next)
            {
                jobs.push(Box::new(move || load.run_ahead()));
            }
        }
        jobs
    }

    /// Somebody waits for `block`, which is loading.
    pub(crate) fn load_ahead_of_loading(&self, table: &mut Table, block: u64) -> Vec<Job> {
        if table.streams().is_ahead(block) { self.load_ahead_of(table, block) } else { Vec::new() }
    }
}
