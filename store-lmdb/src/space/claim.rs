//! The claim of one transaction: chunks that it may write to before its commit, more of them the more it writes.

use std::cell::RefCell;
use std::sync::Arc;

use bigarray_core::sync::{FaultMutex, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use bigarray_core::{Error, ErrorKind, Result};

use super::full_disk::{punch_holes, with_room};
use super::reclaim::reclaim_space;
use super::txn_space::TxnSpace;
use super::unused::{Pages, Unused};
use crate::alloc::{CHUNK_PAGES, Owner, Space};
use crate::crash;
use crate::shared::Shared;

/// Most chunks that are claimed at a time: 128 MiB.
const MOST_AT_ONCE: u64 = 64;

/// The claim of one transaction; nothing until it writes.
pub(crate) struct Claim {
    pub(crate) shared: Arc<Shared>,
    pub(crate) owner: Owner,
    /// A thread that writes pages locks it shared. A commit locks it exclusively: it waits for writes under way, and none
    /// begins until it is done.
    stage: RwLock<Stage>,
    /// Held by the one thread that claims, which waits for the gate *writing*.
    claiming: FaultMutex<Batch>,
    /// No thread waits for anything while it holds this: a commit takes it, behind the gate *writing*, to give pages back.
    unused: FaultMutex<Unused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// A commit refers to pages of the claim, and freed the others.
    Consumed,
}

/// The size of the next claim.
struct Batch {
    chunks: u64,
    /// Chunks were claimed, or may have been.
    claimed: bool,
}

/// The right to write to pages of the claim: no commit consumes it meanwhile.
pub(crate) struct ClaimWriter<'c> {
    claim: &'c Claim,
    _stage: RwLockReadGuard<'c, Stage>,
}

/// The right to commit pages of the claim: no thread writes to it meanwhile.
pub(crate) struct ClaimCommit<'c> {
    pub(crate) claim: &'c Claim,
    stage: RwLockWriteGuard<'c, Stage>,
    /// Pages for its payload. Dropping this gives them back. After a successful commit the claim is consumed, and giving
    /// back has no effect.
    taken: Mutex<Vec<Pages>>,
}

impl Claim {
    pub(crate) fn new(shared: &Arc<Shared>) -> Claim {
        Claim {
            shared: Arc::clone(shared),
            owner: shared.locks.client.new_owner(),
            stage: RwLock::new(Stage::Open),
            claiming: FaultMutex::new(Batch { chunks: 1, claimed: false }),
            unused: FaultMutex::default(),
        }
    }

    /// Begins to write to pages.
    pub(crate) fn writing(&self) -> Result<ClaimWriter<'_>> {
        let stage = self.stage.read();
        check_open(*stage)?;
        Ok(ClaimWriter { claim: self, _stage: stage })
    }

    /// Begins to commit pages. Waits for writes under way.
    pub(crate) fn committing(&self) -> Result<ClaimCommit<'_>> {
        let stage = self.stage.write();
        check_open(*stage)?;
        Ok(ClaimCommit { claim: self, stage, taken: Mutex::default() })
    }

    /// Gives pages back to which nothing refers any more.
    pub(crate) fn give_back(&self, pages: Pages) {
        if self.shared.locks.check_process().is_ok() {
            self.unused.lock().add(pages);
        }
    }

    /// Releases the claim, unless a commit consumed it. None of it may be mapped any more.
    pub(crate) fn end(&self) {
        // A forked child has no claims, and a lock that was held at the fork stays locked for ever.
        if self.shared.locks.check_process().is_err() {
            return;
        }
        let consumed = *self.stage.read() == Stage::Consumed;
        if consumed || !self.claiming.lock().claimed {
            return;
        }
        let abandoned = || self.shared.abandoned.lock();
        abandoned().push(self.owner);
        let released = match self.release() {
            Err(e) if e.is_store_full() => {
                punch_holes(&self.shared, &mut |owner| Ok(*owner == self.owner)).and_then(|_| self.release())
            }
            released => released,
        };
        match released {
            Ok(()) => abandoned().retain(|owner| *owner != self.owner),
            // A later transaction releases it.
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

    /// Takes unused pages by `take`. If there are too few, claims chunks, `least` or more.
    fn take<T>(&self, take: impl Fn(&mut Unused) -> Option<T>, least: impl Fn(&Unused) -> u64) -> Result<T> {
        if let Some(taken) = take(&mut self.unused.lock()) {
            return Ok(taken);
        }
        let mut batch = self.claiming.lock();
        loop {
            // Another thread may have claimed chunks meanwhile.
            if let Some(taken) = take(&mut self.unused.lock()) {
                return Ok(taken);
            }
            let least = least(&self.unused.lock());
            self.claim_chunks(&mut batch, least)?;
        }
    }

    /// Claims `least` chunks, or more if chunks were claimed before and there is room.
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
        let mut unused = self.unused.lock();
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
            reclaim_space(shared, &txn, &mut space)?;
            let claimed = space.claim(&self.owner, chunks)?;
            if table.lengthened {
                shared.data.sync()?;
            }
            crash::point("claiming");
            shared.commit_txn(txn.into_inner())?;
            Ok(claimed)
        })
    }
}

fn check_open(stage: Stage) -> Result<()> {
    match stage {
        Stage::Open => Ok(()),
        Stage::Consumed => {
            Err(Error::new(ErrorKind::Invalid, "the spilled pages of this transaction are committed: it is over"))
        }
    }
}

impl ClaimWriter<'_> {
    /// Takes `n` consecutive pages, at most a chunk's worth, which may lie in two chunks. The caller has to give them back.
    pub(crate) fn take(&self, n: u64) -> Result<Pages> {
        debug_assert!((1..=u64::from(CHUNK_PAGES)).contains(&n));
        self.claim.take(|unused| unused.take(n), |_| 1)
    }
}

impl ClaimCommit<'_> {
    /// Takes `n` pages as [`ClaimWriter::take`] does. They are given back when this is dropped.
    pub(crate) fn take(&self, n: u64) -> Result<Pages> {
        debug_assert!((1..=u64::from(CHUNK_PAGES)).contains(&n));
        let taken = self.claim.take(|unused| unused.take(n), |_| 1)?;
        self.keep([taken.clone()]);
        Ok(taken)
    }

    /// Takes `n` pages in as few pieces as possible.
    pub(crate) fn take_many(&self, n: u64) -> Result<Vec<Pages>> {
        let missing = |unused: &Unused| (n - unused.in_whole_chunks().min(n)).div_ceil(u64::from(CHUNK_PAGES));
        let taken = self.claim.take(|unused| unused.take_many(n), missing)?;
        self.keep(taken.iter().cloned());
        Ok(taken)
    }

    fn keep(&self, taken: impl IntoIterator<Item = Pages>) {
        self.taken.lock().extend(taken);
    }

    /// Whether chunks were claimed.
    pub(crate) fn has_any(&self) -> bool {
        self.claim.claiming.lock().claimed
    }

    /// Notes that the commit consumed the claim.
    pub(crate) fn consumed(mut self) {
        *self.stage = Stage::Consumed;
    }
}

impl Drop for ClaimCommit<'_> {
    fn drop(&mut self) {
        let taken = self.taken.get_mut();
        taken.drain(..).for_each(|pages| self.claim.give_back(pages));
    }
}
