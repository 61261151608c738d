//! The pager of one span: loads missing blocks on a fault, finds what was written, brings the span up to date.
//!
//! # Locks, and why no thread waits for ever
//!
//! One mutex guards the [`Table`]. A thread of the user never touches span memory while it holds it, and the
//! monitor touches no span memory at all (invariant B of docs/soundness.md), so a thread that waits in a fault holds
//! nothing that the monitor needs. Storage is asked without it (step 4), except while binding, when the span has no view and thus no
//! fault.
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
mod eviction;
mod load;
mod rebind;
mod scratch;
mod spill_map;
mod table;
mod track;

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Weak};

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, BlockSize, PAGE, page_ceil};
use crate::memory::{Memory, Residency, Span};
use crate::page_map::PageMap;
use crate::signals;
use crate::store::Origin;
use crate::sync::{Condvar, FaultMutex, FaultMutexGuard};
pub(crate) use binding::Binding;
use block::Kind;
pub(crate) use eviction::budget::{Budget, BudgetPermit};
pub use eviction::policy::MemoryUse;
pub(crate) use spill_map::{LazySpillArea, SpillMap, SpilledBlock};
use table::{State, Table};
pub(crate) use track::search::Written;

/// What accesses to expect, as for `madvise`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Load ahead over what lies together, read ahead from disk.
    #[default]
    Normal,
    /// The same, also for compressed blocks from the first one on.
    Sequential,
    /// Load the touched block only, read no more from disk than is touched.
    Random,
}

/// How blocks become memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Copy every block rather than map it.
    pub(crate) copy: bool,
    /// Verify mapped blocks against their checksums.
    pub(crate) verify: bool,
    /// Spill while views live.
    pub(crate) spill_under_views: bool,
}

