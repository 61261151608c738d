//! Steps 4 to 7 of one commit, or of several that are stored by one transaction of the index.
//!
//! They are stored one after the other, each on the state that those before it make: conflicts are looked for there, so that
//! the outcome is that of commits one at a time. They share their version, their syncs, and the moment in which they become
//! visible. No two of them name the same array: what is remembered of a commit says which blocks of an array its version
//! changed, and would be half the truth.

use std::cell::RefCell;

use bigarray_core::store::{Change, Committed};
use bigarray_core::{Result, Version, conflict};

use super::blocks::Blocks;
use super::names::{self, Current};
use super::pack::PackedBlock;
use super::payload::Payload;
use super::phases::Phases;
use super::small;
use crate::alloc::{OldestReader, Owner, Run, Space};
use crate::crash;
use crate::shared::Shared;
use crate::space::{ClaimCommit, TxnSpace, reclaim_space, with_room};

/// A commit of more arrays is stored alone: comparing their names with those of others would take long.
const ARRAYS: usize = 64;

/// A commit whose step 3 is done.
pub(super) struct Prepared<'c> {
    pub(super) change: &'c Change<'c>,
    /// Its compressed blocks, if its payload is small.
    pub(super) packed: &'c [PackedBlock],
    pub(super) claim: Option<&'c ClaimCommit<'c>>,
    /// Its payload, if that is large.
    pub(super) large: Option<&'c Payload>,
}

impl Prepared<'_> {
    /// Whether both may be stored by one transaction.
    pub(super) fn goes_with(&self, other: &Prepared<'_>) -> bool {
        let (ours, others) = (&self.change.arrays, &other.change.arrays);
        let is_short = ours.len() <= ARRAYS && others.len() <= ARRAYS;
        is_short && !names_of(self.change).any(|name| names_of(other.change).any(|other| other == name))
    }
}

/// The arrays that a change is about, by their names before it and after.
fn names_of<'c>(change: &'c Change<'_>) -> impl Iterator<Item = &'c str> {
    change.arrays.iter().flat_map(|array| [&array.before, &array.after]).flatten().map(|(name, _)| name.as_str())
}

/// Stores commits that [go with](Prepared::goes_with) each other, and says of each what became of it.
///
/// A failure of one is no failure of the others: if they cannot be stored together, each is stored alone.
pub(super) fn store(shared: &Shared, commits: &[&Prepared<'_>], phases: &Phases) -> Vec<Result<Committed>> {
    let alone = |commit: &&Prepared<'_>| {
        let stored = with_room(shared, || try_commit(shared, std::slice::from_ref(commit), phases));
        stored.and_then(|mut outcomes| outcomes.remove(0))
    };
    if commits.len() > 1 {
        match try_commit(shared, commits, phases) {
            Ok(outcomes) => return outcomes,
            // The right to write was not to be had in time, which is the fault of none of them: each would wait as long again.
            Err(e) if e.is_in_use() => return commits.iter().map(|_| Err(e.clone())).collect(),
            Err(_) => {}
        }
    }
    commits.iter().map(alone).collect()
}

/// A commit whose records are written.
struct Written {
    current: Vec<Current>,
    /// It has pages that are not on disk yet.
    has_pages: bool,
    /// Its claim, and the runs of that to which its records refer.
    claimed: Option<(Owner, Vec<Run>)>,
}

