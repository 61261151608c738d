#![forbid(unsafe_code)]
//! What the tests of all crates share: fakes of core's two traits, so that pager and transactions run without a kernel
//! and without a disk, and the suites that hold every implementation to the contracts.
//!
//! | what | for |
//! |---|---|
//! | [`MemStore`] | a store in memory that scribbles over every page as soon as no snapshot refers to it |
//! | [`SimMemory`] | a memory whose pages are values and whose faults come in an order that a seed decides |
//! | [`Failing`], [`Counted`], [`Gated`], [`Hiccuping`], [`Remembering`] | adapters around any store |
//! | [`store_suite!`](crate::store_suite!), [`memory_suite!`](crate::memory_suite!) | one test a property |
//! | [`Edit`] | a commit without a pager |
//! | [`Proxy`] | a server that answers late, wrongly or not at all |
//! | [`EventLog`] | a subscriber of `tracing` that keeps every event |
//!
//! # Examples
//!
//! A whole database on fakes; what would be a load or store through a view goes through
//! [`span_at`](SimMemory::span_at):
//!
//! ```
//! use std::sync::Arc;
//!
//! use bigarray_testing::{MemStore, SimMemory, SimOp, SimOptions, array_of};
//! use bigarray_core::{Engine, EngineOptions};
//!
//! let store = MemStore::new();
//! let memory = SimMemory::with(store.file(), SimOptions { seed: 42, ..SimOptions::default() });
//! let engine = Engine::new(Arc::new(store.clone()), Arc::new(memory.clone()), EngineOptions::default());
//!
//! let transaction = engine.begin()?;
//! let mut writer = transaction.create("a", array_of(1))?;
//! writer.expose_mut(0..4096);
//! memory.span_at(writer.base()?).store(100, b"hello").unwrap();
//! drop(writer);
//! transaction.commit(None)?;
//!
//! let reader = engine.reader(&engine.snapshot()?, "a")?;
//! assert_eq!(memory.span_at(reader.base()?).load(100..105).unwrap(), b"hello");
//! assert!(memory.count(SimOp::Missing) > 0);
//! store.check(); // no page of the data file was lost or has two owners
//! # Ok::<(), bigarray_core::Error>(())
//! ```

mod adapter;
mod edit;
mod events;
mod gate;
mod hiccups;
mod history;
mod mem_file;
mod mem_store;
pub mod memory_suite;
mod proxy;
mod rng;
mod role;
mod sim;
pub mod store_suite;

pub use adapter::{Adapter, Counted, Counts, Failing, Failures, StoreOp, Watch};
pub use edit::{Edit, array_of, page_of, smooth_page_of};
pub use events::{EventLog, LoggedEvent, message_of};
pub use gate::{Gate, Gated};
pub use hiccups::{Hiccuping, Hiccups};
pub use history::Remembering;
pub use mem_file::MemFile;
pub use mem_store::{MemStore, MemStoreOptions, Versions};
pub use proxy::{Fate, Proxy};
pub use rng::Rng;
pub use sim::{Signal, SimEvent, SimMemory, SimOp, SimOptions, SimSpan};