pub(crate) struct Pager {
    span: Box<dyn Span>,
    /// The bytes of the array that the span has.
    bytes: Range<usize>,
    memory: Arc<dyn Memory>,
    residency: Residency,
    block_size: BlockSize,
    policy: Policy,
    budget: Arc<Budget>,
    /// Its number in the budget.
    owner: u64,
    access: AtomicU8,
    /// Whether the memory can track writes, as far as is known.
    can_track: AtomicBool,
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
        policy: Policy,
        budget: &Arc<Budget>,
    ) -> Result<Arc<Pager>> {
        let span = memory.reserve(bytes.clone(), residency)?;
        let owner = budget.new_owner();
        let pager = Arc::new_cyclic(|this| Pager {
            span,
            bytes,
            memory: memory.clone(),
            residency,
            block_size,
            policy,
            budget: budget.clone(),
            owner,
            access: AtomicU8::new(Access::Normal as u8),
            can_track: AtomicBool::new(true),
            table: FaultMutex::new(Table::new(residency)),
            loaded: Condvar::new(),
            this: this.clone(),
        });
        pager.span.attach(pager.this.clone());
        Ok(pager)
    }

    /// The address of a byte of the array that the span has.
    pub(crate) fn address_of(&self, byte: usize) -> NonNull<u8> {
        debug_assert!((self.bytes.start..=self.bytes.end).contains(&byte));
        self.span.base().map_addr(|base| base.saturating_add(byte - self.bytes.start))
    }

    /// The byte of the array that the span ends at.
    pub(crate) fn end_bytes(&self) -> usize {
        self.bytes.end
    }

    /// Whether the span has all of `bytes`.
    pub(crate) fn has(&self, bytes: &Range<usize>) -> bool {
        self.bytes.start <= bytes.start && bytes.end <= self.bytes.end
    }

    /// The blocks that the span has addresses for.
    fn blocks(&self) -> Range<u64> {
        self.block_size.block_at(self.bytes.start).0..self.block_size.block_at(self.bytes.end).0
    }

    pub(crate) fn residency(&self) -> Residency {
        self.residency
    }

    pub(crate) fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// For what will be mapped, and for what is mapped already.
    pub(crate) fn advise(&self, access: Access) {
        let before = self.access.swap(access as u8, Ordering::Relaxed);
        if (before == Access::Random as u8) != (access == Access::Random) {
            // A load looks at `access` under the lock that this takes: it saw the new one, or what it mapped is here.
            for (at, _) in self.extents_in(&self.bytes) {
                self.span.advise(at, access == Access::Random);
            }
        }
    }

    /// Whether system calls cannot wait for a fault.
    pub(crate) fn is_user_mode(&self) -> bool {
        !self.memory.delivers_kernel_faults()
    }

    fn access(&self) -> Access {
        let access = self.access.load(Ordering::Relaxed);
        [Access::Sequential, Access::Random].into_iter().find(|a| *a as u8 == access).unwrap_or_default()
    }

    fn is_random(&self) -> bool {
        self.access() == Access::Random
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

    /// Writes zeros. No other thread may be using the range.
    pub(crate) fn fill_zero(&self, bytes: Range<usize>) {
        self.span.fill_zero(bytes);
    }

    /// The table. Signals wait meanwhile, but not where no fault takes it.
    fn lock(&self) -> FaultMutexGuard<'_, Table> {
        self.table.lock_where(self.residency == Residency::Lazy)
    }

    fn bytes_of(&self, blocks: &Range<u64>) -> Range<usize> {
        let end = self.block_size.start_of(BlockNo(blocks.end)).min(self.end_bytes());
        self.block_size.start_of(BlockNo(blocks.start))..end
    }

    /// Loads the blocks of `bytes`, with errors as values. With `for_writing` copied blocks are made writable too, so
    /// that a write meets no fault, and no failure.
    pub(crate) fn prefetch(&self, bytes: &Range<usize>, for_writing: bool) -> Result<()> {
        self.memory.check_process()?;
        let _held = signals::hold_between_waits();
        for block in self.block_size.blocks_in(bytes) {
            self.load_and_wait(block)?;
            if for_writing {
                self.admit_writer(block, false)?;
            }
        }
        let Some(file) = self.lock().binding().map(|binding| binding.snapshot.file().clone()) else {
            return Ok(());
        };
        for (extent, offset) in self.extents_in(bytes) {
            signals::let_through(|| self.span.read_in(extent, &file, offset, self.is_random()))?;
        }
        Ok(())
    }

    /// The pages of `bytes` that are mapped, each run with where it begins in the file.
    fn extents_in(&self, bytes: &Range<usize>) -> Vec<(Range<usize>, u64)> {
        let wanted = bytes.start / PAGE * PAGE..page_ceil(bytes.end);
        let table = self.lock();
        let blocks = table.blocks(self.block_size.blocks_in(bytes));
        let mapped = blocks.filter(|(_, there)| there.kind() == Kind::Mapped);
        let map = PageMap::of_blocks(mapped.map(|(block, there)| (block, there.record())), self.block_size);
        let extents =
            map.pieces().iter().filter_map(|piece| piece.within(&wanted)).filter_map(|piece| match piece.origin {
                Origin::Extent(offset) => Some((piece.bytes, offset)),
                Origin::Hole | Origin::Produced => None,
            });
        extents.collect()
    }

    fn load_and_wait(&self, block: u64) -> Result<()> {
        // A handler that came to need this very block would wait for its own thread to load it.
        let _held = signals::hold();
        let mut table = self.lock();
        loop {
            let load = match table.state(block) {
                State::Installed(Kind::Poisoned) => {
                    let why = table.failure().unwrap_or_else(|| Error::new(ErrorKind::Corrupt, ""));
                    return Err(why.context(format_args!("block {block} could not be loaded")));
                }
                State::Installed(_) => return Ok(()),
                State::Loading => self.steal(&mut table, block),
                State::Missing => Some(
                    self.start(&mut table, block)
                        .ok_or_else(|| Error::new(ErrorKind::Invalid, "the array is not open any more"))?,
                ),
            };
            table = match load {
                Some(load) => {
                    drop(table);
                    Pager::load(load)?;
                    self.lock()
                }
                None => table.wait(&self.loaded),
            };
        }
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pager(bytes {:?} at {:?})", self.bytes, self.span.base())
    }
}
