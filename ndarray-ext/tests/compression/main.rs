//! Compressed arrays: elements, size on disk, memory.
//!
//! The tests of `memory_budget` run in processes of their own, since they measure all memory of a process.

mod codecs;
mod memory_budget;
mod size_on_disk;

#[path = "../support/mod.rs"]
mod support;
