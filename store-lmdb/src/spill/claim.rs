//! Chunks that one transaction claims, more of them the more it writes, and what of them it uses.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bigarray_core::signals::{self, Locked};
use bigarray_core::{Error, ErrorKind, Result};

use super::unused::{Pages, Unused};
use crate::alloc::{CHUNK_PAGES, Owner, Space};
use crate::commit::{TxnSpace, give_to_disk, tidy, with_room};
use crate::crash;
use crate::shared::Shared;

/// Chunks that are claimed at a time, at most: 128 MiB.
const MOST_AT_ONCE: u64 = 64;

/// The claim of one transaction; nothing until it writes.
pub(crate) struct Claim {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Owner,
    /// Read by who writes to pages, written by the commit: it waits for the writes under way, and none begins meanwhile.
    stage: RwLock<Stage>,
    /// One thread claims at a time. It waits for LMDB's writer mutex.
    claiming: Mutex<Batch>,
    /// Nobody waits for anything in it: places are given back by who is in a commit, and has LMDB's writer mutex.
    unused: Mutex<Unused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// A commit took what it refers to, and gave back the rest.
    Settled,
}

/// What the next claim is for.
struct Batch {
    chunks: u64,
    /// There is something to give back, or may be.
    claimed: bool,
}

/// A right to write to pages of the claim: it is not settled meanwhile.
pub(crate) struct Writing<'c> {
    claim: &'c Claim,
    _stage: RwLockReadGuard<'c, Stage>,
}

/// A commit that refers to pages of the claim.
pub(crate) struct Committing<'c> {
    pub(crate) claim: &'c Claim,
    stage: RwLockWriteGuard<'c, Stage>,
    /// For its payload. Given back when it is over, which means nothing if it took place.
    taken: Mutex<Vec<Pages>>,
}

impl Claim {
    pub(crate) fn new(shared: &Arc<Shared>) -> Claim {
        Claim {
            shared: Arc::clone(shared),
            owner: shared.locks.client().new_owner(),
            stage: RwLock::new(Stage::Open),
            claiming: Mutex::new(Batch { chunks: 1, claimed: false }),
            unused: Mutex::default(),
        }
    }

