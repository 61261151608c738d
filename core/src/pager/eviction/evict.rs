//! Evicting a block while views live, in four steps:
//! (1) hold back every write; (2) find what was written and spill it; (3) have the spill map
//! point there; (4) free the memory, so that the block is Missing, and wake the threads that wait. The code frees the
//! memory before (3), since that can be refused: both are under the lock of the table.
//!
//! Where the memory can, (1) [takes the pages out](crate::memory::Protect::take_out): the block is empty from then on,
//! and (2) reads what was taken out. Else they are only protected, and stay where they are until (4).
//!
//! Why no byte is lost, and none is seen wrong:
//! * *A store before (1)* is in memory by (2), which reads afterwards. *A store after (1)* waits in its fault, until (4)
//!   has made the page missing: then it waits for the load of what was written in (2).
//! * *A store that passes the page table by*, made by a device or for another process. Its page was handed out before (1)
//!   and is pinned, so it cannot be taken out: the block stays. Where pages are only protected, that store is lost.
//! * *A store to a page that lost its protection*, because the system merged it with an equal page. A merged page cannot be
//!   taken out. A page that was taken out has the store in it. Where pages are only protected, (4) looks for such pages
//!   first.
//! * *A store to a page that was never touched* waits as well: (1) registers the block for missing pages. Protection alone
//!   would let it through unseen.
//! * *A load* finds the bytes until (1) or (4), and from then on waits for a load of the same bytes: (2) wrote all that
//!   differs from the snapshot and from the pages spilled before.
//! * *A fault during (1) to (4)* finds the block Loading, and is woken by (4).
//! * *An operation on the whole span* (bind, release, cut, spilling at a quiescent point) waits for (4) first, see
//!   [`Pager::alone`]; a commit pins the span, so that nothing is evicted under it: it holds the lock that spilling may
//!   wait for.
//! * *If (2) fails* the block is as it was before (1), and the transaction cannot commit any more; it can where storage
//!   was only unavailable.
//!
//! A clean block is protected since it was copied, and equal to what it is loaded from again: that is (4) alone, where
//! its protection was not lost.

use crate::descriptor::{Codec, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, PAGE, page_range};
use crate::memory::{Residency, TakenOut};
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::Kind;
use crate::pager::eviction::policy::Outcome;
use crate::pager::scratch::with_buffer;
use crate::pager::spill_map::SpillMap;
use crate::pager::table::Table;
use crate::signals;
use crate::store::{Bytes, PageRun, PageSource};
use crate::sync::FaultMutexGuard;

/// After a spill failed, so many blocks are not tried: the disk may stay full, and a thread would wait for each try. Then
/// one block is tried, since there may be room again.
const REFUSED_AFTER_FAILURE: u32 = 1024;

impl Pager {
    /// Evicts `block` if it may go now, and is what was charged by `ticket`. [`Table::must_stay`], its kind, and
    /// `may_spill` decide that. No lock of a table may be held, and no buffer.
    pub(crate) fn evict(&self, block: u64, ticket: u64) -> Outcome {
        // Else a handler could come to need the block that its thread holds back.
        let _held = signals::hold();
        let mut table = self.lock();
        let Some(there) = table.block(block).filter(|there| there.is_charged_by(ticket)) else { return Outcome::Gone };
        if table.must_stay(block) {
            return Outcome::Busy;
        }
        let freed = match (there.kind(), table.shown.binding().is_some()) {
            (Kind::Poisoned, _) => return Outcome::Busy,
            // No view lives.
            (_, false) => self.forget(&mut table, &[block]),
            (Kind::Clean, true) => match self.evict_clean(&mut table, block) {
                // Protection was lost, so a write went unnoticed: the block is to be compared.
                Err(error) if error.is_in_use() => {
                    let _ = self.admit(&mut table, block, false);
                    return Outcome::Busy;
                }
                // A part may be gone: then the rest should be, too.
                done => done.or_else(|_| self.evict_clean(&mut table, block)),
            },
            (Kind::Zero | Kind::Dirty, true) if self.may_spill(&mut table) => return self.spill_block(table, block),
            _ => return Outcome::Busy,
        };
        drop(table);
        if freed.is_err() {
            return Outcome::Busy;
        }
        self.budget.count(false);
        Outcome::Freed
    }

    /// Whether a block that was written to may be spilled now. True also once the commit is known to fail, so that
    /// memory stays bounded.
    fn may_spill(&self, table: &mut Table) -> bool {
        let is_admitted = table.spills.admits();
        self.residency == Residency::Lazy && self.options.spill_under_views && is_admitted
    }

