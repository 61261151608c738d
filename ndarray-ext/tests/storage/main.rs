//! The files of a database: where they lie, how they grow, and what happens where they cannot.
//!
//! Tests that mount a file system of limited size or count the bytes of a whole process run in a process of their own:
//! see `support::child::alone`.

mod full_disk;
mod limits;
mod log;
mod long_readers;
mod overlayfs;
mod paths;
mod small_appends;
mod verify;

#[path = "../support/mod.rs"]
mod support;
