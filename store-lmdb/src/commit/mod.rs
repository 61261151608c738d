//! A commit. The steps are numbered as in "The life of a commit" of ARCHITECTURE.md; steps 1, 2 and 8 are core's.

mod blocks;
mod checksums;
mod defragment;
mod names;
mod overlay;
mod pack;
mod parallel;
mod payload;
mod phases;
mod small;
#[cfg(test)]
mod space_model;

use std::cell::RefCell;
use std::sync::Arc;

use bigarray_core::store::{
    ArrayChange, Change, CommitLock, Committed, PageSource, SpillArea, check_array_name, check_attr_name,
};
use bigarray_core::{ArrayId, Error, ErrorKind, PAGE, Result, Version, conflict, signals};

use crate::alloc::Space;
use crate::locks::exclusive::Held;
use crate::shared::Shared;
use crate::space::{ClaimCommit, TxnSpace, reclaim_space, with_room};
use crate::spill::LmdbSpillArea;
use crate::{codec, crash};
use blocks::Blocks;
use pack::PackedBlock;
use payload::{Payload, pages_of};
use phases::Phases;

/// A payload of more pages is written before the commit lock is taken: claiming chunks for it costs one more transaction,
/// which is little beside writing it.
const EARLY_PAGES: usize = (2 << 20) / PAGE;

/// Makes `change` visible, all or nothing.
pub(crate) fn commit(shared: &Arc<Shared>, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
    check_input(change)?;
    shared.data.writable()?;
    if !change.stores() && change.arrays.iter().all(|array| array.depends.is_empty()) {
        let before =
            |a: &ArrayChange<'_>| a.before.as_ref().map_or((ArrayId(0), Version(0)), |(_, d)| (d.id, d.changed));
        let (ids, replaced): (_, Vec<_>) = change.arrays.iter().map(before).unzip();
        return Ok(Committed { version: shared.index.newest()?, ids, changed: replaced.clone(), replaced });
    }
    let phases = Phases::default();
    // (3) A large payload is written early, outside the write transaction.
    let is_large = pages_of(change) > EARLY_PAGES;
    let own = (is_large && change.spill_area.is_none()).then(|| LmdbSpillArea::new(shared));
    let area = change.spill_area.map(|area| spill_area_of(shared, area)).transpose()?.or(own.as_ref());
    let claim = area.map(|area| area.claim.committing()).transpose()?;
    let large = match &claim {
        Some(claim) if is_large => {
            // Their memory makes room for packers.
            shared.unpackers.forget();
            let write = || signals::let_through(|| Payload::write_early(shared, change, claim));
            Some(phases.payload.time(write)?)
        }
        _ => None,
    };
    if claim.as_ref().is_some_and(ClaimCommit::has_any) {
        // Pages that were written before the lock, by this commit or as spills before it.
        phases.sync.time(|| shared.data.sync())?;
        crash::point("payload written");
    }
    // A small payload is only compressed now.
    let packed = if is_large { Vec::new() } else { phases.payload.time(|| pack::pack(change, &shared.packers))? };
    // Later compression uses a packer of its own, so the memory of these is freed.
    shared.packers.forget_idle();
    // (4) The commit lock, then the write transaction, which lives inside one call on this thread.
    let commit_lock = &shared.locks.commit_lock;
    let held = match lock.map(|lock| lock.as_any().downcast_ref::<Held>()) {
        None => Some(phases.commit_lock.time(|| commit_lock.take())?),
        Some(Some(held)) if held.is_of(commit_lock) => None,
        Some(_) => {
            return Err(Error::new(ErrorKind::Invalid, "a commit under the commit lock of another database"));
        }
    };
    let attempt = || try_commit(shared, change, &packed, claim.as_ref(), large.as_ref(), &phases);
    let committed = with_room(shared, attempt)?;
    if let Some(claim) = claim {
        claim.consumed();
    }
    drop(held);
    phases.report();
    Ok(committed)
}

/// The spill area that core gives back, which must be of this store.
fn spill_area_of<'c>(shared: &Arc<Shared>, area: &'c dyn SpillArea) -> Result<&'c LmdbSpillArea> {
    let ours = area.as_any().downcast_ref::<LmdbSpillArea>().filter(|area| Arc::ptr_eq(&area.claim.shared, shared));
    ours.ok_or_else(|| Error::new(ErrorKind::Invalid, "a commit of pages that were spilled in another database"))
}