    fn spill_block(&self, mut table: FaultMutexGuard<'_, Table>, block: u64) -> Outcome {
        let bytes = self.bytes_of(&(block..block + 1));
        let (Some(binding), Some(there)) = (table.shown.binding().cloned(), table.block(block)) else {
            return Outcome::Gone;
        };
        let (kind, seen) = (there.kind(), there.version());
        let is_hole = there.is_of_hole() && binding.spill_map.as_ref().is_none_or(|spill_map| !spill_map.has(block));
        // Held back memory is another mapping than its neighbours.
        if kind == Kind::Zero && !self.memory.has_room_for_mappings(2) {
            return Outcome::Busy;
        }
        if self.eviction.span.write_protect(bytes.clone()).is_err() {
            return Outcome::Busy;
        }
        table.begin_spill(block); // (1)
        drop(table);
        let mut held = HeldBack { pager: self, binding: Some(binding), taken: None, block, kind, seen };
        let written = match self.eviction.span.take_out(bytes) {
            Ok(taken) => {
                held.taken = taken;
                // (2)
                held.write(is_hole).map_err(|e| if e.is_unavailable() { Stays::ForNow(e) } else { Stays::Failed(e) })
            }
            Err(error) if error.is_in_use() => Err(Stays::ForNow(error)),
            Err(error) => Err(Stays::Lost(error)),
        };
        held.end(written)
    }

    /// Spills changed pages of a block, whose bytes are `there`. `is_hole`: the others are zero.
    pub(crate) fn spill_pages(
        &self,
        spill_map: &SpillMap,
        there: &dyn Bytes,
        pages: &[PageRun],
        block: BlockNo,
        is_hole: bool,
    ) -> Result<Vec<PageRun>> {
        let start = self.block_size.start_of(block);
        let has_bytes = || pages.iter().filter(|run| run.source == PageSource::Memory);
        // In an eager span spilled pages are mapped.
        let plain = self.residency == Residency::Eager || spill_map.array().codec == Codec::None;
        let changed: usize = pages.iter().map(|run| run.pages.len()).sum();
        let with_bytes: usize = has_bytes().map(|run| run.pages.len()).sum();
        let block_pages = self.block_size.pages() as usize;
        if !plain && (changed == block_pages || is_hole) && 2 * with_bytes >= block_pages {
            // All of the block is known, and worth compressing.
            let packed = with_buffer(self.block_size.bytes(), |buffer| {
                buffer.fill(0);
                for run in has_bytes() {
                    let bytes = page_range(start, &run.pages);
                    there.with(bytes.clone(), &mut |from| {
                        buffer[bytes.start - start..bytes.end - start].copy_from_slice(from);
                        Ok(())
                    })?;
                }
                spill_map.write_packed(buffer, with_bytes)
            })?;
            if let Some(run) = packed {
                self.activity.counters.bytes_spilled.add(with_bytes * PAGE);
                return Ok(vec![run]);
            }
        }
        let mut written = Vec::with_capacity(pages.len());
        for run in pages {
            if run.source == PageSource::Memory {
                there.with(page_range(start, &run.pages), &mut |bytes| {
                    written.extend(spill_map.write(run.pages.start, bytes)?);
                    Ok(())
                })?;
            } else {
                written.push(run.clone());
            }
        }
        self.activity.counters.bytes_spilled.add(with_bytes * PAGE);
        Ok(written)
    }

    /// The table, at a moment when no block of the span is being spilled.
    pub(crate) fn alone(&self) -> FaultMutexGuard<'_, Table> {
        self.wait_while(self.lock(), |table| table.spills.is_any())
    }

    pub(crate) fn wait_while<'t>(
        &self,
        mut table: FaultMutexGuard<'t, Table>,
        others: impl Fn(&Table) -> bool,
    ) -> FaultMutexGuard<'t, Table> {
        // In a forked child there are no others that could come to an end.
        while others(&table) && self.memory.check_process().is_ok() {
            table = table.wait(&self.loaded);
        }
        table
    }

    /// Nothing is let go of from here on, until the next release.
    pub(crate) fn pin(&self) {
        self.lock().spills.pin();
        drop(self.alone());
    }

    /// Runs `f` while nothing is let go of.
    pub(crate) fn pinned<R>(&self, f: impl FnOnce() -> R) -> R {
        self.pin();
        let done = f();
        self.lock().spills.unpin();
        done
    }
}

