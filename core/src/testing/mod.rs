//! Fakes of the two traits and what holds implementations to their contracts.

mod edit;
mod mem_file;
mod mem_store;
pub mod memory_suite;
mod rng;
mod sim;
pub mod store_suite;

pub use edit::{Edit, array_of, page_of};
pub use mem_file::MemFile;
pub use mem_store::{MemStore, MemStoreOptions};
pub use rng::Rng;
pub use sim::{Signal, SimEvent, SimMemory, SimOp, SimOptions, SimSpan};
