//! What a commit is asked to store.

use std::ops::Range;

use serde_json::Value;

use super::{Snapshot, SpillArea, SpilledPages};
use crate::descriptor::{ArrayId, Descriptor, Version};
use crate::error::Result;
use crate::geometry::{BlockNo, PAGE};

/// What a commit brought about.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The new state. A change of nothing gives the present one.
    pub version: Version,
    /// For each [`ArrayChange`], in order: the array's id, given now if it was created.
    pub ids: Vec<ArrayId>,
    /// For each [`ArrayChange`], in order: the array's `changed` in the state that the commit replaced; `Version(0)`
    /// if it was created. With it this process knows what a later refresh need not look at.
    pub replaced: Vec<Version>,
    /// The same in the new state; `Version(0)` if it was removed.
    pub changed: Vec<Version>,
}

/// All that one transaction changed.
pub struct Change<'a> {
    /// The state it saw.
    pub base: &'a dyn Snapshot,
    /// One entry an array that was created, written to, resized, reshaped, renamed, removed, given attributes or
    /// depended on.
    pub arrays: Vec<ArrayChange<'a>>,
    /// Attributes of the database set, in order of names.
    pub attrs: Vec<AttrChange>,
    /// Where [`PageSource::Spilled`] lies; the commit takes it.
    pub spill_area: Option<&'a dyn SpillArea>,
}

impl Change<'_> {
    /// Whether anything is to be stored. Otherwise the transaction only depends on what is there.
    pub fn stores(&self) -> bool {
        !self.attrs.is_empty() || self.arrays.iter().any(ArrayChange::stores)
    }

    /// Bytes of its changed pages. Pages that became zero are none.
    pub(crate) fn payload_bytes(&self) -> usize {
        let runs = self.arrays.iter().flat_map(|array| &array.blocks).flat_map(|block| &block.pages);
        runs.filter(|run| run.source != PageSource::Zero).map(|run| run.pages.len() * PAGE).sum()
    }
}

/// What happened to one array.
pub struct ArrayChange<'a> {
    /// Name and descriptor in the state the transaction saw; `None` if it was created since.
    pub before: Option<(String, Descriptor)>,
    /// Name and descriptor now; `None` if it was removed. A created array's id is not yet known. Its versions are
    /// ignored: the store sets them.
    pub after: Option<(String, Descriptor)>,
    /// Blocks from this number on are dropped before `blocks` are laid over: the array was shorter for a while. All
    /// blocks, if it was removed. What drops is compared as what is written is.
    pub dropped_from: Option<u64>,
    /// Versions, as the transaction saw them, of the stored blocks that `dropped_from` drops, ascending; none of an
    /// array that was removed or renamed, which is compared as a whole.
    pub dropped: Vec<(BlockNo, Version)>,
    /// Blocks stored to, ascending, whether or not that changed anything.
    pub blocks: Vec<BlockChange>,
    /// Attributes set.
    pub attrs: Vec<AttrChange>,
    /// Blocks that others may not have changed, ascending, apart.
    pub depends: Vec<Range<u64>>,
    /// Where the bytes of `blocks` are.
    pub bytes: &'a dyn Bytes,
}

impl ArrayChange<'_> {
    /// Whether descriptor, name or bytes change: then another's change of id, shape, type or order conflicts.
    /// Otherwise only attributes do.
    pub fn touches_array(&self) -> bool {
        let (Some((name_before, before)), Some((name, after))) = (&self.before, &self.after) else { return true };
        name_before != name || !before.same_layout(after) || self.dropped_from.is_some() || !self.blocks.is_empty()
    }

    /// Blocks of which all rows are dropped at the front. They are dropped before `blocks`, all of which lie behind, are
    /// laid over, and are compared as what is written is.
    pub fn dropped_front(&self) -> Range<u64> {
        match (&self.before, &self.after) {
            (Some((_, before)), Some((_, after))) => before.first_block().0..after.first_block().0,
            _ => 0..0,
        }
    }

    /// Whether anything is to be stored. Otherwise the transaction only depends on the array.
    pub fn stores(&self) -> bool {
        self.touches_array() || !self.attrs.is_empty()
    }

    /// The descriptor that the array has once this is stored as `version`; `None` if it is removed. Before, it was
    /// `current`, which the change does not conflict with; `None` if it is created, with that `id`.
    pub fn descriptor_at(&self, version: Version, id: ArrayId, current: Option<&Descriptor>) -> Option<Descriptor> {
        let (name, after) = self.after.as_ref()?;
        let Some(current) = current else {
            return Some(Descriptor { id, changed: version, reshaped: version, named: version, ..after.clone() });
        };
        if !self.touches_array() {
            // Setting attributes alone leaves the shape as other transactions made it.
            return Some(current.clone());
        }
        let at = |is_new: bool, before: Version| if is_new { version } else { before };
        let is_cut = self.dropped_from.is_some() || after.skip != current.skip;
        let is_renamed = self.before.as_ref().is_some_and(|(before, _)| before != name);
        Some(Descriptor {
            id,
            changed: at(is_cut || !self.blocks.is_empty(), current.changed),
            reshaped: at(is_cut || !after.grew_from(current), current.reshaped),
            named: at(is_renamed, current.named),
            ..after.clone()
        })
    }
}

/// New pages of one block, laid over what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockChange {
    /// The block.
    pub block: BlockNo,
    /// Its version in the state the transaction saw.
    pub seen: Version,
    /// Runs of changed pages, ascending, apart. Pages between them stay as stored: zero, if the block was dropped. All
    /// pages of a block that was absent, in an array with a [fill value](Descriptor::fill): from then on it is stored, also
    /// if all of them are zero.
    /// None, where what was stored to the block is what was there: then it gets a new version, if the store has one for
    /// that, and nothing else.
    pub pages: Vec<PageRun>,
}

/// A run of changed pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Pages of the block, from 0.
    pub pages: Range<u32>,
    /// Where their bytes are.
    pub source: PageSource,
}

/// Where the bytes of changed pages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageSource {
    /// Nowhere: all of them are zero and become a hole.
    Zero,
    /// In [`ArrayChange::bytes`].
    Memory,
    /// Written already; the pages are those of the run.
    Spilled(SpilledPages),
}

/// An attribute set, or removed.
#[derive(Clone, Debug, PartialEq)]
pub struct AttrChange {
    /// Its name.
    pub name: String,
    /// What it is to be; `None` removes it.
    pub after: Option<Value>,
}

/// Bytes of an array that are to be stored, present in memory and standing still.
pub trait Bytes: Send + Sync {
    /// Calls `f` with the bytes `range` of the array. Only ranges inside written pages may be asked for.
    ///
    /// # Errors
    /// Those of `f`, and a failure to load the pages.
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}
