//! bigarray's store on object storage: Icechunk commits, Zarr v3 holds the arrays.
//!
//! Metadata and commits go through [`icechunk`]; chunk payload goes to the same bucket by [`object_store`] directly.

pub mod objects;
mod options;
#[allow(dead_code, unused_imports, reason = "the store itself, which uses it, is not there yet")]
mod zarr;

pub use options::{Adapter, Credentials, Options};
