//! What the pager and the transactions ask of storage.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use serde_json::Value;

use crate::descriptor::{ArrayId, Codec, Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::verify::{Progress, Report};

/// Where the bytes of a run of pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Never written, or all zero.
    Hole,
    /// In [`Snapshot::file`] from this byte on, page aligned: may be mapped.
    Extent(u64),
    /// Must be produced by [`Snapshot::read`]: decompressed, or fetched.
    Produced,
}

impl Origin {
    /// Where the bytes come from that lie `bytes` behind those of this origin.
    #[must_use]
    pub fn after(self, bytes: usize) -> Origin {
        match self {
            Origin::Extent(at) => Origin::Extent(at + bytes as u64),
            Origin::Hole | Origin::Produced => self,
        }
    }
}

/// A run of pages of one block with one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Pages of the block, from 0.
    pub pages: Range<u32>,
    /// Where they come from.
    pub origin: Origin,
}

/// A stored block. Segments are in page order, without gaps, and cover the block; neighbours differ in origin or do
/// not follow each other in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// The commit that last stored to the block, whether or not that changed its bytes.
    pub version: Version,
    /// Its pages.
    pub segments: Vec<Segment>,
}

impl BlockRecord {
    /// Whether all of the block is a hole, which something was stored to once.
    pub fn is_hole(&self) -> bool {
        self.segments.iter().all(|segment| segment.origin == Origin::Hole)
    }

    /// Whether all of its pages are in the data file as they are, or holes: nothing has to be produced.
    pub fn is_mappable(&self) -> bool {
        self.segments.iter().all(|segment| segment.origin != Origin::Produced)
    }
}

/// The file that extents lie in.
pub trait DataFile: Send + Sync {
    /// Fills `buf` from byte `offset` on; a file that ends before is [`ErrorKind::Corrupt`].
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The file to map, open for reading only. `None` where there is none (in tests): then only a simulated
    /// memory maps it.
    fn as_file(&self) -> Option<&std::fs::File>;
}

/// Look-ups in one state of the database: a committed one, or the one a commit is about to replace.
pub trait State {
    /// The array of that name.
    fn array(&self, name: &str) -> Result<Option<Descriptor>>;

    /// Every array, in order of names.
    fn arrays(&self) -> Result<Vec<(String, Descriptor)>>;

    /// The attribute of that name.
    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>>;

    /// Every attribute, in order of names.
    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>>;

    /// When each attribute was last set or removed, those that are there no more included, in order of names.
    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>>;

    /// One block; `None` if it is absent: a hole that nothing was ever stored to, of version 0.
    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>>;

    /// Visits the stored blocks whose numbers lie in `range`, ascending, until `visit` breaks.
    fn blocks(
        &self,
        array: ArrayId,
        range: Range<u64>,
        visit: &mut dyn FnMut(BlockNo, BlockRecord) -> ControlFlow<()>,
    ) -> Result<()>;
}

/// One committed state, alive until the last `Arc` is dropped: as long as it lives, no extent it refers to is reused.
pub trait Snapshot: State + Send + Sync {
    /// Number of the state: grows with each commit, by any process.
    fn version(&self) -> Version;

    /// The file its extents lie in.
    fn file(&self) -> &Arc<dyn DataFile>;

    /// Sees that none of the records of the array of that name is missing: a block whose record is not found would be a
    /// hole. Cheap where it was seen before and nothing has changed.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the array.
    fn check_records(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// Fills `buf` with the pages of `block` from `first_page` on (whole pages), whatever their origin; zeros for
    /// holes. What is read is verified against its checksums.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] naming the array's id, the block and the page.
    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()>;
}

/// Stores committed states.
pub trait Store: Send + Sync {
    /// The newest committed state. While nothing is committed, every call gives the same `Arc`, as long as one lives.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;

    /// Makes `change` visible, all or nothing.
    ///
    /// Calls [`conflict::check`](crate::conflict::check) against the state that the commit replaces, where nothing can
    /// change any more. `lock` is the caller's, if it holds one; otherwise the store waits for it.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict): nothing is stored. [`StoreFull`](crate::ErrorKind::StoreFull): nothing
    /// is stored, the store goes on. [`InUse`](crate::ErrorKind::InUse): this thread holds the commit lock for another
    /// transaction. After [`Io`](crate::ErrorKind::Io) from the final sync the store refuses to write until reopened.
    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed>;

    /// Waits until no other commit, of any process, can run, and holds that until the guard is dropped.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse): this thread holds the commit lock already, and would wait for itself.
    fn commit_lock(&self) -> Result<Box<dyn CommitLock>>;

