//! Files, locks and processes of a database directory: everything about them that needs no index. Which
//! processes have the database open, and which exclude each other; see "Locks" in ARCHITECTURE.md.

pub(crate) mod byte_locks;
mod clients;
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

pub(crate) use open_locks::{OpenLocks, persists};
pub(crate) use reservation::Reservation;
