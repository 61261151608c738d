//! Reclaiming space in every write transaction: claims of dead clients, and freed pages that no reader sees.

use std::cell::RefCell;

use bigarray_core::Result;

use super::full_disk::{punch_holes, with_room};
use super::txn_space::TxnSpace;
use crate::alloc::{OldestReader, Owner, Space};
use crate::index::{ReadTxn, WriteTxn};
use crate::record::parse_owner;
use crate::shared::Shared;

/// Most dead owners whose claims one transaction releases.
const SWEPT_AT_ONCE: usize = 8;

/// Releases claims of dead clients and of failed transactions, and makes freed pages free that no reader sees: a bounded
/// part of both. Returns the oldest state that a reader sees.
pub(crate) fn reclaim_space(
    shared: &Shared,
    txn: &RefCell<WriteTxn<'_>>,
    space: &mut Space<'_>,
) -> Result<OldestReader> {
    let abandoned = shared.abandoned.lock().clone();
    space.sweep(SWEPT_AT_ONCE, &mut |owner| Ok(!abandoned.contains(owner) && lives(shared, owner)?))?;
    let oldest = txn.borrow().oldest_reader()?;
    space.reclaim(oldest, Space::RECLAIM_RUNS)?;
    Ok(oldest)
}

/// Releases all claims of dead clients, also under this client's number: it has claimed nothing yet. Each transaction
/// releases a few, so that other processes can commit in between.
pub(crate) fn sweep_at_opening(shared: &Shared) -> Result<()> {
    let is_alive = |owner: &Owner| lives(shared, owner);
    if !any_is_dead(shared, &is_alive)? {
        return Ok(());
    }
    match sweep_all(shared, &is_alive) {
        Err(e) if e.is_store_full() && punch_holes(shared, &mut |owner| Ok(!is_alive(owner)?))? => {
            sweep_all(shared, &is_alive)
        }
        swept => swept,
    }
}

fn sweep_all(shared: &Shared, is_alive: &impl Fn(&Owner) -> Result<bool>) -> Result<()> {
    loop {
        let swept = with_room(shared, || {
            let txn = RefCell::new(shared.begin_write()?);
            let mut table = TxnSpace::new(&txn, &shared.data);
            let swept = Space::new(&mut table).sweep(SWEPT_AT_ONCE, &mut |owner| is_alive(owner))?;
            shared.commit_txn(txn.into_inner())?;
            Ok(swept)
        })?;
        if swept < SWEPT_AT_ONCE {
            return Ok(());
        }
    }
}

fn any_is_dead(shared: &Shared, is_alive: &impl Fn(&Owner) -> Result<bool>) -> Result<bool> {
    let txn = ReadTxn::begin(&shared.index)?;
    let tables = txn.tables();
    let mut found = false;
    tables.scan(tables.dbs().claims, &[], |key, _| {
        found = !is_alive(&parse_owner(key)?)?;
        Ok(!found)
    })?;
    Ok(found)
}

fn lives(shared: &Shared, owner: &Owner) -> Result<bool> {
    shared.locks.client.sees_alive(owner, &mut |number| shared.locks.lives(number))
}
