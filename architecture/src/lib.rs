#![forbid(unsafe_code)]
//! The import graph of a crate, and the rules that it keeps.
//!
//! `cargo run -p bigarray-architecture -- core` prints the files of `core/` by floors, what each imports, and every
//! circle. `tests/workspace.rs` fails on an import against the floors.
//!
//! An import is a `use`, or a path in the code, that leads to an item of another file; a name that a module re-exports
//! leads to the file that defines it. Tests are left out. A method that is called on a value is not an import: the type
//! of the value is.
//!
//! | module | subject |
//! |---|---|
//! | `module` | what one module declares, imports and mentions |
//! | `reader` | the modules of a crate, read from its files |
//! | `resolve` | from a path in one module to the file that defines the item |
//! | `graph` | imports between files; circles |
//! | `examples` | public items whose documentation has no example |
//! | `floors` | rooms and floors of each crate; imports that go up |

pub mod examples;
pub mod floors;
pub mod graph;
mod module;
pub mod reader;
mod resolve;

#[cfg(test)]
mod tests;
