//! The binding of a span: what it shows, and what is known of its memory once it shows nothing.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::descriptor::{ArrayId, Descriptor, FillValue, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::{BlockNo, BlockSize, page_ceil};
use crate::pager::spill_map::SpillMap;
use crate::store::{BlockRecord, CachedPages, Origin, Segment, Snapshot};

/// What a span shows: one array as one committed state has it, cut where its transaction cut it.
#[derive(Clone)]
pub(crate) struct Binding {
    /// For messages.
    pub(crate) name: Arc<str>,
    /// `None` while the array is not committed: all blocks are absent.
    pub(crate) array: Option<ArrayId>,
    /// When that was last changed (`Descriptor::changed`).
    pub(crate) changed: Version,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// Blocks from here on are absent, whatever the snapshot has: the transaction dropped them.
    pub(crate) visible: u64,
    /// Where the array's first element is now, in bytes counted as blocks are.
    pub(crate) start: usize,
    /// What blocks that are absent consist of; `None`: they are holes.
    pub(crate) fill: Option<FillValue>,
    pub(crate) block_size: BlockSize,
    /// Blocks of the array as it is now: nothing is loaded ahead past it.
    pub(crate) end: u64,
    /// The byte at which the array ends, or ended when it was longer: no view reaches what lies behind.
    pub(crate) end_bytes: usize,
    /// What the transaction spilled; `None` for a reader.
    pub(crate) spill_map: Option<Arc<SpillMap>>,
}

impl Binding {
    /// All of `array` as `snapshot` has it.
    pub(crate) fn stored_array(name: &str, array: &Descriptor, snapshot: &Arc<dyn Snapshot>) -> Binding {
        Binding {
            name: name.into(),
            array: Some(array.id),
            changed: array.changed,
            snapshot: snapshot.clone(),
            visible: u64::MAX,
            start: array.skip,
            end: array.block_size.blocks_for(array.end()),
            end_bytes: array.end(),
            fill: array.fill.clone(),
            block_size: array.block_size,
            spill_map: None,
        }
    }

    /// The block of the array's first element.
    pub(crate) fn first(&self) -> u64 {
        self.block_size.block_at(self.start).0
    }

    /// The stored blocks of `range` that are visible.
    pub(crate) fn stored(&self, range: &Range<u64>) -> Option<(ArrayId, Range<u64>)> {
        let range = range.start..range.end.min(self.visible);
        self.array.filter(|_| !range.is_empty()).map(|array| (array, range))
    }

    /// Bytes of `block`, in whole pages, that a view can reach.
    pub(crate) fn bytes_in(&self, block: u64) -> usize {
        let bytes = self.block_size.range_of(BlockNo(block));
        // Behind the end nothing is laid but as a part of a block.
        if bytes.start < self.end_bytes { bytes.end.min(page_ceil(self.end_bytes)) - bytes.start } else { bytes.len() }
    }

    /// The block of which the array has a part alone, and the bytes of that, in whole pages.
    pub(crate) fn partial_block(&self) -> Option<(u64, usize)> {
        let block = self.block_size.block_at(self.end_bytes).0;
        Some((block, self.bytes_in(block))).filter(|(_, bytes)| *bytes < self.block_size.bytes())
    }

    /// Whether to ask for what is shown may take long.
    pub(crate) fn lookups_may_block(&self) -> bool {
        self.array.is_some() && self.snapshot.lookups_may_block()
    }

    /// Tells storage that what is visible of `blocks` is about to be asked for; `by_mapping`, where it is cached.
    pub(crate) fn will_need(&self, blocks: &Range<u64>, by_mapping: bool) {
        if let Some((array, stored)) = self.stored(blocks) {
            self.snapshot.will_need(array, stored, by_mapping);
        }
    }

    /// Where files have the pages of `block` that are produced.
    pub(crate) fn cached(&self, block: u64) -> Vec<CachedPages> {
        self.stored(&(block..block + 1)).map_or(Vec::new(), |(array, _)| self.snapshot.cached(array, BlockNo(block)))
    }

    /// What is shown of `block`: what storage has for it, if that is visible.
    pub(crate) fn record(&self, block: u64) -> Result<Option<BlockRecord>> {
        Ok(self.stored_record(block)?.or_else(|| self.absent_record()))
    }

    fn stored_record(&self, block: u64) -> Result<Option<BlockRecord>> {
        match self.stored(&(block..block + 1)) {
            Some((array, _)) => self.snapshot.block(array, BlockNo(block)),
            None => Ok(None),
        }
    }

