//! Files, locks and processes of a database directory: everything about them that needs no index. Who may open the
//! database, which processes have it open, and what excludes what; see "Locks" in ARCHITECTURE.md.

pub(crate) mod byte_locks;
mod clients;
mod commit_lock;
pub(crate) mod exclusive;
pub(crate) mod files;
mod holders;
mod ioctls;
pub(crate) mod lock_table;
mod open_files;
mod open_locks;
mod overlayfs;
mod reservation;
pub(crate) mod waiting;

pub(crate) use commit_lock::CommitLockGuard;
pub(crate) use open_locks::{OpenLocks, persists};
pub(crate) use reservation::{Key, Reservation};
