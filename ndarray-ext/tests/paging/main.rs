//! How blocks are loaded, evicted and spilled.
//!
//! A test that counts what a whole process has (memory, mappings, bytes read), limits it, or installs a signal handler
//! runs in a process of its own: see `support::child::alone`.

mod access_hints;
mod concurrent_faults;
#[cfg(feature = "icechunk")]
mod disk_cache;
mod locked_memory;
mod mapping_limit;
mod memory_budget;
mod merged_pages;
mod metrics;
mod pinned_pages;
mod planes;
mod prefetching_ahead;
mod proportion;
mod residency;
mod signal_handlers;
mod subscribers;
mod system_calls;
mod threads;

#[path = "../support/mod.rs"]
mod support;
