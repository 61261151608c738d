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
mod together;
mod turn;

use std::sync::Arc;

use bigarray_core::store::{
    ArrayChange, Change, CommitLock, Committed, PageSource, SpillArea, check_array_name, check_attr_name,
};
use bigarray_core::{ArrayId, Error, ErrorKind, PAGE, Result, Version, signals};

use crate::shared::Shared;
use crate::space::ClaimCommit;
use crate::spill::LmdbSpillArea;
use crate::{codec, crash};
use payload::{Payload, pages_of};
use phases::Phases;
use together::Prepared;

/// A payload of more pages is written before the commit lock is taken: claiming pages for it costs one more transaction,
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
    // (4) to (7), by this thread or by another one, whose turn it is.
    let prepared = Prepared { change, packed: &packed, claim: claim.as_ref(), large: large.as_ref() };
    let committed = turn::store(shared, &prepared, lock, &phases)?;
    if let Some(claim) = claim {
        claim.consumed();
    }
    phases.report();
    Ok(committed)
}

/// The spill area that core gives back, which must be of this store.
fn spill_area_of<'c>(shared: &Arc<Shared>, area: &'c dyn SpillArea) -> Result<&'c LmdbSpillArea> {
    let ours = area.as_any().downcast_ref::<LmdbSpillArea>().filter(|area| Arc::ptr_eq(&area.claim.shared, shared));
    ours.ok_or_else(|| Error::new(ErrorKind::Invalid, "a commit of pages that were spilled in another database"))
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
