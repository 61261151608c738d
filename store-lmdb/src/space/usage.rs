//! What the files are used for, counted from the tables of space.

use bigarray_core::store::{OldestSnapshot, Space};
use bigarray_core::{PAGE, Result};

use crate::alloc::{CHUNK_PAGES, HEADER};
use crate::index::ReadTxn;
use crate::record::{Meta, decode_bitmap, decode_claim, decode_freed};
use crate::shared::Shared;

/// Counts the pages of each use. Takes time by the number of chunks with free pages, not by what is stored.
pub(crate) fn usage(shared: &Shared) -> Result<Space> {
    // Before a transaction of its own is among them.
    let oldest = shared.index.env.readers()?.oldest_of_all();
    let txn = ReadTxn::begin(&shared.index)?;
    let tables = txn.tables();
    let dbs = tables.dbs();
    let (mut free, mut freed, mut claimed) = (0, 0, 0);
    tables.scan(dbs.chunks, &[], |key, value| {
        free += u64::from(decode_bitmap(key, value)?.count());
        Ok(true)
    })?;
    tables.scan(dbs.freed, &[], |key, value| {
        freed += decode_freed(key, value)?.iter().map(|run| u64::from(run.pages)).sum::<u64>();
        Ok(true)
    })?;
    tables.scan(dbs.claims, &[], |key, value| {
        claimed += decode_claim(key, value)?.iter().map(|pages| pages.end - pages.start).sum::<u64>();
        Ok(true)
    })?;
    let handed_out = tables.meta(Meta::CHUNKS_END)?.saturating_mul(CHUNK_PAGES.into());
    let live = handed_out.saturating_sub(free + freed + claimed + u64::from(HEADER.pages));
    let data_bytes = shared.data.length()?;
    let newest = txn.version().0;
    let mut space = Space::default();
    space.live_bytes = live * PAGE as u64;
    // What the file has beyond its allocated chunks is free, too.
    space.free_bytes = free * PAGE as u64 + data_bytes.saturating_sub(handed_out.saturating_mul(PAGE as u64));
    space.pinned_bytes = freed * PAGE as u64;
    space.spilled_bytes = claimed * PAGE as u64;
    space.data_bytes = data_bytes;
    space.index_bytes = shared.index.file_bytes()?;
    space.oldest_snapshot = oldest
        .filter(|(state, _)| *state < newest)
        .map(|(state, number)| OldestSnapshot::new(newest - state, shared.locks.name_of(number)));
    Ok(space)
}
