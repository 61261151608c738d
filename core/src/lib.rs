#![forbid(unsafe_code)]
//! The heart of bigarray: geometry, the traits [`Store`](store::Store), [`Snapshot`](store::Snapshot) and
//! [`Memory`](memory::Memory), the pager and the transactions. No OS call, no LMDB, no unsafe: memory and storage come
//! in through the traits.

pub mod conflict;
mod contract;
mod descriptor;
mod error;
mod failure;
mod geometry;
pub mod metrics;
mod page_map;
mod pager;
pub mod signals;
pub mod sync;
mod txn;
mod verify;

pub use contract::{memory, store};
pub use descriptor::{ArrayId, Codec, Descriptor, FillValue, Order, Version};
pub use error::{Error, ErrorKind, Result};
pub use failure::FirstFailure;
pub use geometry::{BlockNo, BlockSize, PAGE, page_ceil};
pub use metrics::Metrics;
pub use pager::{Access, EngineOptions, MemoryUse, Prefetch};
pub use txn::{Engine, Reader, Savepoint, Transaction, Writer};
pub use verify::{Damage, Progress, Report};
