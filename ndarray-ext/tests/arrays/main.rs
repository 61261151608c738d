//! Arrays: element types, shapes, growth, windows, ownership, attributes, and refused arguments.

mod attributes;
mod bad_arguments;
mod bools;
mod element_types;
mod erased;
mod fill;
mod front;
mod growth;
mod interop;
mod last_block;
mod npy;
mod ownership;
mod refused;
mod windows;
mod zero_size;

#[path = "../support/mod.rs"]
mod support;
