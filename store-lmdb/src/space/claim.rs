//! The claim of one transaction: pages that it may write to before its commit, more of them the more it writes.

use std::cell::RefCell;
use std::sync::Arc;

use bigarray_core::sync::{FaultMutex, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use bigarray_core::{Error, ErrorKind, Result};

use super::full_disk::{punch_holes, with_room};
use super::reclaim::reclaim_space;
use super::txn_space::TxnSpace;
use super::unused::Unused;
use crate::alloc::{CHUNK_PAGES, Owner, Pages, Pool, Run, Space, push_pages, runs_of};
use crate::crash;
use crate::shared::Shared;

/// Most pages that are claimed at a time beyond what is needed: 128 MiB.
const MOST_AT_ONCE: u64 = 32_768;
/// The fewest pages that are claimed once a transaction claimed what it needed first: 512 KiB. Twice as many each time.
const FEWEST: u64 = 128;
/// The shortest run of pages that is claimed beyond what is needed: 64 KiB, the smallest block.
const SHORT: u16 = 16;
/// The most runs that are claimed at a time beyond what is needed.
const MOST_RANGES: u64 = 256;
/// The shortest run of pages that consecutive blocks of a large payload are written to: 256 KiB. In shorter ones blocks would
/// be in too many pieces.
const LONG: u16 = 64;

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
    pages: u64,
    /// Pages were claimed, or may have been.
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
            claiming: FaultMutex::new(Batch { pages: 0, claimed: false }),
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

    /// Takes `n` consecutive unused pages. If there are none, claims them, or more if the transaction claimed some before and
    /// there is room.
    fn take(&self, n: u64) -> Result<Pages> {
        if let Some(taken) = self.unused.lock().take(n) {
            return Ok(taken);
        }
        let mut batch = self.claiming.lock();
        loop {
            // Another thread may have claimed pages meanwhile.
            if let Some(taken) = self.unused.lock().take(n) {
                return Ok(taken);
            }
            let wanted = batch.pages.max(n);
            let mut claimed = self.claim_beyond(wanted, n as u16);
            if wanted > n && claimed.as_ref().is_err_and(Error::is_store_full) {
                claimed = self.claim_beyond(n, n as u16);
            }
            self.add(claimed?);
            *batch = Batch { pages: (2 * wanted).clamp(FEWEST, MOST_AT_ONCE), claimed: true };
            crash::point("claimed");
        }
    }

    fn claim_beyond(&self, wanted: u64, n: u16) -> Result<Vec<Pages>> {
        self.claim_by(|space, owner| match u16::try_from(wanted) {
            Ok(pages) if pages <= CHUNK_PAGES => {
                Ok(vec![space.claim_piece(owner, &mut self.shared.open_chunk.lock(), pages)?])
            }
            // The more there are, the longer: their list is in the claim's record.
            _ => space.claim(owner, wanted, n.max(SHORT).max((wanted / MOST_RANGES) as u16)),
        })
    }

    /// Claims pages by `claim`, in a write transaction of its own.
    fn claim_by<T>(&self, claim: impl Fn(&mut Space<'_>, &Owner) -> Result<T>) -> Result<T> {
        let shared = &self.shared;
        with_room(shared, || {
            let txn = RefCell::new(shared.begin_write()?);
            let mut table = TxnSpace::new(&txn, &shared.data);
            let mut space = Space::new(&mut table);
            reclaim_space(shared, &txn, &mut space)?;
            let claimed = claim(&mut space, &self.owner)?;
            if table.lengthened {
                shared.data.sync()?;
            }
            crash::point("claiming");
            shared.commit_txn(txn.into_inner())?;
            Ok(claimed)
        })
    }

    /// Adds claimed pages to those that are unused.
    fn add(&self, claimed: Vec<Pages>) {
        claimed.iter().for_each(|pages| self.shared.data.prepare_for_writing(pages));
        let mut unused = self.unused.lock();
        claimed.into_iter().for_each(|pages| unused.add(pages));
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
        self.claim.take(n)
    }
}

impl ClaimCommit<'_> {
    /// Takes `n` pages as [`ClaimWriter::take`] does. They are given back when this is dropped.
    pub(crate) fn take(&self, n: u64) -> Result<Pages> {
        debug_assert!((1..=u64::from(CHUNK_PAGES)).contains(&n));
        let taken = self.claim.take(n)?;
        self.keep([taken.clone()]);
        Ok(taken)
    }

    /// Takes room for groups of pages that follow each other in an array, as many as `groups` says, and returns one or more
    /// runs for each, in order.
    ///
    /// Groups of a chunk and more are placed one behind the other; others each where it fits, since its pages are rewritten
    /// at another time than those of the others.
    pub(crate) fn take_groups(&self, groups: &[u64]) -> Result<Vec<Run>> {
        let is_large = |pages: &u64| *pages >= u64::from(CHUNK_PAGES);
        let large: u64 = groups.iter().filter(|pages| is_large(pages)).sum();
        let small: Vec<u16> = groups.iter().filter(|pages| !is_large(pages)).map(|pages| *pages as u16).collect();
        let mut batch = self.claim.claiming.lock();
        // Unused pages of what was claimed to spill come first. No other thread takes any: none spills during a commit.
        if let Some(taken) = self.take_unused(groups, LONG) {
            return Ok(taken);
        }
        let missing = large - self.claim.unused.lock().in_ranges_of(LONG).min(large);
        let claimed = self.claim.claim_by(|space, owner| {
            let claimed = if missing > 0 { space.claim(owner, missing, LONG)? } else { Vec::new() };
            Ok((claimed, space.claim_scattered(owner, &mut self.claim.shared.open_chunk.lock(), &small)?))
        });
        let (claimed, small) = match claimed {
            // What the transaction claimed itself may be what is missing.
            Err(full) if full.is_store_full() => return self.take_unused(groups, 1).ok_or(full),
            claimed => claimed?,
        };
        batch.claimed = true;
        drop(batch);
        self.claim.add(claimed);
        let mut joined = Vec::new();
        small.iter().for_each(|run| push_pages(&mut joined, run.in_file()));
        joined.iter().for_each(|pages| self.claim.shared.data.prepare_for_writing(pages));
        self.keep(joined);
        let large = self
            .claim
            .unused
            .lock()
            .take_many(large, LONG)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "data file: less space was handed out than asked for"))?;
        self.keep(large.iter().cloned());
        crash::point("claimed");
        let (mut large, mut small) = (Pool::new(large.into_iter().flat_map(runs_of)), Pool::new(small));
        Ok(groups.iter().flat_map(|n| if is_large(n) { large.draw(*n) } else { small.draw(*n) }).collect())
    }

    /// Takes room for all groups from unused pages in ranges of at least `least`, if there is enough.
    fn take_unused(&self, groups: &[u64], least: u16) -> Option<Vec<Run>> {
        let pages = self.claim.unused.lock().take_many(groups.iter().sum(), least)?;
        self.keep(pages.iter().cloned());
        let mut pool = Pool::new(pages.into_iter().flat_map(runs_of));
        Some(groups.iter().flat_map(|n| pool.draw(*n)).collect())
    }

    fn keep(&self, taken: impl IntoIterator<Item = Pages>) {
        self.taken.lock().extend(taken);
    }

    /// Whether pages were claimed.
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
