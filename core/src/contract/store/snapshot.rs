//! Committed states: the catalog of arrays, and where the pages of their blocks are.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use serde_json::Value;

use crate::descriptor::{ArrayId, Descriptor, Version};
use crate::error::{Error, Result};
use crate::geometry::BlockNo;

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
    /// Of the block's bytes: another one after a commit that stored to the block. Where what was stored is what was
    /// there, it may stay.
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

/// Pages of a block that are produced, and that a file of this machine has as they are.
#[derive(Clone)]
pub struct CachedPages {
    /// Pages of the block, from 0.
    pub pages: Range<u32>,
    /// The file. What it has never changes, as long as it is open or mapped anywhere.
    pub file: Arc<dyn DataFile>,
    /// Where the pages begin in it, page aligned.
    pub offset: u64,
}

/// A file that is mapped: the one that extents lie in, or one of a cache.
pub trait DataFile: Send + Sync {
    /// Fills `buf` from byte `offset` on.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a file that ends before, [`Io`](crate::ErrorKind::Io).
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// The file to map, open for reading only. `None` where there is none (in tests): then only a simulated
    /// memory maps it.
    fn as_file(&self) -> Option<&std::fs::File>;
}

/// Look-ups in one state of the database: a committed one, or the one a commit is about to replace.
///
/// # Errors
/// Of each of them: [`Corrupt`](crate::ErrorKind::Corrupt) for what is stored and cannot be so,
/// [`Io`](crate::ErrorKind::Io), and [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the
/// store. A look-up by name is [`Invalid`](crate::ErrorKind::Invalid) for one that no array or attribute can have.
pub trait State {
    /// The array of that name.
    fn array(&self, name: &str) -> Result<Option<Descriptor>>;

    /// Every array, in order of names.
    fn arrays(&self) -> Result<Vec<(String, Descriptor)>>;

    /// Arrays that are there and cannot be read, in order of names, each with the error that a look-up of it is. A store
    /// that other programs write to may have some.
    fn unreadable(&self) -> Result<Vec<(String, Error)>> {
        Ok(Vec::new())
    }

    /// The attribute of that name; of the database, if `array` is [`ArrayId::DATABASE`], here and below.
    fn attr(&self, array: ArrayId, name: &str) -> Result<Option<Value>>;

    /// Every attribute, in order of names.
    fn attrs(&self, array: ArrayId) -> Result<Vec<(String, Value)>>;

    /// The version of each attribute, another one whenever it was set or removed, in order of names. Those that are there
    /// no more are included, as long as there is a snapshot older than that.
    fn attr_versions(&self, array: ArrayId) -> Result<Vec<(String, Version)>>;

    /// One block; `None` if it is absent: of version 0, as one that nothing was ever stored to. It is a hole, or consists
    /// of its array's [fill value](Descriptor::fill), which core sees to.
    fn block(&self, array: ArrayId, block: BlockNo) -> Result<Option<BlockRecord>>;

    /// Whether nothing was stored to `block` between `base`, an earlier state, and this one, as far as another
    /// transaction may see. A [check for conflicts](crate::conflict::check) asks where the versions differ.
    ///
    /// A store that keeps several blocks together gives all of them another version when it stores one; it compares the
    /// bytes of this block.
    fn same_block(&self, base: &dyn Snapshot, array: ArrayId, block: BlockNo) -> Result<bool> {
        let version = |record: Option<BlockRecord>| record.map_or(Version(0), |record| record.version);
        Ok(version(self.block(array, block)?) == version(base.block(array, block)?))
    }

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
    /// Number of the state: grows with each commit, by any process. It is the only version that grows: the others tell
    /// no more than whether there was a change.
    fn version(&self) -> Version;

    /// The file its extents lie in.
    fn file(&self) -> &Arc<dyn DataFile>;

    /// Whether a look-up may wait for long, as for an answer of another machine. If not, the one thread asks that all
    /// faults of a process wait for; otherwise a thread that may wait.
    ///
    /// A store whose look-ups do waits with [signals let through](crate::signals::let_through).
    fn lookups_may_block(&self) -> bool {
        false
    }

    /// The blocks `blocks` are about to be asked for: where their bytes come from another machine they may be fetched
    /// from here on. `by_mapping`: by [`cached`](Snapshot::cached) first. It takes the call as a hint, and must not block.
    fn will_need(&self, array: ArrayId, blocks: Range<u64>, by_mapping: bool) {
        let _ = (array, blocks, by_mapping);
    }

    /// Where files of this machine have all pages of `block` that its record says are produced, ascending, so that they can
    /// be mapped; none where some of them have to be [read](Snapshot::read). What the files have was verified. Asked by a
    /// thread that may wait, and only where [look-ups may block](Snapshot::lookups_may_block).
    ///
    /// The record stays as it is: where bytes are cached is no part of the state. A failure is no more than a block to be
    /// read.
    fn cached(&self, array: ArrayId, block: BlockNo) -> Vec<CachedPages> {
        let _ = (array, block);
        Vec::new()
    }

    /// Sees that none of the records of the array of that name is missing: a block whose record is not found would be a
    /// hole. Cheap where it was seen before and nothing has changed.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) naming the array.
    fn check_records(&self, name: &str) -> Result<()> {
        let _ = name;
        Ok(())
    }

    /// Fills `buf` with the pages of `block` from `first_page` on (whole pages), whatever their origin; zeros for
    /// holes. A block that is absent from an array with a fill value is not asked for. What is read is verified against its
    /// checksums.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) naming the array's id, the block and the page.
    fn read(&self, array: ArrayId, block: BlockNo, first_page: u32, buf: &mut [u8]) -> Result<()>;
}
