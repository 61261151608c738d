//! Spans outlive transactions: what a span shows changes here, and nowhere else.
//!
//! An idle span keeps no snapshot: what is mapped in it may be reused under it. That is why every block is compared
//! before any view sees it, by (version, segments): an equal record means that the extents were referred to all along,
//! and equal bytes. Each function here needs the span without a view; its callers own it alone.

use std::ops::{ControlFlow, Range};

use crate::descriptor::{ArrayId, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, Ranges, runs};
use crate::memory::Residency;
use crate::page_map::is_hole;
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::{Block, Kind};
use crate::pager::eviction::budget::BudgetPermit;
use crate::pager::load::plan::Plan;
use crate::pager::scratch::with_buffer;
use crate::pager::table::Table;
use crate::store::BlockRecord;
use crate::sync::FaultMutexGuard;

/// What this process knows of an array's changes between two of its versions; see [`Pager::bind`].
type ChangesBetween<'a> = &'a dyn Fn(ArrayId, Version, Version) -> Option<Vec<u64>>;

/// The installed blocks that may differ from the new snapshot, ascending.
enum Suspects {
    /// They are looked up one by one.
    Few(Vec<u64>),
    /// All that are stored between the first and the last are visited.
    Many(Vec<u64>),
}

impl Suspects {
    fn is_empty(&self) -> bool {
        let (Suspects::Few(blocks) | Suspects::Many(blocks)) = self;
        blocks.is_empty()
    }

    /// What `binding` shows of each.
    fn shown_by(self, binding: &Binding) -> Result<Vec<(u64, Option<BlockRecord>)>> {
        let blocks = match self {
            Suspects::Few(blocks) => {
                return blocks.into_iter().map(|block| Ok((block, binding.record(block)?))).collect();
            }
            Suspects::Many(blocks) => blocks,
        };
        let mut shown = Vec::with_capacity(blocks.len());
        let (first, last) = (blocks.first().copied(), blocks.last().copied());
        let mut blocks = blocks.into_iter().peekable();
        let absent = |block| (block, binding.absent_record());
        if let (Some(first), Some(last)) = (first, last) {
            binding.stored_records(first..last + 1, &mut |block, record| {
                while let Some(block) = blocks.next_if(|at| *at < block) {
                    shown.push(absent(block));
                }
                shown.extend(blocks.next_if_eq(&block).map(|block| (block, Some(record))));
                ControlFlow::Continue(())
            })?;
        }
        shown.extend(blocks.map(absent));
        Ok(shown)
    }
}

impl Pager {
    /// Shows `binding` from now on. `known` says which blocks changed between two versions of its array, if this process
    /// made all of the changes.
    ///
    /// # Errors
    /// Then the span shows anything, and its owner drops it whole.
    pub(crate) fn bind(&self, binding: Binding, known: ChangesBetween<'_>) -> Result<()> {
        let mut permit = self.room_for_produced(&binding)?;
        let mut table = self.alone();
        table.refuse_if_failed()?; // after its last release, that is
        table.raise_generation();
        let suspects = match table.shown.valid_for.take() {
            Some((array, version)) if binding.array == Some(array) => {
                if version == binding.changed {
                    Some(Vec::new())
                } else {
                    known(array, version, binding.changed)
                }
            }
            _ => None,
        };
        let suspects = match suspects {
            Some(few) => Suspects::Few(few.into_iter().filter(|block| table.has(*block)).collect()),
            None => Suspects::Many(table.numbers(.., |_| true)),
        };
        let mut stale = Vec::new();
        if !suspects.is_empty() {
            // Storage is asked without the lock: the monitor takes it for a message that came late. Nothing is evicted
            // meanwhile, so that what is installed is right or a suspect.
            table.spills.pin();
            drop(table);
            let shown = suspects.shown_by(&binding);
            table = self.alone();
            table.spills.unpin();
            let is_stale = |(block, record): &(u64, Option<BlockRecord>)| {
                table.block(*block).is_some_and(|there| !there.is(record.as_ref()))
            };
            stale = shown?.into_iter().filter(is_stale).map(|(block, _)| block).collect();
        }
        if std::mem::take(&mut table.shown.is_withdrawn) {
            table.gaps(self.blocks()).into_iter().try_for_each(|gap| self.rebind.span.reset(self.bytes_of(&gap)))?;
        }
        // Dropped blocks are holes, whatever a span that idled has there; before the first one there are none.
        stale.extend(table.numbers(binding.visible.., |_| true));
        stale.extend(table.numbers(..binding.first(), |_| true));
        // Other elements than before are in those that are absent.
        if table.shown.fill != binding.fill {
            stale.extend(table.numbers(.., |there| there.version() == Version(0)));
        }
        // And spilled pages are, whatever is stored.
        let spilled = binding.spill_map.as_ref().map_or(Vec::new(), |map| map.numbers());
        stale.extend(spilled.into_iter().filter(|block| table.has(*block)));
        if binding.spill_map.is_some() {
            stale.extend(table.take_uncharged_zeros());
            // Nor is what a reader had mapped from a cache; it is copied from there (`Pager::maps_cached`).
            if binding.lookups_may_block() {
                let is_cached = |there: &Block| {
                    there.kind() == Kind::Mapped && there.record().is_some_and(|record| !record.is_mappable())
                };
                stale.extend(table.numbers(.., is_cached));
            }
        }
        stale.sort_unstable();
        stale.dedup();
        self.forget(&mut table, &stale)?;
        if self.residency == Residency::Eager {
            self.install_all(&mut table, &binding, self.shown(&binding), &mut permit)?;
        }
        table.shown.bind(binding);
        Ok(())
    }

