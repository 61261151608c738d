//! A large payload, written before the turn: outside every lock, into chunks that nobody else can have.

use std::cell::{Cell, RefCell};
use std::sync::PoisonError;

use bigarray_core::Result;
use bigarray_core::store::Change;

use super::payload::{Payload, pages_of};
use super::space::TxnSpace;
use super::with_room;
use crate::alloc::{CHUNK_PAGES, OldestReader, Owner, Run, Space};
use crate::crash;
use crate::index::WriteTxn;
use crate::shared::Shared;

/// Dead owners whose chunks one transaction gives back.
const SWEPT_AT_ONCE: usize = 8;

/// A payload in claimed chunks, on disk. Unless the claim is settled, dropping this gives the chunks back.
pub(super) struct Ahead<'s> {
    shared: &'s Shared,
    pub(super) owner: Owner,
    pub(super) payload: Payload,
    settled: Cell<bool>,
}

impl<'s> Ahead<'s> {
    /// Claims chunks, writes the payload of `change` to them, and has it on disk.
    pub(super) fn write(shared: &'s Shared, change: &Change<'_>) -> Result<Ahead<'s>> {
        let owner = shared.process.new_owner();
        let chunks = pages_of(change).div_ceil(usize::from(CHUNK_PAGES)) as u64;
        let claimed = with_room(shared, || {
            let txn = RefCell::new(shared.begin_write()?);
            let mut table = TxnSpace::new(&txn, &shared.data);
            let mut space = Space::new(&mut table);
            tidy(shared, &txn, &mut space)?;
            let claimed = space.claim(&owner, chunks)?;
            if table.lengthened {
                shared.data.sync()?;
            }
            crash::point("claiming");
            shared.commit_txn(txn.into_inner())?;
            Ok(claimed)
        })?;
        // From here on dropping it gives back what was claimed.
        let runs = claimed.into_iter().flatten().map(Run::whole);
        let ahead =
            Ahead { shared, owner, payload: Payload::place(change, Vec::new(), runs)?, settled: Cell::new(false) };
        crash::point("claimed");
        ahead.payload.write_in_parallel(change, &shared.data)?;
        shared.data.sync()?;
        crash::point("payload written");
        Ok(ahead)
    }

    /// The transaction that settled the claim is committed, or may be.
    pub(super) fn settled(&self) {
        self.settled.set(true);
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        if self.settled.get() {
            return;
        }
        let abandoned = || self.shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned().push(self.owner);
        match give_back(self.shared) {
            Ok(()) => abandoned().retain(|owner| *owner != self.owner),
            // A later transaction will.
            Err(e) => {
                tracing::warn!("{}: what was written ahead is not given back yet: {e}", self.shared.dir.display())
            }
        }
    }
}

fn give_back(shared: &Shared) -> Result<()> {
    let txn = RefCell::new(shared.begin_write()?);
    let mut table = TxnSpace::new(&txn, &shared.data);
    tidy(shared, &txn, &mut Space::new(&mut table))?;
    shared.commit_txn(txn.into_inner())
}

/// What every write transaction does for the space of others, a bounded part of it: chunks that dead processes and
/// failed transactions claimed, and freed pages that nobody can see any more. Returns the oldest state that somebody sees.
pub(super) fn tidy(shared: &Shared, txn: &RefCell<WriteTxn<'_>>, space: &mut Space<'_>) -> Result<OldestReader> {
    let abandoned = shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner).clone();
    space.sweep(SWEPT_AT_ONCE, &mut |owner| {
        let lives = || shared.process.sees_alive(owner, &mut |pid| shared.guards.holds_lock(pid));
        Ok(!abandoned.contains(owner) && lives()?)
    })?;
    let oldest = txn.borrow().oldest_reader()?;
    space.reclaim(oldest, Space::RECLAIM_RUNS)?;
    Ok(oldest)
}