    /// Where a transaction writes before its commit. Costs nothing until it does.
    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        Err(Error::new(ErrorKind::Unsupported, "this store cannot spill"))
    }

    /// Looks at everything that the newest committed state consists of, and goes on after what is damaged. Others read and
    /// commit meanwhile. `progress` is told how far it is, again and again, by the calling thread.
    ///
    /// # Errors
    /// What keeps it from looking; damage is none.
    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        let _ = progress;
        Err(Error::new(ErrorKind::Unsupported, "this store cannot verify what it holds"))
    }

    /// Refuses a codec that this build does not have.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) with its name.
    fn check_codec(&self, codec: Codec) -> Result<()> {
        match codec {
            Codec::None => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, format!("this store does not have the codec {codec}"))),
        }
    }
}

/// What one transaction writes before its commit: to places that no state refers to and nobody else is given, until a
/// commit takes them. Dropped without one it gives all of them back; if its process dies, somebody else does.
///
/// Nothing may be mapped from its places any more when it is dropped.
pub trait SpillArea: Send + Sync {
    /// Writes whole pages of a block as they are, those from `first_page` on, of an array that `array` describes. Several
    /// threads may write at once.
    ///
    /// Returns where they are: runs, ascending, that cover what was given. A place whose last reference goes before the
    /// commit is written over.
    ///
    /// # Errors
    /// [`StoreFull`](crate::ErrorKind::StoreFull): nothing was written; what was before is there.
    fn write(&self, array: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>>;

    /// Writes all of a block as the codec of its array says; otherwise as [`write`](SpillArea::write). `None`, and nothing is
    /// written, where that is not worth it: as they are, its pages take `plain_pages`, those that are no holes.
    ///
    /// # Errors
    /// As [`write`](SpillArea::write), and [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that this build does not
    /// have.
    fn write_packed(&self, array: &Descriptor, block: &[u8], plain_pages: u32) -> Result<Option<SpilledPages>>;

    /// The concrete value, for its store to recognise.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A run of pages of one block that was spilled.
#[derive(Clone)]
pub struct SpilledPages {
    /// Pages of the block, from 0. Some of those at `place`, or all.
    pub pages: Range<u32>,
    /// Where they are.
    pub slot: Arc<dyn SpillSlot>,
}

impl SpilledPages {
    /// Some of these pages.
    pub fn part(&self, pages: Range<u32>) -> SpilledPages {
        debug_assert!(self.pages.start <= pages.start && pages.end <= self.pages.end);
        SpilledPages { pages, slot: self.slot.clone() }
    }
}

impl PartialEq for SpilledPages {
    fn eq(&self, other: &SpilledPages) -> bool {
        self.pages == other.pages && Arc::ptr_eq(&self.slot, &other.slot)
    }
}

impl Eq for SpilledPages {}

impl std::fmt::Debug for SpilledPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SpilledPages({:?})", self.pages)
    }
}

/// Where pages of one block were spilled.
pub trait SpillSlot: Send + Sync {
    /// Fills `buf` with pages of the block from `first_page` on, which all are here, verified against their checksums.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), [`Io`](crate::ErrorKind::Io).
    fn read(&self, first_page: u32, buf: &mut [u8]) -> Result<()>;

    /// The byte of [`Snapshot::file`] where `page` of the block begins, if what is here may be mapped; pages that follow
    /// each other here do so there.
    fn extent(&self, page: u32) -> Option<u64>;

    /// The concrete value, for its store to recognise.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// The right to commit next; see [`Store::commit_lock`]. Belongs to the thread that took it.
pub trait CommitLock {
    /// The concrete guard, for its store to recognise.
    fn as_any(&self) -> &dyn std::any::Any;
}

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
}

/// All that one transaction changed.
pub struct Change<'a> {
    /// The state it saw.
    pub base: Version,
    /// One entry an array that was created, written to, resized, reshaped, renamed, removed, given attributes or depended
    /// on.
    pub arrays: Vec<ArrayChange<'a>>,
    /// Where [`PageSource::Spilled`] lies; the commit takes it.
    pub spill_area: Option<&'a dyn SpillArea>,
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
    /// Versions, as the transaction saw them, of the stored blocks that `dropped_from` drops, ascending; none of an array
    /// that was removed or renamed, which is compared as a whole.
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
            // What only sets attributes leaves alone what others did to the shape.
            return Some(current.clone());
        }
        let at = |is_new: bool, before: Version| if is_new { version } else { before };
        let is_cut = self.dropped_from.is_some();
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
    /// Runs of changed pages, ascending, apart. Pages between them stay as stored: zero, if the block was dropped. None,
    /// where what was stored to the block is what was there: then it gets a new version and nothing else.
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
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}
