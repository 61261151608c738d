//! A small payload, written inside the write transaction.

use bigarray_core::store::Change;
use bigarray_core::{PAGE, Result};

use super::pack::{PackedBlock, PlacedUnit};
use super::payload::{Payload, runs_of};
use crate::alloc::{Run, Space};
use crate::crash;
use crate::record::Unit;
use crate::shared::Shared;

/// Allocates pages for the payload of `change`, and writes it. `packed` are its compressed blocks.
pub(super) fn write(
    shared: &Shared,
    change: &Change<'_>,
    packed: &[PackedBlock],
    space: &mut Space<'_>,
) -> Result<Payload> {
    let mut open = shared.open_chunk.lock();
    let mut units = Vec::with_capacity(packed.len());
    for block in packed {
        // Without room in one piece the block is stored uncompressed, in several.
        let Some(run) = space.allocate_piece_in(&mut open, block.packed.pages() as u16)? else { continue };
        shared.data.write_at(run.offset(), &block.bytes)?;
        let unit = Unit { chunk: run.chunk, page: run.first, packed: block.packed };
        units.push(PlacedUnit { array: block.array, block: block.block, unit });
    }
    let wanted: Vec<u16> = runs_of(change, &units).map(|(_, _, pages)| pages.len() as u16).collect();
    let runs = space.allocate_in(&mut open, &wanted)?;
    drop(open);
    if let Some(last) = runs.last() {
        prezero_next(shared, space, last)?;
    }
    let payload = Payload::place(change, units, runs)?;
    payload.write(change, &shared.data)?;
    Ok(payload)
}

/// Writes zeros to the pages behind `run`, which the next commits will use, if `run` had no blocks on disk. Overwriting
/// blocks changes only bytes, while new blocks of a file have the file system write its journal at the next sync, which
/// costs as much again as the sync itself.
fn prezero_next(shared: &Shared, space: &Space<'_>, run: &Run) -> Result<()> {
    if !shared.data.syncs || shared.data.has_bytes_at(run.offset()) {
        return Ok(());
    }
    if let Some(next) = space.prezeroed_next(run)? {
        // An error is ignored: this only saves time, and the commit may have room nevertheless.
        let _ = shared.data.write_unstarted(next.offset(), &vec![0; usize::from(next.pages) * PAGE]);
        crash::point("next pages prezeroed");
    }
    Ok(())
}
