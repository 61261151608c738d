//! The pager of one span: loads missing blocks on a fault, finds what was written, brings the span up to date.
//!
//! # Locks, and why no thread waits for ever
//!
//! One mutex guards the [`Table`]. A thread of the user never touches span memory while it holds it, and the
//! monitor touches no span memory at all (invariant B of docs/soundness.md), so a thread that waits in a fault holds
//! nothing that the monitor needs. Storage is asked without it, since that may take long, and a message that came late
//! has the monitor take it; but for the binding of an eager span, of which no message comes.
//!
//! # Races
//!
//! * *Two threads fault on one block*: the first makes it Loading; the message of the second finds that and is
//!   dropped; the wake that follows the load (step 6) covers the whole run that was Loading.
//! * *A load outlives what it was for* (refresh, abort, shrink): each of these raises the generation under the lock,
//!   and step 5 compares it under the same lock before it installs anything. The load has the snapshot lent by the
//!   table, so what it reads stays readable; letting go of the span waits until it is given back, so that no state
//!   outlives its last handle, and a closed database is closed. A queued load has nothing lent.
//! * *A message outlives its span*: the monitor holds an `Arc` of the pager while it handles one, so addresses
//!   are given back only afterwards; a message for a re-used address loads a block early, nothing worse.
//! * *A write races with the search for writes*: the search runs when the borrow checker has seen every view die.

mod binding;
mod block;
mod contents;
mod eviction;
mod load;
mod rebind;
mod reports;
mod scratch;
mod spill_map;
mod table;
mod track;

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::geometry::{BlockNo, BlockSize};
use crate::memory::{Memory, Residency, Span};
use crate::sync::{Condvar, FaultMutex, FaultMutexGuard};
pub(crate) use binding::Binding;
use contents::ContentsPart;
use eviction::EvictionPart;
pub use eviction::budget::MemoryUse;
pub(crate) use eviction::budget::{Budget, BudgetPermit};
use load::LoadPart;
pub use load::ahead::Prefetch;
use rebind::RebindPart;
pub(crate) use reports::Activity;
pub(crate) use spill_map::{LazySpillArea, SpillMap, SpilledBlock};
use table::Table;
use track::TrackPart;
pub(crate) use track::search::Written;

/// How an array will be read, as for `madvise`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Good for scans: a touch maps the data around it, as far as it lies together, and reads it ahead from disk.
    #[default]
    Normal,
    /// The same, and compressed blocks are decompressed ahead from the first one on.
    Sequential,
    /// Good for a few scattered rows: a touch maps its block only, and reads only its page from disk.
    Random,
}

/// How an [`Engine`](crate::Engine) pages.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Copy every block into memory rather than map it.
    pub copy: bool,
    /// Verify mapped blocks against their checksums as they are mapped; copied ones always are. And see that no block
    /// of an array is missing when it is opened.
    pub verify: bool,
    /// Bytes of memory of their own that all spans together may have: beyond, copied blocks are let go of, and what was
    /// written is spilled.
    pub budget_bytes: usize,
    /// Spill while views live. Otherwise only where none does.
    pub spill_under_views: bool,
    /// How long a fault waits for storage that is [`Unavailable`](crate::ErrorKind::Unavailable), and tries again, before
    /// the access ends the process.
    pub patience: Duration,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        let patience = Duration::from_secs(120);
        EngineOptions { copy: false, verify: false, budget_bytes: usize::MAX, spill_under_views: true, patience }
    }
}

pub(crate) struct Pager {
    // What each room takes of the span: `span` in each of these is private to its room.
    contents: ContentsPart,
    eviction: EvictionPart,
    load: LoadPart,
    rebind: RebindPart,
    track: TrackPart,
    /// The bytes of the array that the span has.
    pub(crate) bytes: Range<usize>,
    memory: Arc<dyn Memory>,
    pub(crate) residency: Residency,
    pub(crate) block_size: BlockSize,
    options: EngineOptions,
    activity: Arc<Activity>,
    budget: Arc<Budget>,
    /// Its number in the budget.
    owner: u64,
    table: FaultMutex<Table>,
    /// Signalled when a run stops loading.
    loaded: Condvar,
    this: Weak<Pager>,
}

impl Pager {
    /// A pager over a new span for `bytes` of an array (multiples of 2 MiB), showing nothing yet.
    pub(crate) fn new(
        memory: &Arc<dyn Memory>,
        bytes: Range<usize>,
        residency: Residency,
        block_size: BlockSize,
        options: EngineOptions,
        budget: &Arc<Budget>,
        activity: &Arc<Activity>,
    ) -> Result<Arc<Pager>> {
        let span: Arc<dyn Span> = memory.reserve(bytes.clone(), residency)?.into();
        let owner = budget.new_owner();
        let pager = Arc::new_cyclic(|this| Pager {
            contents: ContentsPart::new(span.clone()),
            eviction: EvictionPart::new(span.clone()),
            load: LoadPart::new(span.clone()),
            rebind: RebindPart::new(span.clone()),
            track: TrackPart::new(span.clone()),
            bytes,
            memory: memory.clone(),
            residency,
            block_size,
            options,
            activity: activity.clone(),
            budget: budget.clone(),
            owner,
            table: FaultMutex::new(Table::new(residency)),
            loaded: Condvar::new(),
            this: this.clone(),
        });
        span.attach(pager.this.clone());
        Ok(pager)
    }

    /// Whether the span has all of `bytes`.
    pub(crate) fn has(&self, bytes: &Range<usize>) -> bool {
        self.bytes.start <= bytes.start && bytes.end <= self.bytes.end
    }

    /// The blocks that the span has addresses for.
    fn blocks(&self) -> Range<u64> {
        self.block_size.block_at(self.bytes.start).0..self.block_size.block_at(self.bytes.end).0
    }

    /// Whether system calls cannot wait for a fault.
    pub(crate) fn is_user_mode(&self) -> bool {
        !self.memory.delivers_kernel_faults()
    }

    /// Refuses once something could not be loaded or spilled, so that nothing of it can be committed any more, and
    /// there is more in memory than may be.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn refuse_if_hopeless(&self) -> Result<()> {
        if self.budget.is_exceeded() { self.lock().refuse_if_failed() } else { Ok(()) }
    }

    /// Makes the commit fail; the span stays readable.
    pub(crate) fn fail_commit(&self, why: &Error) {
        self.lock().fail_with(why);
    }

    /// The table. Signals wait meanwhile, but not where no fault takes it.
    fn lock(&self) -> FaultMutexGuard<'_, Table> {
        self.table.lock_where(self.residency == Residency::Lazy)
    }

    fn bytes_of(&self, blocks: &Range<u64>) -> Range<usize> {
        let end = self.block_size.start_of(BlockNo(blocks.end)).min(self.bytes.end);
        self.block_size.start_of(BlockNo(blocks.start))..end
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pager(bytes {:?} at {:?})", self.bytes, self.address_of(self.bytes.start))
    }
}
