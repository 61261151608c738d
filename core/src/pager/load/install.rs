//! What a load lays into memory: mappings, zero memory, copies; or poison.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::geometry::BlockNo;
use crate::memory::Residency;
use crate::pager::Pager;
use crate::pager::binding::Binding;
use crate::pager::block::Block;
use crate::pager::eviction::budget::BudgetPermit;
use crate::pager::load::plan::Plan;
use crate::pager::scratch::with_buffer;
use crate::pager::table::Table;
use crate::store::BlockRecord;

impl Pager {
    /// Reads what is about to be mapped against its checksums, if the user asked for it.
    pub(crate) fn verify(&self, binding: &Binding, plan: &Plan) -> Result<()> {
        if !self.options.verify {
            return Ok(());
        }
        let stored = (plan.first..).zip(&plan.records).filter(|(_, record)| record.is_some());
        for (block, _) in stored {
            with_buffer(self.block_size.bytes(), |buffer| binding.read(block, buffer))?;
        }
        Ok(())
    }

    /// Lays mappings and zero memory over the planned blocks and enters them.
    ///
    /// # Errors
    /// Blocks before the piece that failed are there. One that it tore is poisoned: what was laid of it may have been
    /// read and written since, so it can be neither taken back nor completed. The others are missing.
    pub(crate) fn install(
        &self,
        table: &mut Table,
        binding: &Binding,
        plan: &Plan,
        permit: &mut BudgetPermit,
    ) -> Result<()> {
        let start = self.bytes_of(&(plan.first..plan.next())).start;
        let mut laid = start;
        let mut outcome = Ok(());
        // A transaction may write to zero memory. It takes as much as the array has of it now, which is what is charged: so the
        // block that the array ends in is laid in pages.
        let partial = table.shown.binding().unwrap_or(binding).partial_block().filter(|_| binding.spill_map.is_some());
        let in_pages_from = match plan.in_pages {
            true => start,
            false => partial.map_or(usize::MAX, |(block, _)| self.block_size.start_of(BlockNo(block))),
        };
        let places = plan.places(binding.snapshot.file(), self.block_size).into_iter().flat_map(|(bytes, place)| {
            let cut = if place.is_none() { in_pages_from.clamp(bytes.start, bytes.end) } else { bytes.end };
            [(bytes.start..cut, place), (cut..bytes.end, place)].into_iter().filter(|(bytes, _)| !bytes.is_empty())
        });
        for (bytes, place) in places {
            outcome = match place {
                Some((file, at)) => self.load.span.map(bytes.clone(), file, at, !self.is_random()),
                // An eager span is zero memory where nothing else is.
                None if self.residency == Residency::Eager => Ok(()),
                None if bytes.start >= in_pages_from => self.load.span.zero_in_pages(bytes.clone()),
                None => self.load.span.zero(bytes.clone()),
            };
            if outcome.is_err() {
                break;
            }
            if place.is_some() {
                self.activity.counters.bytes_mapped.add(bytes.len());
            }
            laid = bytes.end;
        }
        let whole = (laid - start) / self.block_size.bytes();
        for (block, record) in (plan.first..).zip(&plan.records[..whole]) {
            let mut new = match record {
                Some(record) if !record.is_hole() => {
                    self.activity.counters.blocks_mapped.add(1);
                    Block::mapped(record.clone())
                }
                record => {
                    self.activity.counters.blocks_zeroed.add(1);
                    // A transaction may write to it; memory of an eager span is not charged.
                    let is_charged = self.residency == Residency::Lazy && binding.spill_map.is_some();
                    let bytes = partial
                        .filter(|(there, _)| *there == block)
                        .map_or(self.block_size.bytes(), |(_, bytes)| bytes);
                    let charge = is_charged.then(|| permit.charge(self, block, bytes, true));
                    Block::zero(record.clone(), charge)
                }
            };
            if plan.is_spilled {
                new.mark_spilled();
            }
            table.install(block, new);
        }
        if let Err(error) = &outcome
            && !(laid - start).is_multiple_of(self.block_size.bytes())
        {
            self.poison(table, plan.first + whole as u64, error);
        }
        outcome
    }

    pub(crate) fn install_copy(
        &self,
        table: &mut Table,
        block: u64,
        record: Option<BlockRecord>,
        is_spilled: bool,
        bytes: &[u8],
        permit: &mut BudgetPermit,
    ) -> Result<()> {
        let range = self.bytes_of(&(block..block + 1));
        self.load.span.copy(range.start, &bytes[..range.len()])?;
        self.activity.counters.bytes_copied.add(range.len());
        let mut new = Block::copied(self.residency, record, permit.charge(self, block, range.len(), false));
        if is_spilled {
            new.mark_spilled();
        }
        table.install(block, new);
        Ok(())
    }

    /// The bytes that the span shows of a block: those of its record, if it is `stored`, and over them spilled pages.
    pub(crate) fn read_shown(&self, binding: &Binding, block: u64, stored: bool, buffer: &mut [u8]) -> Result<()> {
        let spilled = binding.spill_map.as_ref().and_then(|map| map.block(block));
        match &spilled {
            Some(spilled) if spilled.covers(self.block_size.pages()) => {}
            _ if stored => binding.read(block, buffer)?,
            _ => buffer.fill(0),
        }
        spilled.map_or(Ok(()), |spilled| spilled.read_over(buffer))
    }

    /// Lets threads that wait for missing pages of `blocks` try again.
    pub(crate) fn wake(&self, blocks: &Range<u64>) {
        self.load.span.wake(self.bytes_of(blocks));
    }

    pub(crate) fn poison(&self, table: &mut Table, block: u64, why: &Error) {
        self.activity.counters.blocks_poisoned.add(1);
        self.load.span.poison(self.bytes_of(&(block..block + 1)), &why.to_string());
        table.poison(block, why);
    }
}