    /// Shows nothing any more. `written`, of what was `exposed` mutably, may hold bytes of no committed state, and is
    /// given back; everything else stays, right for an array last changed at `valid_for` (`None`: no such array
    /// exists).
    ///
    /// # Errors
    /// Then the span's owner drops it whole, as it does if anything failed to load.
    pub(crate) fn release(
        &self,
        written: &[u64],
        exposed: &Ranges,
        valid_for: Option<(ArrayId, Version)>,
    ) -> Result<()> {
        let (mut table, binding) = self.take_binding();
        table.spills.unpin_all();
        if let Some(why) = table.failure() {
            return Err(why);
        }
        self.forget(&mut table, written)?;
        // Spilled pages are of no state, or somewhere else in the new one.
        let spilled = table.take_spilled();
        self.forget(&mut table, &spilled)?;
        // Zero memory is charged for what the array has of it, which may be more when the span is bound again.
        let partial = binding.as_ref().and_then(Binding::partial_block);
        let partial = partial.map_or(Vec::new(), |(block, _)| {
            table.numbers(block..block + 1, |there| there.kind() == Kind::Zero && there.is_charged())
        });
        self.forget(&mut table, &partial)?;
        // Blocks that the transaction dropped were shown as holes, which says nothing about any state.
        let cut = binding.as_ref().is_some_and(|b| b.visible != u64::MAX);
        if let Some(binding) = binding.as_ref().filter(|_| cut) {
            let beyond = table.numbers(binding.visible.., |_| true);
            self.forget(&mut table, &beyond)?;
        }
        table.shown.valid_for = valid_for.filter(|_| !cut);
        self.track_exposed(&mut table, exposed, binding.as_ref().map_or((0, 0), |b| (b.start, b.end)));
        drop(table);
        drop(binding); // the snapshot, last of all and outside the lock
        Ok(())
    }

    /// Shows nothing any more, and will not be bound again.
    pub(crate) fn unbind(&self) {
        let (table, binding) = self.take_binding();
        drop(table);
        drop(binding);
    }

    /// Unbinds, and waits until the loads have given their bindings back. The binding that this returns is the last one
    /// then, so its state ends when it is dropped. A load never waits for a lock that a caller holds: one that spills may
    /// wait for a commit, but a commit releases its spans afterwards.
    fn take_binding(&self) -> (FaultMutexGuard<'_, Table>, Option<Binding>) {
        let mut table = self.alone();
        table.raise_generation();
        let binding = table.shown.unbind();
        // Loads that begin now find nothing to load, and queued ones have nothing to give back.
        (self.wait_while(table, |table| table.shown.has_lent()), binding)
    }

    /// The same after an abort: finds by itself what was written.
    pub(crate) fn release_aborted(&self, exposed: &Ranges, valid_for: Option<(ArrayId, Version)>) -> Result<()> {
        let written = self.maybe_written(exposed)?;
        self.release(&written, exposed, valid_for)
    }

    /// The array ends at `blocks` blocks now. Blocks past the end are gone, whatever was written to them.
    pub(crate) fn cut(&self, blocks: u64) -> Result<()> {
        let mut table = self.alone();
        table.raise_generation();
        table.shown.cut(blocks);
        let cut = self.forget_beyond(&mut table, blocks);
        if let Err(error) = &cut {
            // Some blocks may be gone, so what is left is no state of the array.
            table.fail_with(&error.clone().context(format_args!("the array could not be cut to {blocks} blocks")));
        }
        cut
    }

    fn forget_beyond(&self, table: &mut Table, blocks: u64) -> Result<()> {
        let beyond = table.numbers(blocks.., |_| true);
        self.forget(table, &beyond)?;
        if self.residency == Residency::Eager {
            // Zero memory has no entry there, and may have been written to.
            let end = self.bytes.end;
            let start = self.block_size.start_of(BlockNo(blocks)).clamp(self.bytes.start, end);
            if start < end {
                self.rebind.span.reset(start..end)?;
            }
        }
        Ok(())
    }

