//! What this process has open: one environment a directory, whatever the spelling of its path. LMDB forbids a second:
//! closing either would drop the locks of both.

use std::collections::BTreeMap;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::shared::Shared;

/// A directory, as this process sees it. The process is part of it so that a forked child does not take what its parent
/// has open for its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pid: u32,
    device: u64,
    inode: u64,
}

/// Directories that are being opened (nothing to share yet), open, or being closed (nothing to share any more).
static OPEN: Mutex<BTreeMap<Key, Weak<Shared>>> = Mutex::new(BTreeMap::new());
static CHANGED: Condvar = Condvar::new();

/// What is known of a directory.
pub(crate) enum Found {
    /// It is open.
    Open(Arc<Shared>),
    /// It is not, and nobody else of this process opens it while the reservation lives.
    Reserved(Reservation),
}

/// The right of one environment to a directory.
pub(crate) struct Reservation(Key);

/// Looks for a directory; waits while it is being opened or closed.
pub(crate) fn find(device: u64, inode: u64) -> Found {
    let key = Key { pid: process::id(), device, inode };
    let mut open = lock();
    while let Some(known) = open.get(&key) {
        if let Some(shared) = known.upgrade() {
            return Found::Open(shared);
        }
        open = CHANGED.wait(open).unwrap_or_else(PoisonError::into_inner);
    }
    open.insert(key, Weak::new());
    Found::Reserved(Reservation(key))
}

/// Lets others of this process share what was opened.
pub(crate) fn publish(reservation: &Reservation, shared: &Arc<Shared>) {
    lock().insert(reservation.0, Arc::downgrade(shared));
    CHANGED.notify_all();
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.0.pid == process::id() {
            lock().remove(&self.0);
            CHANGED.notify_all();
        }
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<Key, Weak<Shared>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