    /// The record of a block that is absent, and no hole: its pages are produced. Its version is that of a block that is
    /// not stored.
    pub(crate) fn absent_record(&self) -> Option<BlockRecord> {
        let pages = 0..self.block_size.pages();
        let produced = Segment { pages, origin: Origin::Produced };
        self.fill.is_some().then(|| BlockRecord { version: Version(0), segments: vec![produced] })
    }

    /// Visits the blocks of `range` that have a [record](Binding::record), ascending, until `visit` breaks.
    pub(crate) fn records(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        let absent = self.absent_record();
        let (mut next, mut is_over) = (range.start, false);
        self.stored_records(range.clone(), &mut |block, record| {
            let before = absent.iter().flat_map(|absent| (next..block).map(move |block| (block, absent.clone())));
            let done = before.chain([(block, record)]).try_for_each(|(block, record)| visit(block, record));
            next = block + 1;
            is_over = done.is_break();
            done
        })?;
        if let Some(absent) = absent.filter(|_| !is_over) {
            let _ = (next..range.end).try_for_each(|block| visit(block, absent.clone()));
        }
        Ok(())
    }

    /// Visits the blocks of `range` that are stored, ascending, until `visit` breaks: few, also of an array of terabytes of
    /// which little was written.
    pub(crate) fn stored_records(
        &self,
        range: Range<u64>,
        visit: &mut dyn FnMut(u64, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()> {
        self.stored(&range).map_or(Ok(()), |(array, stored)| {
            self.snapshot.blocks(array, stored, &mut |BlockNo(block), record| visit(block, record))
        })
    }

    /// The verified bytes of a block that has a [record](Binding::record).
    pub(crate) fn read(&self, block: u64, buffer: &mut [u8]) -> Result<()> {
        if let Some(fill) = &self.fill
            && self.stored_record(block)?.is_none()
        {
            fill.write(self.block_size.start_of(BlockNo(block)), buffer);
            return Ok(());
        }
        match self.stored(&(block..block + 1)) {
            Some((array, _)) => self.snapshot.read(array, BlockNo(block), 0, buffer),
            None => Err(Error::new(ErrorKind::Invalid, "an array that is not committed has no stored block")),
        }
    }
}

/// What a span shows, and what it showed last.
#[derive(Default)]
pub(crate) struct Shown {
    binding: Option<Binding>,
    /// The fill value of what it shows, or showed last.
    pub(crate) fill: Option<FillValue>,
    /// How many loads have a binding as well.
    lent: usize,
    /// Set when a binding ends: the array, and its version (`Descriptor::changed`) then. The clean blocks are right for it.
    pub(crate) valid_for: Option<(ArrayId, Version)>,
    /// Missing pages are inaccessible, as the span shows nothing and was touched all the same.
    pub(crate) is_withdrawn: bool,
}

impl Shown {
    pub(crate) fn binding(&self) -> Option<&Binding> {
        self.binding.as_ref()
    }

    /// Shows `binding` from here on.
    pub(crate) fn bind(&mut self, binding: Binding) {
        debug_assert!(self.binding.is_none());
        self.fill.clone_from(&binding.fill);
        self.binding = Some(binding);
    }

    /// Shows nothing from here on.
    pub(crate) fn unbind(&mut self) -> Option<Binding> {
        self.binding.take()
    }

    /// The array ends at byte `end` now, behind where it ended.
    pub(crate) fn grow_to(&mut self, end: usize) {
        if let Some(binding) = &mut self.binding {
            binding.end = binding.block_size.blocks_for(end);
            binding.end_bytes = binding.end_bytes.max(end);
        }
    }

    /// The array has `blocks` blocks now.
    pub(crate) fn end_at(&mut self, blocks: u64) {
        if let Some(binding) = &mut self.binding {
            binding.end = blocks;
        }
    }

    /// The array begins at byte `start` now.
    pub(crate) fn begin_at(&mut self, start: usize) {
        if let Some(binding) = &mut self.binding {
            binding.start = start;
        }
    }

    /// The array has `blocks` blocks now, and those behind are holes whatever the snapshot has.
    pub(crate) fn cut(&mut self, blocks: u64) {
        if let Some(binding) = &mut self.binding {
            binding.end = blocks;
            binding.visible = binding.visible.min(blocks);
        }
    }

    /// The binding, for a load that runs. The load [gives it back](Shown::take_back).
    pub(crate) fn lend(&mut self) -> Option<Binding> {
        let binding = self.binding.clone();
        self.lent += usize::from(binding.is_some());
        binding
    }

    pub(crate) fn take_back(&mut self, lent: Option<Binding>) {
        // This never drops the last clone: `Pager::take_binding` keeps the table's own until all lent ones are back.
        self.lent -= usize::from(lent.is_some());
    }

    pub(crate) fn has_lent(&self) -> bool {
        self.lent > 0
    }
}
