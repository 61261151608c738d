//! What to install for a run of missing blocks: how far one fault reaches, pure arithmetic over what storage answered.

use std::ops::{ControlFlow, Range};

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, BlockSize};
use crate::page_map::{PageMap, follows, is_hole};
use crate::pager::binding::Binding;
use crate::store::BlockRecord;

/// A fault reaches over at most the aligned bytes of this size that it lies in, so that any order of access meets one
/// fault in them. Blocks that follow each other in the file are one mapping and one call, so more would cost no more;
/// but all of it is also asked for from disk, and a gigabyte is not to be read for one element. A fault in 64 MiB is
/// lost among their bytes; as zero memory they are more than a huge page, and what a stray access leaves behind stays
/// cheap to scan.
const REACH_BYTES: usize = 64 << 20;

/// Blocks that do not follow each other cost a mapping each: one fault maps this many at most.
const SCATTERED_RUN_BLOCKS: usize = 8;

/// Records looked up at a time on the way back from the faulting block, where most ways end soon.
const BEHIND: u64 = 32;

/// How far a fault in `block` reaches.
pub(crate) fn reach(block: u64, block_size: BlockSize) -> Range<u64> {
    let blocks = (REACH_BYTES / block_size.bytes()) as u64;
    let start = block / blocks * blocks;
    start..start.saturating_add(blocks)
}

/// A run of blocks around the faulting one, each with what storage has for it.
pub(crate) struct Plan {
    pub(crate) first: u64,
    /// One a block; `None` is a hole that nothing was ever stored to.
    pub(crate) records: Vec<Option<BlockRecord>>,
    /// Bytes that its transaction spilled lie over those of the record; then it is one block.
    pub(crate) is_spilled: bool,
}

impl Plan {
    /// Asks storage about `run`, in which `block` is wanted (step 4 of a fault), and decides how much of it to install
    /// at once.
    pub(crate) fn ask(binding: &Binding, run: &Range<u64>, block: u64, block_size: BlockSize) -> Result<Plan> {
        if binding.spill_map.as_ref().is_some_and(|spill_map| spill_map.has(block)) {
            return Ok(Plan { is_spilled: true, ..Plan::of_one(block, binding.record(block)?) });
        }
        let mut plan = Plan::onward(binding, block..run.end, block_size)?;
        while plan.first > run.start {
            let behind = plan.first.saturating_sub(BEHIND).max(run.start)..plan.first;
            let mut records = records(binding, &behind)?;
            let mut joined = records.len();
            let mut next = plan.records.first();
            while joined > 0 && next.is_some_and(|next| joins(records[joined - 1].as_ref(), next.as_ref(), block_size))
            {
                joined -= 1;
                next = records.get(joined);
            }
            let kept = records.split_off(joined);
            plan.first -= kept.len() as u64;
            plan.records.splice(..0, kept);
            if joined > 0 {
                break;
            }
        }
        Ok(plan)
    }

    /// From the first block of `run` on.
    fn onward(binding: &Binding, run: Range<u64>, block_size: BlockSize) -> Result<Plan> {
        let mut plan = Plan { first: run.start, records: Vec::new(), is_spilled: false };
        let mut holes = run.end - run.start;
        if let Some((array, stored)) = binding.stored(&run) {
            binding.snapshot.blocks(array, stored, &mut |BlockNo(block), record| {
                if plan.records.is_empty() && block > plan.first {
                    holes = block - plan.first;
                    return ControlFlow::Break(());
                }
                if block > plan.next() || !plan.takes(&record, block_size) {
                    return ControlFlow::Break(());
                }
                plan.records.push(Some(record));
                ControlFlow::Continue(())
            })?;
        }
        if plan.records.is_empty() {
            plan.records.resize(holes as usize, None);
        }
        Ok(plan)
    }

    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) for a record that is not of all pages of a block, or of more: what is mapped by
    /// it would lie over others, or leave a thread waiting for ever.
    pub(crate) fn check(&self, block_size: BlockSize) -> Result<()> {
        for (block, record) in (self.first..).zip(&self.records) {
            let pages = record.as_ref().map_or(block_size.pages(), |r| r.segments.last().map_or(0, |s| s.pages.end));
            if pages != block_size.pages() {
                let text =
                    format!("the record of block {block} is of {pages} pages, and blocks have {}", block_size.pages());
                return Err(Error::new(ErrorKind::Corrupt, text));
            }
        }
        Ok(())
    }

    /// Of all that was planned, `block` alone.
    pub(crate) fn of(self, block: u64) -> Plan {
        let record = self.records.into_iter().nth((block - self.first) as usize).flatten();
        Plan { is_spilled: self.is_spilled, ..Plan::of_one(block, record) }
    }

    /// One block.
    pub(crate) fn of_one(block: u64, record: Option<BlockRecord>) -> Plan {
        Plan { first: block, records: vec![record], is_spilled: false }
    }

    /// Whether it is holes alone, which take memory only where they are written to.
    pub(crate) fn is_holes(&self) -> bool {
        !self.is_spilled && self.records.iter().all(|record| is_hole(record.as_ref()))
    }

    /// Whether its bytes have to be produced, or are read back from where they were spilled.
    pub(crate) fn is_produced(&self) -> bool {
        self.is_spilled || self.records.first().is_some_and(|r| r.as_ref().is_some_and(|r| !r.is_mappable()))
    }

    /// Of all that was planned, at most `most` blocks around `block`, aligned to as many.
    pub(crate) fn at_most(mut self, most: u64, block: u64) -> Plan {
        let start = (block / most * most).max(self.first);
        let end = (block / most * most).saturating_add(most).min(self.next());
        self.records.truncate((end - self.first) as usize);
        self.records.drain(..(start - self.first) as usize);
        self.first = start;
        self
    }

    /// Where the planned blocks are.
    pub(crate) fn page_map(&self, block_size: BlockSize) -> PageMap {
        PageMap::of_blocks((self.first..).zip(self.records.iter().map(Option::as_ref)), block_size)
    }

    /// The block behind the last one planned.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// Whether `record`, of the next block, continues the one extent of the last block planned.
    pub(crate) fn is_continued_by(&self, record: &BlockRecord, block_size: BlockSize) -> bool {
        self.records.last().and_then(Option::as_ref).is_some_and(|last| follows(last, record, block_size))
    }

    /// Whether `record`, of the next block, belongs to the same run.
    fn takes(&self, record: &BlockRecord, block_size: BlockSize) -> bool {
        match self.records.last() {
            Some(Some(last)) => {
                record.is_mappable()
                    && last.is_mappable()
                    && record.is_hole() == last.is_hole()
                    && (record.is_hole()
                        || follows(last, record, block_size)
                        || self.records.len() < SCATTERED_RUN_BLOCKS)
            }
            _ => true,
        }
    }
}

/// What storage has for each block of `run`.
fn records(binding: &Binding, run: &Range<u64>) -> Result<Vec<Option<BlockRecord>>> {
    let mut records = vec![None; (run.end - run.start) as usize];
    if let Some((array, stored)) = binding.stored(run) {
        binding.snapshot.blocks(array, stored, &mut |BlockNo(block), record| {
            records[(block - run.start) as usize] = Some(record);
            ControlFlow::Continue(())
        })?;
    }
    Ok(records)
}

/// Whether both are holes, or one mapping.
fn joins(last: Option<&BlockRecord>, next: Option<&BlockRecord>, block_size: BlockSize) -> bool {
    match (last, next) {
        (None, None) => true,
        (Some(last), Some(next)) => last.is_hole() && next.is_hole() || follows(last, next, block_size),
        _ => false,
    }
}