    /// The array begins at byte `start` now. Blocks before that are gone, whatever was written to them; from here on no access
    /// and no search reaches them, so they need not be holes.
    pub(crate) fn cut_front(&self, start: usize) -> Result<()> {
        let first = self.block_size.block_at(start);
        let mut table = self.alone();
        table.raise_generation();
        table.shown.begin_at(start);
        let before = table.numbers(..first.0, |_| true);
        let mut cut = self.forget(&mut table, &before);
        let front = self.bytes.start..self.block_size.start_of(first).clamp(self.bytes.start, self.bytes.end);
        if cut.is_ok() && self.residency == Residency::Eager && !front.is_empty() {
            // Zero memory has no entry there, and may have been written to.
            cut = self.rebind.span.reset(front);
        }
        if let Err(error) = &cut {
            table.fail_with(
                &error.clone().context(format_args!("blocks before block {} could not be dropped", first.0)),
            );
        }
        cut
    }

    /// The array has `blocks` blocks now, fewer than before. Nothing was written to the others.
    pub(crate) fn end_at(&self, blocks: u64) {
        self.lock().shown.end_at(blocks);
    }

    /// The array ends at byte `end` now, behind where it did; blocks that are new are absent.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) where an eager span has to hold them in memory, and that is too much.
    pub(crate) fn grow_to(&self, end: usize) -> Result<()> {
        let blocks = self.block_size.blocks_for(end);
        let mut table = self.lock();
        let Some(mut binding) = table.shown.binding().cloned() else { return Ok(()) };
        let before = std::mem::replace(&mut binding.end, blocks);
        if self.residency == Residency::Eager && binding.fill.is_some() {
            let new = before..blocks.min(self.blocks().end);
            let there = table.numbers(new.clone(), |_| true).len();
            // To make room may take the lock.
            drop(table);
            let mut permit = self.room_in_eager_span((new.end - new.start) as usize - there)?;
            table = self.alone();
            self.install_all(&mut table, &binding, new, &mut permit)?;
        }
        table.shown.grow_to(end);
        // The array has more of the block that it ended in.
        if let Some((block, before)) = binding.partial_block()
            && table.block(block).is_some_and(|there| there.kind() == Kind::Zero && there.is_charged())
        {
            let bytes = table.shown.binding().map_or(before, |now| now.bytes_in(block));
            // To evict others takes the lock.
            drop(table);
            let _room = self.budget.make_room(bytes - before);
            self.lock().recharge_zero(block, bytes);
        }
        Ok(())
    }

    /// Whether `block` surely is what a block is that nothing was stored to, as far as storage and this span know.
    pub(crate) fn is_untouched(&self, block: u64) -> Result<bool> {
        let table = self.lock();
        if self.residency == Residency::Eager || table.has(block) {
            return Ok(false);
        }
        let Some(binding) = table.shown.binding().cloned() else { return Ok(false) };
        drop(table);
        let is_spilled = binding.spill_map.as_ref().is_some_and(|map| map.has(block));
        let record = binding.record(block)?;
        let is_absent = record.as_ref().is_none_or(|record| record.version == Version(0));
        Ok(!is_spilled && (is_absent || binding.fill.is_none() && is_hole(record.as_ref())))
    }

    /// Installed → Missing.
    pub(crate) fn forget(&self, table: &mut Table, blocks: &[u64]) -> Result<()> {
        let mut runs = runs(blocks);
        // Emptying a range in the midst of mappings splits them. Where there is no room for that, what lies between
        // goes too: a later fault, or the next binding of an eager span, brings it back.
        if let [first, .., last] = &runs[..]
            && !self.memory.has_room_for_mappings(2 * runs.len())
        {
            runs = std::iter::once(first.start..last.end).collect();
        }
        for run in runs {
            let emptied = self.rebind.span.reset(self.bytes_of(&run));
            let gone = table.numbers(run, |_| true);
            if let Err(error) = emptied {
                // Some of it may be there and some not: an access must not wait for a page that never comes.
                let is_seen = table.shown.binding().is_some();
                for block in gone {
                    if is_seen { self.poison(table, block, &error) } else { table.distrust(block) }
                }
                return Err(error);
            }
            gone.iter().for_each(|block| table.forget(*block));
        }
        Ok(())
    }