    /// To write to some of its pages.
    pub(crate) fn writing(&self) -> Result<Writing<'_>> {
        let stage = self.stage.read().unwrap_or_else(PoisonError::into_inner);
        check_open(*stage)?;
        Ok(Writing { claim: self, _stage: stage })
    }

    /// To commit what was written to it. Waits for the writes under way.
    pub(crate) fn committing(&self) -> Result<Committing<'_>> {
        let stage = self.stage.write().unwrap_or_else(PoisonError::into_inner);
        check_open(*stage)?;
        Ok(Committing { claim: self, stage, taken: Mutex::default() })
    }

    /// Nobody refers to `pages` any more.
    pub(super) fn give_back(&self, pages: Pages) {
        if self.shared.locks.check_process().is_ok() {
            self.unused().add(pages);
        }
    }

    /// Gives all of it back, unless a commit did. Nothing may be mapped from it any more.
    pub(super) fn end(&self) {
        // A forked child shares the open files, not the claims; and its locks may be held for ever.
        if self.shared.locks.check_process().is_err() {
            return;
        }
        let settled = *self.stage.read().unwrap_or_else(PoisonError::into_inner) == Stage::Settled;
        if settled || !self.claiming().claimed {
            return;
        }
        let abandoned = || self.shared.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned().push(self.owner);
        let released = match self.release() {
            Err(e) if e.is_store_full() => {
                give_to_disk(&self.shared, &mut |owner| Ok(*owner == self.owner)).and_then(|_| self.release())
            }
            released => released,
        };
        match released {
            Ok(()) => abandoned().retain(|owner| *owner != self.owner),
            // A later transaction will.
            Err(e) => {
                tracing::warn!("{}: spilled pages are not given back yet: {e}", self.shared.dir.display())
            }
        }
    }

    fn release(&self) -> Result<()> {
        with_room(&self.shared, || {
            let txn = RefCell::new(self.shared.begin_write()?);
            let mut table = TxnSpace::new(&txn, &self.shared.data);
            Space::new(&mut table).release(&self.owner)?;
            self.shared.commit_txn(txn.into_inner())
        })
    }

    /// `n` pages by `take`; claims chunks, `least` or more, if there are none such.
    fn take<T>(&self, take: impl Fn(&mut Unused) -> Option<T>, least: impl Fn(&Unused) -> u64) -> Result<T> {
        if let Some(taken) = take(&mut self.unused()) {
            return Ok(taken);
        }
        let mut batch = self.claiming();
        loop {
            // Another thread may have claimed some meanwhile.
            if let Some(taken) = take(&mut self.unused()) {
                return Ok(taken);
            }
            let least = least(&self.unused());
            self.claim_chunks(&mut batch, least)?;
        }
    }

    /// Claims `least` chunks, or more if it claimed some before and there is room.
    fn claim_chunks(&self, batch: &mut Batch, least: u64) -> Result<()> {
        let wanted = batch.chunks.max(least);
        let mut claimed = self.claim_some(wanted);
        if wanted > least && claimed.as_ref().is_err_and(Error::is_store_full) {
            claimed = self.claim_some(least);
        }
        let chunks = claimed?;
        batch.claimed = true;
        batch.chunks = (2 * batch.chunks).min(MOST_AT_ONCE);
        let of_chunk = u64::from(CHUNK_PAGES);
        chunks.iter().for_each(|range| self.shared.data.prepare_for_writing(range));
        let mut unused = self.unused();
        chunks.into_iter().for_each(|range| unused.add(range.start * of_chunk..range.end * of_chunk));
        drop(unused);
        crash::point("claimed");
        Ok(())
    }

    fn claim_some(&self, chunks: u64) -> Result<Vec<std::ops::Range<u64>>> {
        let shared = &self.shared;
        with_room(shared, || {
            let txn = RefCell::new(shared.begin_write()?);
            let mut table = TxnSpace::new(&txn, &shared.data);
            let mut space = Space::new(&mut table);
            tidy(shared, &txn, &mut space)?;
            let claimed = space.claim(&self.owner, chunks)?;
            if table.lengthened {
                shared.data.sync()?;
            }
            crash::point("claiming");
            shared.commit_txn(txn.into_inner())?;
            Ok(claimed)
        })
    }

    fn claiming(&self) -> Locked<'_, Batch> {
        signals::lock(&self.claiming)
    }

    fn unused(&self) -> Locked<'_, Unused> {
        signals::lock(&self.unused)
    }
}

fn check_open(stage: Stage) -> Result<()> {
    match stage {
        Stage::Open => Ok(()),
        Stage::Settled => {
            Err(Error::new(ErrorKind::Invalid, "the spilled pages of this transaction are committed: it is over"))
        }
    }
}

impl Writing<'_> {
    /// Takes `n` pages, a chunk's worth at most, that follow each other in the file: perhaps from one chunk into the next.
    /// Who took them gives them back.
    pub(super) fn take(&self, n: u64) -> Result<Pages> {
        debug_assert!((1..=u64::from(CHUNK_PAGES)).contains(&n));
        self.claim.take(|unused| unused.take(n), |_| 1)
    }
}

impl Committing<'_> {
    /// Takes `n` pages as [`Writing::take`] does.
    pub(crate) fn take(&self, n: u64) -> Result<Pages> {
        debug_assert!((1..=u64::from(CHUNK_PAGES)).contains(&n));
        let taken = self.claim.take(|unused| unused.take(n), |_| 1)?;
        self.keep([taken.clone()]);
        Ok(taken)
    }

    /// Takes `n` pages in as few pieces as can be had.
    pub(crate) fn take_many(&self, n: u64) -> Result<Vec<Pages>> {
        let missing = |unused: &Unused| (n - unused.in_whole_chunks().min(n)).div_ceil(u64::from(CHUNK_PAGES));
        let taken = self.claim.take(|unused| unused.take_many(n), missing)?;
        self.keep(taken.iter().cloned());
        Ok(taken)
    }

    fn keep(&self, taken: impl IntoIterator<Item = Pages>) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).extend(taken);
    }

    /// Whether anything was claimed.
    pub(crate) fn has_any(&self) -> bool {
        self.claim.claiming().claimed
    }

    /// The commit took place, or may have.
    pub(crate) fn settled(mut self) {
        *self.stage = Stage::Settled;
    }
}

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        let taken = self.taken.get_mut().unwrap_or_else(PoisonError::into_inner);
        taken.drain(..).for_each(|pages| self.claim.give_back(pages));
    }
}
