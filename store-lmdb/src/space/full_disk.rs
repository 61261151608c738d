//! Room on a full disk. Freed pages become free at once, and free pages of the data file are given back to the file system:
//! the index may need that room before anything can be committed, even a removal.

use std::cell::RefCell;

use bigarray_core::Result;

use super::txn_space::TxnSpace;
use crate::alloc::{Bitmap, CHUNK, CHUNK_PAGES, Owner, Run, Space, SpaceTable};
use crate::data::bytes_of;
use crate::index::is_index_full;
use crate::record::Meta;
use crate::shared::Shared;

/// Bytes that are given back at a time: more than an index needs for a while. The rest stays allocated for data.
const AT_ONCE: u64 = 32 << 20;

/// Calls `attempt`, which leaves nothing behind when it fails. Repeats it if the index is full and can be enlarged, or if
/// the disk is full and room can be made.
pub(crate) fn with_room<R>(shared: &Shared, mut attempt: impl FnMut() -> Result<R>) -> Result<R> {
    // Only pages freed before the first attempt: pages that other commits free meanwhile could make this go on for ever.
    let mut until = None;
    let mut may_punch = true;
    loop {
        match attempt() {
            Err(e) if is_index_full(&e) => shared.index.grow_full(e)?,
            Err(e) if e.is_store_full() => {
                let until = match until {
                    Some(until) => until,
                    None => *until.insert(shared.index.newest()?.0),
                };
                if !make_room(shared, until, &mut may_punch)? {
                    // Another thread may have made room meanwhile.
                    return attempt();
                }
            }
            done => return done,
        }
    }
}

/// Makes a part of the freed pages free. If there are none, punches holes, once after each time that pages became free.
/// Returns whether either made room.
fn make_room(shared: &Shared, until: u64, may_punch: &mut bool) -> Result<bool> {
    let punch = || punch_holes(shared, &mut |_| Ok(false));
    let reclaimed = match reclaim_freed(shared, until) {
        // The index itself has no room for that.
        Err(e) if e.is_store_full() && punch()? => reclaim_freed(shared, until),
        reclaimed => reclaimed,
    };
    match reclaimed {
        Ok(true) => *may_punch = true,
        Err(e) if !e.is_store_full() => return Err(e),
        _ => return Ok(std::mem::take(may_punch) && punch()?),
    }
    Ok(true)
}

/// Commits a transaction that makes free a part of the pages freed by `until` and before. If they only wait for one more
/// transaction, this is that one. Returns `false` if there are none, or a reader sees them.
fn reclaim_freed(shared: &Shared, until: u64) -> Result<bool> {
    let txn = RefCell::new(shared.begin_write()?);
    let oldest = txn.borrow().oldest_reader()?;
    let mut table = TxnSpace::new(&txn, &shared.data);
    if table.first_freed()?.is_none_or(|(at, _)| at.txn > until || oldest.may_see_freed_by(at.txn)) {
        return Ok(false);
    }
    if Space::new(&mut table).reclaim(oldest, Space::RECLAIM_RUNS)? == 0 {
        // LMDB does not count a transaction that stores nothing.
        let end = table.end()?;
        txn.borrow_mut().put_meta(Meta::CHUNKS_END, end)?;
    }
    shared.commit_txn(txn.into_inner())?;
    Ok(true)
}

/// Punches holes over the claims of `owners`, over the chunks of the file that were never allocated, and over some of its
/// free pages.
/// Returns whether that made room.
///
/// No state refers to any of these pages. A span that still maps some of them looks up the index before it shows them.
pub(super) fn punch_holes(shared: &Shared, owners: &mut dyn FnMut(&Owner) -> Result<bool>) -> Result<bool> {
    // While it lives no other process claims or releases a claim. It is dropped: the index stays as it is.
    let txn = RefCell::new(shared.begin_write()?);
    let table = TxnSpace::new(&txn, &shared.data);
    let data = &shared.data;
    let before = data.stored_bytes()?;
    let end = table.end()?;
    data.punch_hole(&(end.saturating_mul(CHUNK)..data.length()?));
    let mut last = None;
    while let Some(owner) = table.next_claim(last.as_ref())? {
        if owners(&owner)? {
            let claimed = table.claim(&owner)?;
            let in_file = end.saturating_mul(CHUNK_PAGES.into());
            let claimed = claimed.iter().flatten().filter(|pages| pages.end <= in_file);
            claimed.for_each(|pages| data.punch_hole(&bytes_of(pages)));
        }
        last = Some(owner);
    }
    // Whole chunks first, the last ones first, since data goes to the first ones. Then free runs, the longest first.
    'punched: for class in (0..=Bitmap::WHOLE).rev() {
        let chunks: Vec<u64> = (&table as &dyn SpaceTable).chunks_of(class).collect::<Result<_>>()?;
        for chunk in chunks.into_iter().rev().filter(|chunk| *chunk < end) {
            if before.saturating_sub(data.stored_bytes()?) >= AT_ONCE {
                break 'punched;
            }
            // The bitmap decides, not the list alone.
            for (first, pages) in table.bitmap(chunk)?.iter().flat_map(Bitmap::runs) {
                data.punch_hole(&Run { chunk, first, pages }.bytes());
            }
        }
    }
    Ok(data.stored_bytes()? < before)
}
