//! What has to be produced is loaded ahead of those who read it in order, so that they wait for the slowest of several
//! threads and not for one block after the other. Who reads on is seen by his faults alone, also by those for a block
//! that is loading: a reader that never catches up needs no more of it.

use super::table::{State, Table};
use super::{Access, Pager};
use crate::memory::Job;

/// Loaded ahead of one reader at most, and no more than an eighth of the budget.
const AHEAD_BYTES: usize = 16 << 20;

/// Readers of one span that are told apart.
const STREAMS: usize = 8;

/// A reader that goes through the blocks in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// The last block that he waited for.
    last: u64,
    /// Blocks before this one are loaded ahead of him already.
    next: u64,
}

/// The readers of one span, the latest last.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    /// Somebody waits for `block`. Which blocks behind it are to be loaded, if he reads in order, or if all are expected
    /// to.
    fn follow(&mut self, block: u64, most: u64, in_order: bool) -> std::ops::Range<u64> {
        let at = self.0.iter().position(|s| s.last < block && block <= s.last.saturating_add(most).max(s.next));
        let stream = at.map(|at| self.0.remove(at));
        let next = stream.map_or(block + 1, |stream| stream.next.max(block + 1));
        let end = if stream.is_some() || in_order { (block + 1).saturating_add(most) } else { next };
        if self.0.len() == STREAMS {
            self.0.remove(0);
        }
        self.0.push(Stream { last: block, next: end.max(next) });
        next..end.max(next)
    }

    /// Whether `block` is among those that are being loaded ahead.
    fn is_ahead(&self, block: u64) -> bool {
        self.0.iter().any(|stream| stream.last < block && block < stream.next)
    }
}

impl Pager {
    /// Somebody waits for `block`, which has to be produced: jobs that load what he is going to wait for next.
    pub(super) fn load_ahead_of(&self, table: &mut Table, block: u64) -> Vec<Job> {
        let access = self.access();
        let most = AHEAD_BYTES.min(self.budget.limit_bytes() / 8) / self.block_size.bytes();
        if access == Access::Random || most == 0 {
            return Vec::new();
        }
        let end = table.binding.as_ref().map_or(0, |binding| binding.end).min(self.blocks().end);
        let wanted = table.streams.follow(block, most as u64, access == Access::Sequential);
        let mut jobs: Vec<Job> = Vec::new();
        for next in wanted.start..wanted.end.min(end) {
            if table.state(next) == State::Missing
                && let Some(load) = self.start_parked(table, next)
            {
                jobs.push(Box::new(move || load.run_ahead()));
            }
        }
        jobs
    }

    /// Somebody waits for `block`, which is loading.
    pub(super) fn load_ahead_of_loading(&self, table: &mut Table, block: u64) -> Vec<Job> {
        if table.streams.is_ahead(block) { self.load_ahead_of(table, block) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_in_order_has_the_next_blocks_loaded_once() {
        let mut streams = Streams::default();
        assert!(streams.follow(5, 4, false).is_empty());
        assert_eq!(streams.follow(6, 4, false), 7..11);
        assert_eq!(streams.follow(8, 4, false), 11..13);
        assert!(streams.is_ahead(12) && !streams.is_ahead(13) && !streams.is_ahead(8));
        assert_eq!(streams.follow(13, 4, false), 14..18);
    }

    #[test]
    fn who_jumps_has_nothing_loaded_unless_he_said_that_he_reads_in_order() {
        let mut streams = Streams::default();
        assert!(streams.follow(50, 4, false).is_empty());
        assert!(streams.follow(10, 4, false).is_empty());
        assert!(streams.follow(30, 4, false).is_empty());
        assert_eq!(streams.follow(90, 4, true), 91..95);
    }

    #[test]
    fn several_readers_are_told_apart() {
        let mut streams = Streams::default();
        streams.follow(0, 4, false);
        streams.follow(100, 4, false);
        assert_eq!(streams.follow(1, 4, false), 2..6);
        assert_eq!(streams.follow(101, 4, false), 102..106);
        assert_eq!(streams.follow(2, 4, false), 6..7);
    }
}
