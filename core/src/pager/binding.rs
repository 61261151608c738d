//! The binding of a span: what it shows.

use std::ops::Range;
use std::sync::Arc;

use crate::descriptor::ArrayId;
use crate::error::Result;
use crate::geometry::BlockNo;
use crate::pager::spill_map::SpillMap;
use crate::store::{BlockRecord, Snapshot};

/// What a span shows: one array as one committed state has it, cut where its transaction cut it.
#[derive(Clone)]
pub(crate) struct Binding {
    /// For messages.
    pub(crate) name: Arc<str>,
    /// `None` while the array is not committed: all holes.
    pub(crate) array: Option<ArrayId>,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// Blocks from here on are holes, whatever the snapshot has: the transaction dropped them.
    pub(crate) visible: u64,
    /// Blocks of the array as it is now: nothing is loaded ahead past it.
    pub(crate) end: u64,
    /// What the transaction spilled; `None` for a reader.
    pub(crate) spill_map: Option<Arc<SpillMap>>,
}

impl Binding {
    /// The stored blocks of `range` that are visible.
    pub(crate) fn stored(&self, range: &Range<u64>) -> Option<(ArrayId, Range<u64>)> {
        let range = range.start..range.end.min(self.visible);
        self.array.filter(|_| !range.is_empty()).map(|array| (array, range))
    }

    /// What storage has for `block`, if that is visible.
    pub(crate) fn record(&self, block: u64) -> Result<Option<BlockRecord>> {
        match self.stored(&(block..block + 1)) {
            Some((array, _)) => self.snapshot.block(array, BlockNo(block)),
            None => Ok(None),
        }
    }
}
