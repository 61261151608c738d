//! Freed pages: recorded when the new state does not refer to them, and used again when no reader sees an older state.

use bigarray_core::Result;

use super::allocator::wrong;
use super::{FreedKey, Run, Space};

/// Most runs in one record: at 12 bytes each it stays inside a page of the index.
pub(crate) const FREED_RUNS: usize = 128;

/// The oldest state that a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldestReader {
    /// There is no reader.
    None,
    /// This state.
    At(u64),
    /// It is not known, so it may be any.
    Unknown,
}

impl OldestReader {
    /// Whether a reader may see pages that transaction `txn` freed, or what else it removed.
    pub(crate) fn may_see_freed_by(self, txn: u64) -> bool {
        match self {
            OldestReader::None => false,
            OldestReader::At(oldest) => txn > oldest,
            OldestReader::Unknown => true,
        }
    }
}

impl Space<'_> {
    /// Runs that a transaction reclaims, besides twice as many as it frees: so the list shrinks, however much was freed at
    /// once, and no commit takes long for it.
    pub(crate) const RECLAIM_RUNS: usize = 512;

    /// Records runs to which the state before refers, and the state of this transaction does not.
    pub(crate) fn free(&mut self, mut runs: Vec<Run>) -> Result<()> {
        runs.sort_unstable();
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            if !run.is_sound() {
                return Err(wrong(&run, "are freed, but lie outside the file"));
            }
            match joined.last_mut().filter(|last| last.chunk == run.chunk && last.end() >= run.first) {
                Some(last) if last.end() == run.first => last.pages += run.pages,
                Some(_) => return Err(wrong(&run, "are freed twice by one transaction")),
                None => joined.push(run),
            }
        }
        let txn = self.table.txn_id();
        for runs in joined.chunks(FREED_RUNS) {
            self.table.put_freed(FreedKey { txn, part: self.freed_parts }, runs)?;
            self.freed_parts += 1;
        }
        Ok(())
    }

    /// Makes freed runs free if no reader sees a state that refers to them, oldest first, about `max` runs. Returns how
    /// many.
    ///
    /// In transaction W these are the runs freed by T ≤ min(W − 2, oldest reader): state T does not refer to them. The state
    /// on which a reader may be about to begin, and the one to which a power loss may fall back, are no older than W − 2.
    pub(crate) fn reclaim(&mut self, oldest: OldestReader, max: usize) -> Result<usize> {
        let Some(last) = self.table.txn_id().checked_sub(2) else { return Ok(0) };
        let mut done = 0;
        while done < max
            && let Some((key, runs)) = self.table.first_freed()?
            && key.txn <= last
            && !oldest.may_see_freed_by(key.txn)
        {
            for runs in runs.chunk_by(|a, b| a.chunk == b.chunk) {
                self.give_back(runs)?;
            }
            self.table.delete_freed(key)?;
            done += runs.len();
        }
        Ok(done)
    }
}