    /// Room for what an eager span has to hold in memory of its own: all that cannot be mapped.
    fn room_for_produced(&self, binding: &Binding) -> Result<BudgetPermit> {
        let mut blocks = 0;
        if self.residency == Residency::Eager {
            let shown = self.shown(binding);
            // Else the span shows it already.
            if binding.array.is_some_and(|array| self.lock().shown.valid_for != Some((array, binding.changed))) {
                binding.will_need(&shown, self.maps_cached(binding));
            }
            let is_filled = binding.fill.is_some();
            if is_filled {
                blocks = shown.end.saturating_sub(shown.start) as usize;
            }
            binding.stored_records(shown, &mut |_, record| {
                blocks += usize::from(!record.is_mappable());
                blocks -= usize::from(is_filled); // it is not absent
                ControlFlow::Continue(())
            })?;
        }
        self.room_in_eager_span(blocks)
    }

    /// Room for so many blocks that an eager span holds in memory of its own.
    fn room_in_eager_span(&self, blocks: usize) -> Result<BudgetPermit> {
        let (bytes, limit) = (blocks * self.block_size.bytes(), self.budget.limit_bytes());
        let permit = self.budget.make_room(bytes);
        if bytes > 0 && self.budget.is_exceeded() {
            let others = self.budget.in_use().used_bytes.saturating_sub(bytes);
            let why = format!(
                "{bytes} bytes of it are compressed, or consist of its fill value, and have to be held in memory where page \
                 faults cannot be had; the memory budget is {limit} bytes, and others hold {others} of it: open the database with a memory_budget \
                 of {} bytes or more",
                bytes.saturating_add(others)
            );
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        Ok(permit)
    }

    /// The blocks of the array that this span has addresses for.
    fn shown(&self, binding: &Binding) -> Range<u64> {
        let blocks = self.blocks();
        blocks.start.max(binding.first()).min(binding.end)..blocks.end.min(binding.end)
    }

    /// Everything of the blocks `shown` that is no hole and that an eager span does not have yet, and spilled pages of it.
    fn install_all(
        &self,
        table: &mut Table,
        binding: &Binding,
        shown: Range<u64>,
        permit: &mut BudgetPermit,
    ) -> Result<()> {
        let spilled = binding.spill_map.as_ref().map_or(Vec::new(), |map| map.numbers());
        let spilled: Vec<u64> = spilled.into_iter().filter(|block| shown.contains(block)).collect();
        let mut plans: Vec<Plan> = Vec::new();
        binding.records(shown, &mut |block, record| {
            if table.has(block) || spilled.binary_search(&block).is_ok() {
                return ControlFlow::Continue(());
            }
            match plans.last_mut() {
                Some(plan) if plan.next() == block && plan.is_continued_by(&record, self.block_size) => {
                    plan.records.push(Some(record))
                }
                _ => plans.push(Plan::of_one(block, Some(record))),
            }
            ControlFlow::Continue(())
        })?;
        for plan in plans {
            plan.check(self.block_size)?;
            let mappings = 2 * plan.records.iter().flatten().map(|r| r.segments.len()).sum::<usize>();
            if plan.records.iter().flatten().all(BlockRecord::is_mappable)
                && self.memory.has_room_for_mappings(mappings)
            {
                self.verify(binding, &plan)?;
                self.install(table, binding, &plan, permit)?;
            } else {
                for (block, record) in (plan.first..).zip(plan.records) {
                    self.install_shown(table, binding, block, record, false, permit)?;
                }
            }
        }
        spilled.into_iter().try_for_each(|block| self.install_spilled(table, binding, block, permit))
    }

    /// A block that is spilled: mapped, which costs no memory, unless it is to be verified, or cannot be.
    fn install_spilled(
        &self,
        table: &mut Table,
        binding: &Binding,
        block: u64,
        permit: &mut BudgetPermit,
    ) -> Result<()> {
        let stored = binding.record(block)?;
        Plan::of_one(block, stored.clone()).check(self.block_size)?;
        let there = binding.spill_map.as_ref().and_then(|map| map.block(block)).filter(|_| !self.options.verify);
        let shown = there.and_then(|there| there.over(block, stored.as_ref(), self.block_size));
        match shown {
            Some(shown) if self.memory.has_room_for_mappings(2 * shown.segments.len()) => {
                let plan = Plan { is_spilled: true, ..Plan::of_one(block, Some(shown)) };
                self.install(table, binding, &plan, permit)
            }
            _ => self.install_shown(table, binding, block, stored, true, permit),
        }
    }

    /// Copies what is shown of a block, `stored` and what lies over it.
    fn install_shown(
        &self,
        table: &mut Table,
        binding: &Binding,
        block: u64,
        stored: Option<BlockRecord>,
        is_spilled: bool,
        permit: &mut BudgetPermit,
    ) -> Result<()> {
        with_buffer(self.block_size.bytes(), |buffer| {
            self.read_shown(binding, block, stored.is_some(), buffer)?;
            self.install_copy(table, block, stored, is_spilled, buffer, permit)
        })
    }
}
