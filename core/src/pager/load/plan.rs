//! What to install for a run of missing blocks: how far one fault reaches, pure arithmetic over what storage answered.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, BlockSize, page_range};
use crate::page_map::{PageMap, Piece, follows, is_hole};
use crate::pager::binding::Binding;
use crate::store::{BlockRecord, CachedPages, DataFile, Origin};

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

/// Bytes of an array, and the file and the byte of it that they are mapped from; zeros without.
type Place<'p> = (Range<usize>, Option<(&'p Arc<dyn DataFile>, u64)>);

/// A run of blocks around the faulting one, each with what storage has for it.
pub(crate) struct Plan {
    pub(crate) first: u64,
    /// One a block; `None` is a hole that nothing was ever stored to.
    pub(crate) records: Vec<Option<BlockRecord>>,
    /// Bytes that its transaction spilled lie over those of the record; then it is one block.
    pub(crate) is_spilled: bool,
    /// Where files have all pages that are produced; then it is one block.
    pub(crate) cached: Vec<CachedPages>,
    /// Holes are laid in small pages.
    pub(crate) in_pages: bool,
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
        let mut plan =
            Plan { first: run.start, records: Vec::new(), is_spilled: false, cached: Vec::new(), in_pages: false };
        let mut holes = run.end - run.start;
        binding.records(run, &mut |block, record| {
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
        Plan { first: block, records: vec![record], is_spilled: false, cached: Vec::new(), in_pages: false }
    }

    /// The same, of one block, with files that have its pages: all of those that are produced, else it is copied.
    pub(crate) fn with_cached(self, cached: Vec<CachedPages>) -> Plan {
        let segments = self.records.iter().flatten().flat_map(|record| &record.segments);
        let produced =
            segments.filter(|segment| segment.origin == Origin::Produced).map(|segment| segment.pages.clone());
        let mut cached_pages = cached.iter().map(|cached| cached.pages.clone()).peekable();
        let mut is_whole = true;
        for pages in produced {
            let mut at = pages.start;
            while let Some(part) =
                cached_pages.next_if(|part| part.start == at && !part.is_empty() && part.end <= pages.end)
            {
                at = part.end;
            }
            is_whole &= at == pages.end;
        }
        is_whole &= cached_pages.next().is_none();
        Plan { cached: if is_whole { cached } else { Vec::new() }, ..self }
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

    /// How many pieces there are to lay, or some more.
    pub(crate) fn pieces(&self, block_size: BlockSize) -> usize {
        self.page_map(block_size).pieces().len() + self.cached.len()
    }

    /// The pieces to lay, ascending: each with the file that it is mapped from and where it begins there, or zeros. `data`
    /// has the extents.
    pub(crate) fn places<'p>(&'p self, data: &'p Arc<dyn DataFile>, block_size: BlockSize) -> Vec<Place<'p>> {
        let start = block_size.start_of(BlockNo(self.first));
        let mut places = Vec::new();
        for Piece { bytes, origin } in self.page_map(block_size).pieces() {
            match *origin {
                Origin::Extent(at) => places.push((bytes.clone(), Some((data, at)))),
                Origin::Produced if !self.cached.is_empty() => {
                    let cached = self.cached.iter().map(|cached| (page_range(start, &cached.pages), cached));
                    let within = cached.filter(|(part, _)| bytes.start <= part.start && part.end <= bytes.end);
                    places.extend(within.map(|(part, cached)| (part, Some((&cached.file, cached.offset)))));
                }
                Origin::Hole | Origin::Produced => places.push((bytes.clone(), None)),
            }
        }
        places
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

/// What is shown of each block of `run`.
fn records(binding: &Binding, run: &Range<u64>) -> Result<Vec<Option<BlockRecord>>> {
    let mut records = vec![None; (run.end - run.start) as usize];
    binding.records(run.clone(), &mut |block, record| {
        records[(block - run.start) as usize] = Some(record);
        ControlFlow::Continue(())
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::descriptor::Version;
    use crate::error::Result;
    use crate::store::Segment;

    struct NoFile;

    impl DataFile for NoFile {
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn as_file(&self) -> Option<&std::fs::File> {
            None
        }
    }

    /// Pages 2..9 and 12..16 are produced.
    fn plan() -> Plan {
        let produced = [2..9, 12..16].map(|pages| Segment { pages, origin: Origin::Produced });
        Plan::of_one(3, Some(BlockRecord::new(Version(1), 16, produced)))
    }

    fn cached(pages: &[Range<u32>]) -> Vec<CachedPages> {
        let file: Arc<dyn DataFile> = Arc::new(NoFile);
        pages.iter().map(|pages| CachedPages { pages: pages.clone(), file: file.clone(), offset: 0 }).collect()
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "lists of ranges, some of them of one")]
    fn files_are_taken_if_they_have_all_that_is_produced_and_no_more() {
        for right in [vec![2..9, 12..16], vec![2..4, 4..9, 12..13, 13..16]] {
            let plan = plan().with_cached(cached(&right));
            let data: Arc<dyn DataFile> = Arc::new(NoFile);
            let places = plan.places(&data, BlockSize::MIN);
            let start = BlockSize::MIN.start_of(BlockNo(3));
            let mapped: Vec<Range<usize>> =
                places.iter().filter(|(_, place)| place.is_some()).map(|(bytes, _)| bytes.clone()).collect();
            assert_eq!(mapped, right.iter().map(|pages| page_range(start, pages)).collect::<Vec<_>>());
            let ends: Vec<usize> = places.iter().map(|(bytes, _)| bytes.end).collect();
            assert_eq!(places.iter().skip(1).map(|(bytes, _)| bytes.start).collect::<Vec<_>>(), ends[..ends.len() - 1]);
            assert_eq!((places[0].0.start, ends.last().copied()), (start, Some(start + BlockSize::MIN.bytes())));
        }
        let wrong = [
            vec![],
            vec![2..9],
            vec![12..16],
            vec![2..9, 12..15],
            vec![2..8, 12..16],
            vec![3..9, 12..16],
            vec![1..9, 12..16],
            vec![2..10, 12..16],
            vec![2..16],
            vec![2..5, 6..9, 12..16],
            vec![2..6, 5..9, 12..16],
            vec![12..16, 2..9],
            vec![2..9, 12..16, 12..16],
            vec![2..9, 9..9, 12..16],
        ];
        for wrong in wrong {
            assert!(plan().with_cached(cached(&wrong)).cached.is_empty(), "{wrong:?}");
        }
    }
}
