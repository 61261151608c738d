//! Fakes of the two traits and what holds implementations to their contracts.

mod mem_file;
mod mem_store;
mod rng;
mod sim;

pub use mem_file::MemFile;
pub use mem_store::{MemStore, MemStoreOptions};
pub use rng::Rng;
pub use sim::{Signal, SimEvent, SimMemory, SimOp, SimOptions, SimSpan};