/// Stores all that do not conflict, or none.
fn try_commit(shared: &Shared, commits: &[&Prepared<'_>], phases: &Phases) -> Result<Vec<Result<Committed>>> {
    let txn = RefCell::new(phases.write_transaction.time(|| shared.begin_write())?);
    let mut table = TxnSpace::new(&txn, &shared.data);
    let mut blocks = Blocks::new(&txn, Space::new(&mut table), &shared.data);
    let mut oldest = None;
    let mut written = Vec::with_capacity(commits.len());
    for commit in commits {
        // (5) Conflicts with the state that is replaced, which cannot change any more.
        let checked = phases.conflict_check.time(|| conflict::check(commit.change, &txn.borrow().tables()));
        match checked {
            Err(e) if e.is_conflict() => {
                written.push(Err(e));
                continue;
            }
            checked => checked?,
        }
        crash::point("checked");
        let oldest = match oldest {
            Some(oldest) => oldest,
            None => *oldest.insert(reclaim_space(shared, &txn, &mut blocks.space)?),
        };
        written.push(Ok(write_records(shared, commit, &mut blocks, oldest, phases)?));
    }
    let Some(oldest) = oldest else {
        // All of them conflict, and nothing is stored.
        return Ok(written.into_iter().filter_map(Result::err).map(Err).collect());
    };
    // What claims have left becomes free behind all records: were it given to the next commit, that would write over payload
    // which is needed once more, if they cannot be stored together and each is stored alone.
    for (owner, used) in written.iter().flatten().filter_map(|written| written.claimed.as_ref()) {
        blocks.space.consume_claim(owner, used)?;
    }
    blocks.free_all()?;
    blocks.space.reclaim(oldest, 2 * blocks.freed_runs)?;
    let wrote = blocks.wrote || written.iter().flatten().any(|written| written.has_pages);
    drop(blocks);
    let lengthened = table.lengthened;
    crash::point("records written");

    // (7) Pages are on disk before the records that refer to them.
    if wrote || lengthened {
        phases.sync.time(|| shared.data.sync())?;
    }
    crash::point("data synced");
    let txn = txn.into_inner();
    let version = Version(txn.id());
    phases.index.time(|| shared.commit_txn(txn))?;
    crash::point("committed");
    let committed = |(commit, written): (&&Prepared<'_>, Result<Written>)| {
        let Written { current, .. } = written?;
        let arrays = || commit.change.arrays.iter().zip(&current);
        for (array, now) in arrays() {
            shared.checked.follow(now.id, &now.before, array.after.is_some().then_some(now.records));
        }
        Ok(Committed {
            version,
            ids: current.iter().map(|now| now.id).collect(),
            replaced: current.iter().map(Current::changed).collect(),
            changed: arrays().map(|(array, now)| now.changed_by(array, version)).collect(),
        })
    };
    Ok(commits.iter().zip(written).map(committed).collect())
}

/// (6) A small payload, then records that refer to it, laid over those of this state.
fn write_records<'t>(
    shared: &Shared,
    commit: &Prepared<'t>,
    blocks: &mut Blocks<'_, 't, '_>,
    oldest: OldestReader,
    phases: &Phases,
) -> Result<Written> {
    let Prepared { change, packed, claim, large } = *commit;
    let txn = blocks.txn;
    let mut current = names::look_up(&mut txn.borrow_mut(), change)?;
    let write_small = || phases.payload.time(|| small::write(shared, change, packed, &mut blocks.space));
    let small = large.is_none().then(write_small).transpose()?;
    crash::point("small payload written");
    blocks.begin(claim.map(|c| c.claim), large.is_some());
    for ((at, array), now) in change.arrays.iter().enumerate().zip(&mut current) {
        blocks.records = now.records;
        let size = array.before.as_ref().map(|(_, d)| d.block_size);
        // A removed array loses all blocks, whatever else the change says.
        let from = if array.after.is_none() { Some(0) } else { array.dropped_from };
        if let (Some(size), Some(from)) = (size, from) {
            blocks.drop_blocks(now.id, size, from..u64::MAX)?;
        }
        if let Some(size) = size {
            blocks.drop_blocks(now.id, size, array.dropped_front())?;
        }
        if array.after.is_none() {
            blocks.drop_attrs(now.id)?;
        }
        if let Some(payload) = large.or(small.as_ref()) {
            blocks.lay_over(at, array, now.id, payload)?;
        }
        now.records = blocks.records;
        names::store_attrs(&mut txn.borrow_mut(), array, now)?;
    }
    let claimed = claim.map(|claim| (claim.claim.owner, std::mem::take(&mut blocks.used)));
    names::store_arrays(&mut txn.borrow_mut(), change, &current)?;
    names::store_database_attrs(&mut txn.borrow_mut(), &change.attrs, oldest)?;
    Ok(Written { current, has_pages: small.is_some_and(|payload| !payload.is_empty()), claimed })
}
