//! Where the disk is full, what was freed becomes free at once, and what is free in the data file goes back to the disk: the
//! index may need some of that before anything can be committed, even a removal.

use std::cell::RefCell;

use bigarray_core::Result;

use super::TxnSpace;
use crate::alloc::{Bitmap, CHUNK, OldestReader, Owner, Run, Space, SpaceTable};
use crate::data::bytes_of;
use crate::index::is_index_full;
use crate::record::Meta;
use crate::shared::Shared;

/// Of what is free so much goes back at a time: more than an index needs for a while. The rest stays at hand for data.
const AT_ONCE: u64 = 32 << 20;

/// Does `attempt`, of which nothing is left when it fails; again where the index is full and can be enlarged, and where the
/// disk is full, as long as freed pages become free or the disk takes some back.
pub(crate) fn with_room<R>(shared: &Shared, mut attempt: impl FnMut() -> Result<R>) -> Result<R> {
    // What was freed before the first attempt. What others free meanwhile would have this go on for ever.
    let mut until = None;
    let mut may_give = true;
    loop {
        match attempt() {
            Err(e) if is_index_full(&e) => shared.index.grow_full(e)?,
            Err(e) if e.is_store_full() => {
                let until = match until {
                    Some(until) => until,
                    None => *until.insert(shared.index.newest()?.0),
                };
                if !make_room(shared, until, &mut may_give)? {
                    // Another thread may have made some meanwhile.
                    return attempt();
                }
            }
            done => return done,
        }
    }
}

/// Has a part of what was freed become free, or else, once after that, the disk take back what is free. Whether either did.
fn make_room(shared: &Shared, until: u64, may_give: &mut bool) -> Result<bool> {
    let give = || give_to_disk(shared, &mut |_| Ok(false));
    let reclaimed = match reclaim_freed(shared, until) {
        // The index itself has no room for that.
        Err(e) if e.is_store_full() && give()? => reclaim_freed(shared, until),
        reclaimed => reclaimed,
    };
    match reclaimed {
        Ok(true) => *may_give = true,
        Err(e) if !e.is_store_full() => return Err(e),
        _ => return Ok(std::mem::take(may_give) && give()?),
    }
    Ok(true)
}

/// Commits a transaction that makes free what was freed by `until` and before, a part of it. Where that waits for nothing but
/// one more transaction, this is that one. Whether there is any that no reader keeps.
fn reclaim_freed(shared: &Shared, until: u64) -> Result<bool> {
    let txn = RefCell::new(shared.begin_write()?);
    let oldest = txn.borrow().oldest_reader()?;
    let mut table = TxnSpace::new(&txn, &shared.data);
    let is_kept = |by: u64| match oldest {
        OldestReader::None => false,
        OldestReader::At(oldest) => by > oldest,
        OldestReader::Unknown => true,
    };
    if table.first_freed()?.is_none_or(|(freed, _)| freed.txn > until || is_kept(freed.txn)) {
        return Ok(false);
    }
    if Space::new(&mut table).reclaim(oldest, Space::RECLAIM_RUNS)? == 0 {
        // LMDB gives no number to a transaction that stores nothing.
        let end = table.end()?;
        txn.borrow_mut().put_meta(Meta::CHUNKS_END, end)?;
    }
    shared.commit_txn(txn.into_inner())?;
    Ok(true)
}

/// Has the disk take back what the claims of `owners` hold, what the file has behind its end, and some of its pages that
/// are free. Whether that was any room.
///
/// Nobody refers to any of it, and who still has some of it mapped from before looks up the index before he shows it.
pub(crate) fn give_to_disk(shared: &Shared, owners: &mut dyn FnMut(&Owner) -> Result<bool>) -> Result<bool> {
    // As long as it lives nobody else releases what is claimed, or claims. It is given up: the index stays as it is.
    let txn = RefCell::new(shared.begin_write()?);
    let table = TxnSpace::new(&txn, &shared.data);
    let data = &shared.data;
    let before = data.stored_bytes()?;
    let end = table.end()?;
    data.punch_hole(&bytes_of(&(end..data.length()?.div_ceil(CHUNK))));
    let mut last = None;
    while let Some(owner) = table.next_claim(last.as_ref())? {
        if owners(&owner)? {
            let claimed = table.claim(&owner)?;
            let claimed = claimed.iter().flatten().filter(|chunks| chunks.end <= end);
            claimed.for_each(|chunks| data.punch_hole(&bytes_of(chunks)));
        }
        last = Some(owner);
    }
    // The last chunks: data goes to the first. Then what is free in others, the longest pieces first.
    'given: for class in (0..=Bitmap::WHOLE).rev() {
        for chunk in chunks_of(&table, class)?.into_iter().rev().filter(|chunk| *chunk < end) {
            if before.saturating_sub(data.stored_bytes()?) >= AT_ONCE {
                break 'given;
            }
            // Not what the one list says alone.
            for (first, pages) in table.bitmap(chunk)?.iter().flat_map(Bitmap::runs) {
                data.punch_hole(&Run { chunk, first, pages }.bytes());
            }
        }
    }
    Ok(data.stored_bytes()? < before)
}

/// Chunks that are listed in that class, ascending.
fn chunks_of(table: &TxnSpace<'_, '_>, class: u8) -> Result<Vec<u64>> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(chunk) = table.first_fit(class, from)? {
        found.push(chunk);
        from = chunk + 1;
    }
    Ok(found)
}