/// Why a block keeps its memory.
enum Stays {
    /// It may go another time.
    ForNow(Error),
    /// It could not be spilled.
    Failed(Error),
    /// Some of it is gone.
    Lost(Error),
}

/// A block between (1) and (4). Waiting threads are woken on every way out, a panic of the store included.
struct HeldBack<'p> {
    pager: &'p Pager,
    /// `None` once the end has come.
    binding: Option<Binding>,
    /// Its pages, if they were taken out.
    taken: Option<Box<dyn TakenOut + 'p>>,
    block: u64,
    kind: Kind,
    /// Its version in the snapshot.
    seen: Version,
}

impl HeldBack<'_> {
    /// Step 2: what was written to the block, and where it is now; `None` if it was not stored to, as far as is known.
    /// `is_hole`: nothing is loaded from anywhere.
    fn write(&self, is_hole: bool) -> Result<Option<Vec<PageRun>>> {
        let HeldBack { pager, block, kind, .. } = *self;
        let binding = self.binding.as_ref().expect("it is held back until it ends");
        let taken = self.taken.as_deref();
        let Some(change) = pager.written_to_held(block, kind, taken)? else { return Ok(None) };
        let there: &dyn Bytes = taken.map_or(pager, |taken| taken);
        match &binding.spill_map {
            Some(spill_map) => pager.spill_pages(spill_map, there, &change.pages, BlockNo(block), is_hole).map(Some),
            None => Err(Error::new(ErrorKind::Invalid, "an array that is only read was written to")),
        }
    }

    /// Steps 3 and 4, if step 2 went well.
    fn end(&mut self, written: Result<Option<Vec<PageRun>>, Stays>) -> Outcome {
        let Some(binding) = self.binding.take() else { return Outcome::Gone };
        let HeldBack { pager, block, seen, .. } = *self;
        let bytes = pager.bytes_of(&(block..block + 1));
        let mut table = pager.lock();
        table.spills.end(block);
        // Where faults are not delivered any more what is missing would be so for ever.
        let freed = written.and_then(|runs| match table.failure().filter(|_| table.is_dead()) {
            Some(why) => Err(Stays::Failed(why)),
            None => match self.taken.take().map_or_else(|| pager.eviction.span.evict(bytes), |taken| taken.let_go()) {
                Ok(()) => Ok(runs),
                // It may have been written to after all.
                Err(error) if error.is_in_use() => Err(Stays::ForNow(error)),
                Err(error) => Err(Stays::Lost(error)),
            },
        });
        let outcome = match freed {
            Ok(runs) => {
                pager.budget.count(runs.as_ref().is_some_and(|runs| !runs.is_empty()));
                if let (Some(spill_map), Some(runs)) = (&binding.spill_map, &runs) {
                    spill_map.lay(block, seen, runs); // (3)
                }
                table.forget(block); // (4)
                Outcome::Freed
            }
            Err(Stays::ForNow(error)) => {
                let undone = self.undo(&mut table, &error);
                if error.is_unavailable() { Outcome::Unavailable } else { undone }
            }
            Err(Stays::Lost(error)) => {
                // Writers wait, and can be let through neither to these bytes nor to others.
                pager.poison(&mut table, block, &error);
                Outcome::Freed
            }
            Err(Stays::Failed(error)) => {
                let why = error.context(format_args!("array {:?}: spilling", binding.name));
                table.fail_with(&why);
                table.spills.refuse(REFUSED_AFTER_FAILURE);
                self.undo(&mut table, &why)
            }
        };
        // The snapshot first: a woken thread may let go of it, and count on its end. The table still has its own.
        drop(binding);
        drop(table);
        pager.wake(&(block..block + 1));
        pager.loaded.notify_all();
        outcome
    }

    /// As before step 1, but that what was copied and clean counts as written to.
    fn undo(&mut self, table: &mut Table, why: &Error) -> Outcome {
        let bytes = self.pager.bytes_of(&(self.block..self.block + 1));
        let undone = self.taken.take().map_or(Ok(()), |taken| taken.put_back()).and_then(|()| match self.kind {
            Kind::Zero => self.pager.eviction.span.unprotect_zero(bytes),
            _ => self.pager.unprotect(self.block),
        });
        match undone {
            // Threads that faulted meanwhile go on.
            Ok(()) => table.futile_faults.forget(self.block),
            Err(error) => self.pager.poison(table, self.block, &error.context(why)),
        }
        Outcome::Busy
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.end(Err(Stays::Failed(Error::new(ErrorKind::Io, "it panicked"))));
    }
}
