//! bigarray's store on object storage: Icechunk commits, Zarr v3 holds the arrays.
//!
//! Metadata and commits go through [`icechunk`]; chunk payload goes to the same bucket by [`object_store`] directly.

mod checksum;
mod clock;
mod commit;
mod compact;
mod disk_cache;
mod errors;
mod history;
pub mod objects;
mod options;
mod repository;
mod shared;
mod snapshot;
mod spill;
mod store;
mod zarr;

pub use options::{Adapter, Credentials, DiskCache, Options};
pub use store::IcechunkStore;
