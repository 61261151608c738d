//! The databases that this process has open: one environment a directory, however its path is spelled.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::waiting::{PROCESS, Patience};
use bigarray_core::sync::{Condvar, Mutex, MutexGuard};
use bigarray_process::PerProcess;

use crate::locks::Reservation;
use crate::locks::files::{Directory, FileId};
use crate::locks::waiting::waiting;
use crate::shared::Shared;

#[derive(Default)]
struct Registry {
    /// Directories that are being opened (nothing to share yet), open, or being closed (nothing to share any more).
    open: Mutex<BTreeMap<FileId, Weak<Shared>>>,
    changed: Condvar,
}

/// A forked child has another one: it does not take its parent's databases for its own, nor wait for one that a thread of
/// its parent was opening.
static REGISTRY: PerProcess<Registry> = PerProcess::new();

/// The result of [`find`].
pub(crate) enum Found {
    /// The directory is open.
    Open(Arc<Shared>),
    /// It is not open, and no other thread of this process opens it while the reservation lives.
    Reserved(Reservation),
}

/// Looks for a directory. Waits up to `limit` while another thread opens or closes it.
pub(crate) fn find(dir: &Directory, limit: Option<Duration>) -> Result<Found> {
    let id = dir.id()?;
    let waiting = waiting(&dir.path, "the right to open the database", limit);
    let mut patience = Patience::new(&waiting, PROCESS);
    let mut open = lock();
    while let Some(known) = open.get(&id) {
        if let Some(shared) = known.upgrade() {
            return Ok(Found::Open(shared));
        }
        if patience.left().is_zero() {
            drop(open);
            patience.report(|| "a thread of this process that opens or closes it".to_owned())?;
            open = lock();
        } else {
            let changed = &REGISTRY.get().changed;
            open = changed.wait_timeout(open, patience.left());
        }
    }
    open.insert(id, Weak::new());
    Ok(Found::Reserved(Reservation::new(id, release)))
}

/// Lets other callers of this process share the opened database.
pub(crate) fn publish(reservation: &Reservation, shared: &Arc<Shared>) {
    lock().insert(reservation.dir, Arc::downgrade(shared));
    REGISTRY.get().changed.notify_all();
}

/// Ends a reservation.
fn release(dir: FileId) {
    lock().remove(&dir);
    REGISTRY.get().changed.notify_all();
}

fn lock() -> MutexGuard<'static, BTreeMap<FileId, Weak<Shared>>> {
    REGISTRY.get().open.lock()
}
