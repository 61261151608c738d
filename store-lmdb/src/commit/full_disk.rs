//! Where the disk is full, what is free in the data file goes back to it: the index may need some of that before anything
//! can be committed, even a removal.

use std::cell::RefCell;
use std::ops::Range;

use bigarray_core::Result;

use super::TxnSpace;
use crate::alloc::{Bitmap, CHUNK, Owner, SpaceTable};
use crate::shared::Shared;

/// Of what is free so much goes back at a time: more than an index needs for a while. The rest stays at hand for data.
const AT_ONCE: u64 = 32 << 20;

/// Has the disk take back what the claims of `owners` hold, what the file has behind its end, and some of its chunks that
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
    data.give_to_disk(&(end..data.length()?.div_ceil(CHUNK)));
    let mut last = None;
    while let Some(owner) = table.next_claim(last.as_ref())? {
        if owners(&owner)? {
            let claimed = table.claim(&owner)?;
            claimed.iter().flatten().filter(|chunks| chunks.end <= end).for_each(|chunks| data.give_to_disk(chunks));
        }
        last = Some(owner);
    }
    // The last ones: data goes to the first.
    for chunks in free_chunks(&table, end)?.iter().rev() {
        if before.saturating_sub(data.stored_bytes()?) >= AT_ONCE {
            break;
        }
        data.give_to_disk(&(chunks.start.max(chunks.end.saturating_sub(AT_ONCE / CHUNK))..chunks.end));
    }
    Ok(data.stored_bytes()? < before)
}

/// Chunks of which no page is used.
fn free_chunks(table: &TxnSpace<'_, '_>, end: u64) -> Result<Vec<Range<u64>>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let mut from = 0;
    while let Some(chunk) = table.first_fit(Bitmap::WHOLE, from)? {
        from = chunk + 1;
        // Not what the one list says alone.
        if chunk >= end || table.bitmap(chunk)? != Some(Bitmap::FULL) {
            continue;
        }
        match found.last_mut() {
            Some(last) if last.end == chunk => last.end = from,
            _ => found.push(chunk..from),
        }
    }
    Ok(found)
}
