//! A small payload, written inside the write transaction.

use std::sync::PoisonError;

use bigarray_core::store::Change;
use bigarray_core::{PAGE, Result};

use super::payload::{Payload, runs_of};
use crate::alloc::{Run, Space};
use crate::crash;
use crate::shared::Shared;

/// Finds room for the payload of `change`, and writes it.
pub(super) fn write(shared: &Shared, change: &Change<'_>, space: &mut Space<'_>) -> Result<Payload> {
    let wanted: Vec<u16> = runs_of(change).map(|(_, _, pages)| pages.len() as u16).collect();
    let runs = {
        let mut open = shared.open_chunk.lock().unwrap_or_else(PoisonError::into_inner);
        space.allocate_in(&mut open, &wanted)?
    };
    if let Some(last) = runs.last() {
        make_ready(shared, space, last)?;
    }
    let payload = Payload::place(change, runs)?;
    payload.write(change, &shared.data)?;
    Ok(payload)
}

/// Writes zeros to the pages that come next, where `run` is new to the file. To overwrite them later
/// changes nothing but their bytes, while pages that come new to a file have the file system write its journal at the
/// next sync, which costs as much again as the sync itself.
fn make_ready(shared: &Shared, space: &Space<'_>, run: &Run) -> Result<()> {
    if !shared.data.syncs() || shared.data.has_bytes_at(run.offset()) {
        return Ok(());
    }
    if let Some(next) = space.next_in_line(run)? {
        // Only to save time: if there is no room for it, the commit may still have enough.
        let _ = shared.data.write_at(next.offset(), &vec![0; usize::from(next.pages) * PAGE]);
        crash::point("next pages made ready");
    }
    Ok(())
}
