//! Writes that no fault tells of: those to mapped memory, and all in an eager span. They take memory of their own, and
//! how much is known only after a search. Where no view lives one is made once so much was handed out that there may be
//! much of it.

use std::ops::Range;
use std::sync::Arc;

use super::Engine;
use crate::error::Result;
use crate::geometry::{PAGE, Ranges, page_ceil};
use crate::memory::Residency;
use crate::pager::{Budget, BudgetPermit, Pager};

/// This part of the budget may be handed out before it is searched.
const EXPOSED_PART: usize = 4;

/// This part of it may be written to and stay in memory.
const KEPT_PART: usize = 8;

/// Longest back-off between fruitless searches of a view above a quarter of the budget.
const MOST_SKIPPED: u32 = 64;

/// The ranges of one array that were exposed since it was last spilled.
#[derive(Default)]
pub(super) struct UntrackedWrites {
    ranges: Ranges,
    /// With what was handed out again.
    bytes: usize,
    /// Found written to, and kept.
    kept_bytes: usize,
    /// Searches of large views to be left out, and how many were after the last one.
    skips: (u32, u32),
    /// The permit for all memory that may come of it.
    permit: Option<BudgetPermit>,
}

impl UntrackedWrites {
    pub(super) fn record_exposure(&mut self, budget: &Arc<Budget>, bytes: Range<usize>) {
        let most = budget.limit_bytes() / EXPOSED_PART;
        let pages = page_ceil(bytes.end) - bytes.start / PAGE * PAGE;
        self.bytes = self.bytes.saturating_add(pages).min(most);
        self.ranges.insert(bytes);
        self.permit = None;
        self.permit = Some(budget.make_room(self.bytes()));
    }

    /// Nothing before byte `start` is looked for any more: it was dropped.
    pub(super) fn cut_front(&mut self, start: usize) {
        self.ranges.remove_before(start);
    }

    /// Bytes that it may have in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.kept_bytes
    }

    /// Whether so much was written that it is to be spilled. No view of `pager` may live.
    pub(super) fn should_spill(&mut self, budget: &Budget, pager: &Pager) -> Result<bool> {
        let most = budget.limit_bytes() / EXPOSED_PART;
        if self.bytes < most || most == 0 {
            return Ok(false);
        }
        if self.skips.0 > 0 {
            self.skips.0 -= 1;
            return Ok(false);
        }
        let written = pager.pinned(|| pager.maybe_written_bytes(&self.ranges))?;
        let found: usize = written.iter().map(|range| range.end - range.start).sum();
        self.kept_bytes += found;
        let is_large = self.ranges.iter().any(|range| range.end - range.start >= most);
        if found < most / 64 && is_large {
            self.skips.1 = (2 * self.skips.1).clamp(1, MOST_SKIPPED);
            self.skips.0 = self.skips.1;
        } else {
            self.skips = (0, 0);
        }
        self.bytes = 0;
        self.ranges = Ranges::default();
        Ok(self.kept_bytes >= budget.limit_bytes() / KEPT_PART)
    }
}

impl Engine {
    /// Whether the budget learns of every write to `pager` by a fault, and may act on it while views live.
    /// `is_stored`: of an array that has stored blocks.
    pub(super) fn sees_all_writes(&self, pager: &Pager, is_stored: bool) -> bool {
        let by_faults = self.options.spill_under_views && (self.options.copy || !is_stored);
        self.budget.limit_bytes() == usize::MAX || pager.residency == Residency::Lazy && by_faults
    }
}
