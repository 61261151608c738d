//! Several processes: two at once, forked, killed, and with fewer rights or resources.
//!
//! Each test starts this binary again, as itself in another role. The process of the harness forks, limits and kills
//! nothing of its own.

mod descriptions;
mod fallbacks;
mod following;
mod fork;
mod killed_ingest;
mod two_processes;

#[path = "../support/mod.rs"]
mod support;
