//! The tables of space as plain maps, for tests.

use std::collections::{BTreeMap, BTreeSet};

use bigarray_core::{Error, ErrorKind, Result};

use crate::alloc::{Bitmap, FreedKey, Growth, Owner, Pages, Run, SpaceTable};

/// An owner of claims.
pub(super) const OWNER: Owner = Owner { client: 1, token: 2, serial: 3 };

/// A write transaction is a clone that replaces the original when it commits.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedTable {
    pub(crate) txn: u64,
    pub(crate) end: u64,
    /// Chunks for which the disk has room.
    pub(crate) disk: u64,
    pub(crate) chunks: BTreeMap<u64, Bitmap>,
    pub(crate) fits: BTreeSet<(u8, u64)>,
    pub(crate) freed: BTreeMap<FreedKey, Vec<Run>>,
    pub(crate) claims: BTreeMap<[u8; Owner::BYTES], Vec<Pages>>,
}

impl SimulatedTable {
    /// An empty file on a disk with room for that many chunks.
    pub(crate) fn new(disk: u64) -> SimulatedTable {
        SimulatedTable {
            txn: 0,
            end: 0,
            disk,
            chunks: BTreeMap::new(),
            fits: BTreeSet::new(),
            freed: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// A write transaction on top of this state.
    pub(crate) fn begin(&self) -> SimulatedTable {
        SimulatedTable { txn: self.txn + 1, ..self.clone() }
    }

    /// The same in place, for a transaction that commits. Returns the owner of its claims.
    pub(crate) fn begin_commit(&mut self) -> Owner {
        self.txn += 1;
        Owner { serial: self.txn, ..OWNER }
    }

    /// The free runs of all chunks.
    pub(crate) fn free_runs(&self) -> impl Iterator<Item = Run> {
        self.chunks
            .iter()
            .flat_map(|(chunk, bitmap)| bitmap.runs().map(|(first, pages)| Run { chunk: *chunk, first, pages }))
    }
}

impl SpaceTable for SimulatedTable {
    fn txn_id(&self) -> u64 {
        self.txn
    }

    fn end(&self) -> Result<u64> {
        Ok(self.end)
    }

    fn extend_file(&mut self, end: u64) -> Result<Growth> {
        assert!(end > self.end);
        if end > self.disk {
            return Ok(Err(Error::new(ErrorKind::StoreFull, format!("{end} chunks on a disk for {}", self.disk))));
        }
        self.end = end;
        Ok(Ok(()))
    }

    fn bitmap(&self, chunk: u64) -> Result<Option<Bitmap>> {
        Ok(self.chunks.get(&chunk).copied())
    }

    fn set_bitmap(&mut self, chunk: u64, free: Option<&Bitmap>) -> Result<()> {
        match free {
            Some(bitmap) => self.chunks.insert(chunk, *bitmap),
            None => self.chunks.remove(&chunk),
        };
        Ok(())
    }

    fn first_in_class(&self, class: u8, from: u64) -> Result<Option<u64>> {
        Ok(self.fits.range((class, from)..=(class, u64::MAX)).next().map(|(_, chunk)| *chunk))
    }

    fn set_listed(&mut self, class: u8, chunk: u64, listed: bool) -> Result<()> {
        let changed = if listed { self.fits.insert((class, chunk)) } else { self.fits.remove(&(class, chunk)) };
        assert!(changed, "chunk {chunk} listed twice or not at all under {class}");
        Ok(())
    }

    fn first_freed(&self) -> Result<Option<(FreedKey, Vec<Run>)>> {
        Ok(self.freed.first_key_value().map(|(key, runs)| (*key, runs.clone())))
    }

    fn put_freed(&mut self, key: FreedKey, runs: &[Run]) -> Result<()> {
        assert!(self.freed.insert(key, runs.to_vec()).is_none(), "{key:?} recorded twice");
        Ok(())
    }

    fn delete_freed(&mut self, key: FreedKey) -> Result<()> {
        assert!(self.freed.remove(&key).is_some());
        Ok(())
    }

    fn claim(&self, owner: &Owner) -> Result<Option<Vec<Pages>>> {
        Ok(self.claims.get(&owner.to_bytes()).cloned())
    }

    fn set_claim(&mut self, owner: &Owner, pages: Option<&[Pages]>) -> Result<()> {
        match pages {
            Some(pages) => self.claims.insert(owner.to_bytes(), pages.to_vec()),
            None => self.claims.remove(&owner.to_bytes()),
        };
        Ok(())
    }

    fn next_claim(&self, after: Option<&Owner>) -> Result<Option<Owner>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, |owner| Excluded(owner.to_bytes()));
        Ok(self.claims.range((from, Unbounded)).next().map(|(owner, _)| Owner::from_bytes(owner)))
    }
}
