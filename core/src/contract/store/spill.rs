//! Where a transaction writes before its commit.

use std::ops::Range;
use std::sync::Arc;

use crate::descriptor::Descriptor;
use crate::error::Result;

/// What one transaction writes before its commit: to slots that no state refers to and no other transaction is given,
/// until a commit takes them. Dropped without one it gives all of them back; if its process dies, another process does.
///
/// Nothing may be mapped from its slots any more when it is dropped.
pub trait SpillArea: Send + Sync {
    /// Writes whole pages of a block as they are, those from `first_page` on, of an array that `array` describes.
    /// Several threads may write at once.
    ///
    /// Returns where they are: runs, ascending, that cover what was given. A slot whose last reference goes before the
    /// commit is written over.
    ///
    /// # Errors
    /// [`StoreFull`](crate::ErrorKind::StoreFull): nothing was written; what was before is there.
    fn write(&self, array: &Descriptor, first_page: u32, bytes: &[u8]) -> Result<Vec<SpilledPages>>;

    /// Writes all of a block as the codec of its array says; otherwise as [`write`](SpillArea::write). `None`, and
    /// nothing is written, where that is not worth it: as they are, its pages take `plain_pages`, those that are no
    /// holes.
    ///
    /// # Errors
    /// As [`write`](SpillArea::write), and [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that this build
    /// does not have.
    fn write_packed(&self, array: &Descriptor, block: &[u8], plain_pages: u32) -> Result<Option<SpilledPages>>;

    /// The concrete value, for its store to recognise.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// A run of pages of one block that was spilled.
#[derive(Clone)]
pub struct SpilledPages {
    /// Pages of the block, from 0. Some of those in `slot`, or all.
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

    /// The byte of [`Snapshot::file`](super::Snapshot::file) where `page` of the block begins, if what is here may be
    /// mapped; pages that follow each other here do so there.
    fn extent(&self, page: u32) -> Option<u64>;

    /// The concrete value, for its store to recognise.
    fn as_any(&self) -> &dyn std::any::Any;
}
