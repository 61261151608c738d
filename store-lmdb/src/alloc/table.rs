//! The tables of space in a write transaction of the index, as the allocator needs them.

use bigarray_core::Result;

use super::{Bitmap, Owner, Pages, Run};

/// Whether a file became longer, or why it cannot: [`StoreFull`](bigarray_core::ErrorKind::StoreFull).
pub(crate) type Growth = std::result::Result<(), bigarray_core::Error>;

/// The tables of space in one write transaction of the index. Dropping the transaction undoes everything but the length of
/// the file.
///
/// Reads see earlier writes of the same transaction.
pub(crate) trait SpaceTable {
    /// Id of this write transaction: the number of the state that its commit makes.
    fn txn_id(&self) -> u64;

    /// All chunks that were ever allocated are below this one. The file may be longer: preallocated, or lengthened by a
    /// transaction that was dropped.
    fn end(&self) -> Result<u64>;

    /// Makes the file hold `end` chunks or more, and records `end`. If the file cannot grow, nothing has changed, and the
    /// transaction may go on; after an error, as where the index is full, it may not.
    fn extend_file(&mut self, end: u64) -> Result<Growth>;

    /// The free pages of a chunk; `None` if it has none.
    fn bitmap(&self, chunk: u64) -> Result<Option<Bitmap>>;

    /// Records the free pages of a chunk; `None` deletes the record. Never called with an empty bitmap.
    fn set_bitmap(&mut self, chunk: u64, free: Option<&Bitmap>) -> Result<()>;

    /// The first chunk, from `from` on, that is listed under `class`; see [`Bitmap::class`].
    fn first_in_class(&self, class: u8, from: u64) -> Result<Option<u64>>;

    /// Lists `chunk` under `class`, or takes it from that list.
    fn set_listed(&mut self, class: u8, chunk: u64, listed: bool) -> Result<()>;

    /// The freed runs with the lowest key, which were recorded first.
    fn first_freed(&self) -> Result<Option<(FreedKey, Vec<Run>)>>;

    /// Records freed runs under a new key. At most [`FREED_RUNS`](super::freed::FREED_RUNS), so that a record is small.
    fn put_freed(&mut self, key: FreedKey, runs: &[Run]) -> Result<()>;

    /// Deletes a record of freed runs.
    fn delete_freed(&mut self, key: FreedKey) -> Result<()>;

    /// The pages that `owner` claimed; `None` if it claimed none.
    fn claim(&self, owner: &Owner) -> Result<Option<Vec<Pages>>>;

    /// Records the pages that `owner` claimed; `None` deletes the record.
    fn set_claim(&mut self, owner: &Owner, pages: Option<&[Pages]>) -> Result<()>;

    /// The first owner of a claim after `after`, in the order of [`Owner::to_bytes`].
    fn next_claim(&self, after: Option<&Owner>) -> Result<Option<Owner>>;
}

impl dyn SpaceTable + '_ {
    /// The chunks that are listed under `class`, ascending.
    pub(crate) fn chunks_of(&self, class: u8) -> impl Iterator<Item = Result<u64>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let chunk = self.first_in_class(class, from).transpose()?;
            from = chunk.as_ref().map_or(from, |chunk| chunk + 1);
            Some(chunk)
        })
    }
}

/// Key of a record of freed runs: sorts by transaction, then by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FreedKey {
    /// The transaction that freed them: its state and all later ones do not refer to them.
    pub(crate) txn: u64,
    /// Counts the records of one transaction, from 0.
    pub(crate) part: u32,
}
