//! bigarray's store: an LMDB index and a data file, format version 1.
//!
//! ```text
//! index        LMDB: all that must be atomic
//! index-lock   LMDB's lock and reader table
//! data         payload: page-aligned extents in 2 MiB chunks, nothing else
//! ```
//!
//! Payload goes first, to pages of `data` that no snapshot refers to; then one LMDB transaction makes it visible. The
//! way of a commit is in `commit`, the records in `record`, space in `alloc`, locks and files in `opening`.

mod alloc;
mod calls;
mod check;
mod checked;
mod closing;
mod codec;
mod commit;
mod crash;
mod data;
mod dead_readers;
mod durability;
mod index;
mod locks;
mod opening;
mod options;
mod reading;
mod record;
mod shared;
mod snapshot;
mod spill;
mod store;

pub use check::CheckReport;
pub use index::{is_index_full, lmdb_version};
pub use locks::waiting::is_wait_limit;
pub use options::{Durability, Options};
pub use record::{check_array_name, check_attr_name};
pub use store::LmdbStore;
