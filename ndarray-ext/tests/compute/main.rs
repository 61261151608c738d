//! Work over whole arrays: reductions, and what goes over all blocks.

mod blocks;
mod copies;
mod numbers;
mod reductions;
mod storage;

#[path = "../support/mod.rs"]
mod support;
