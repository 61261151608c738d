//! What this process has open: one environment a directory, whatever the spelling of its path. LMDB forbids a second:
//! closing either would drop the locks of both.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bigarray_core::Result;
use bigarray_process::{Origin, PerProcess};

use super::files::Directory;
use super::waiting::{PROCESS, Patience, Waiting};
use crate::shared::Shared;

/// Device and inode of a directory.
type Key = (u64, u64);

#[derive(Default)]
struct Registry {
    /// Directories that are being opened (nothing to share yet), open, or being closed (nothing to share any more).
    open: Mutex<BTreeMap<Key, Weak<Shared>>>,
    changed: Condvar,
}

/// A forked child has one of its own: it does not take what its parent has open for its own, nor wait for what another
/// thread of its parent was opening.
static REGISTRY: PerProcess<Registry> = PerProcess::new();

/// What is known of a directory.
pub(crate) enum Found {
    /// It is open.
    Open(Arc<Shared>),
    /// It is not, and nobody else of this process opens it while the reservation lives.
    Reserved(Reservation),
}

/// The right of one environment to a directory.
pub(crate) struct Reservation {
    key: Key,
    origin: Origin,
}

/// Looks for a directory; waits while it is being opened or closed, as long as `limit` says.
pub(crate) fn find(dir: &Directory, limit: Option<Duration>) -> Result<Found> {
    let key = dir.id()?;
    let waiting = Waiting::new(&dir.path, "the right to open the database", limit);
    let mut patience = Patience::new(&waiting, PROCESS);
    let mut open = lock();
    while let Some(known) = open.get(&key) {
        if let Some(shared) = known.upgrade() {
            return Ok(Found::Open(shared));
        }
        if patience.left().is_zero() {
            drop(open);
            patience.tell(|| "a thread of this process that opens or closes it".to_owned())?;
            open = lock();
        } else {
            let changed = &REGISTRY.get().changed;
            open = changed.wait_timeout(open, patience.left()).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
    open.insert(key, Weak::new());
    Ok(Found::Reserved(Reservation { key, origin: Origin::here() }))
}

/// Lets others of this process share what was opened.
pub(crate) fn publish(reservation: &Reservation, shared: &Arc<Shared>) {
    lock().insert(reservation.key, Arc::downgrade(shared));
    REGISTRY.get().changed.notify_all();
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.origin.is_here() {
            lock().remove(&self.key);
            REGISTRY.get().changed.notify_all();
        }
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<Key, Weak<Shared>>> {
    REGISTRY.get().open.lock().unwrap_or_else(PoisonError::into_inner)
}