fn try_commit(
    shared: &Shared,
    change: &Change<'_>,
    packed: &[PackedBlock],
    claim: Option<&ClaimCommit<'_>>,
    large: Option<&Payload>,
    phases: &Phases,
) -> Result<Committed> {
    let txn = RefCell::new(phases.write_transaction.time(|| shared.begin_write())?);
    // (5) Conflicts with the state that is replaced, which cannot change any more.
    phases.conflict_check.time(|| conflict::check(change, &txn.borrow().tables()))?;
    crash::point("checked");

    // (6) A small payload, then records that refer to it, laid over those of this state.
    let mut current = names::look_up(&mut txn.borrow_mut(), change)?;
    let mut table = TxnSpace::new(&txn, &shared.data);
    let mut space = Space::new(&mut table);
    let oldest = reclaim_space(shared, &txn, &mut space)?;
    let write_small = || phases.payload.time(|| small::write(shared, change, packed, &mut space));
    let small = large.is_none().then(write_small).transpose()?;
    crash::point("small payload written");
    let mut blocks = Blocks::new(&txn, space, &shared.data, claim.map(|c| c.claim), large.is_some());
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
    blocks.free_all()?;
    if let Some(claim) = claim {
        blocks.space.consume_claim(&claim.claim.owner, &blocks.used)?;
    }
    blocks.space.reclaim(oldest, 2 * blocks.freed_runs)?;
    names::store_arrays(&mut txn.borrow_mut(), change, &current)?;
    names::store_database_attrs(&mut txn.borrow_mut(), &change.attrs, oldest)?;
    let wrote = blocks.wrote || small.is_some_and(|payload| !payload.is_empty());
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
    for (array, now) in change.arrays.iter().zip(&current) {
        shared.checked.follow(now.id, &now.before, array.after.is_some().then_some(now.records));
    }
    Ok(Committed {
        version,
        ids: current.iter().map(|now| now.id).collect(),
        replaced: current.iter().map(names::Current::changed).collect(),
        changed: change.arrays.iter().zip(&current).map(|(array, now)| now.changed_by(array, version)).collect(),
    })
}

/// Refuses a change that could not be stored and found again.
fn check_input(change: &Change<'_>) -> Result<()> {
    for attr in change.attrs.iter().chain(change.arrays.iter().flat_map(|array| &array.attrs)) {
        check_attr_name(&attr.name)?;
    }
    for array in &change.arrays {
        let Some((name, after)) = &array.after else {
            if array.before.is_none() || !array.blocks.is_empty() || !array.attrs.is_empty() {
                return Err(Error::new(ErrorKind::Invalid, "a change of an array that is not there after it"));
            }
            continue;
        };
        check_array_name(name)?;
        let invalid = |why: &str| Err(Error::new(ErrorKind::Invalid, format!("array {name:?}: {why}")));
        if array.before.as_ref().is_some_and(|(_, before)| before.block_size != after.block_size) {
            return invalid("its block size cannot change");
        }
        // Renaming an array needs no codec.
        let is_codec_new = array.before.as_ref().is_none_or(|(_, before)| before.codec != after.codec);
        if is_codec_new || !array.blocks.is_empty() {
            codec::check(after.codec).map_err(|e| e.context(format_args!("array {name:?}")))?;
        }
        let pages = after.block_size.pages();
        let mut last = None;
        for block in &array.blocks {
            let last_byte = (block.block.0.checked_add(1)).and_then(|n| n.checked_mul(after.block_size.bytes() as u64));
            if last.is_some_and(|last| last >= block.block) || last_byte.is_none() {
                return invalid("the changed blocks are not ascending, or past any array's end");
            }
            last = Some(block.block);
            let mut end = 0;
            for run in &block.pages {
                if run.pages.is_empty() || run.pages.start < end || run.pages.end > pages {
                    return invalid(&format!("changed pages {:?} of a block of {pages}", run.pages));
                }
                if matches!(&run.source, PageSource::Spilled(spilled) if spilled.pages != run.pages) {
                    return invalid(&format!("for changed pages {:?} others were spilled", run.pages));
                }
                end = run.pages.end;
            }
        }
    }
    Ok(())
}
