//! The binding of a span: what it shows, and what is known of its memory once it shows nothing.

use std::ops::Range;
use std::sync::Arc;

use crate::descriptor::{ArrayId, Descriptor, Version};
use crate::error::Result;
use crate::geometry::BlockNo;
use crate::pager::spill_map::SpillMap;
use crate::store::{BlockRecord, CachedPages, Snapshot};

/// What a span shows: one array as one committed state has it, cut where its transaction cut it.
#[derive(Clone)]
pub(crate) struct Binding {
    /// For messages.
    pub(crate) name: Arc<str>,
    /// `None` while the array is not committed: all holes.
    pub(crate) array: Option<ArrayId>,
    /// When that was last changed (`Descriptor::changed`).
    pub(crate) changed: Version,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// Blocks from here on are holes, whatever the snapshot has: the transaction dropped them.
    pub(crate) visible: u64,
    /// The block of the array's first element, as it is now.
    pub(crate) first: u64,
    /// Blocks of the array as it is now: nothing is loaded ahead past it.
    pub(crate) end: u64,
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
            first: array.first_block().0,
            end: array.block_size.blocks_for(array.end()),
            spill_map: None,
        }
    }

    /// The stored blocks of `range` that are visible.
    pub(crate) fn stored(&self, range: &Range<u64>) -> Option<(ArrayId, Range<u64>)> {
        let range = range.start..range.end.min(self.visible);
        self.array.filter(|_| !range.is_empty()).map(|array| (array, range))
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

    /// What storage has for `block`, if that is visible.
    pub(crate) fn record(&self, block: u64) -> Result<Option<BlockRecord>> {
        match self.stored(&(block..block + 1)) {
            Some((array, _)) => self.snapshot.block(array, BlockNo(block)),
            None => Ok(None),
        }
    }
}

/// What a span shows, and what it showed last.
#[derive(Default)]
pub(crate) struct Shown {
    binding: Option<Binding>,
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
        self.binding = Some(binding);
    }

    /// Shows nothing from here on.
    pub(crate) fn unbind(&mut self) -> Option<Binding> {
        self.binding.take()
    }

    /// The array has `blocks` blocks now.
    pub(crate) fn end_at(&mut self, blocks: u64) {
        if let Some(binding) = &mut self.binding {
            binding.end = blocks;
        }
    }

    /// The array begins in block `first` now.
    pub(crate) fn begin_at(&mut self, first: BlockNo) {
        if let Some(binding) = &mut self.binding {
            binding.first = first.0;
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
