//! Where the first memory of a process finds something short: descriptors, threads, addresses. That is an error which
//! names the limit, and nothing is concluded from it. Each test is a process of its own.

mod common;

use bigarray_core::memory::Memory;
use bigarray_uffd::{MemoryOptions, Pagemap, UffdMemory, Userfaultfd};
use common::*;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, setuid};

/// A user of no other test's processes.
const ALONE: u32 = 61_234;

fn new() -> bigarray_core::Result<std::sync::Arc<UffdMemory>> {
    UffdMemory::new(MemoryOptions {
        pagemap: Pagemap::Auto,
        userfaultfd: Userfaultfd::Auto,
        ..MemoryOptions::default()
    })
}

/// Descriptors that are open in this process.
fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1
}

#[test]
fn a_first_opening_without_descriptors_names_the_limit_and_the_next_has_faults() {
    if !is_child("short") {
        child_succeeds("short", &[]);
        return;
    }
    let _dog = watchdog();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut refused = 0;
    // At each descriptor that a memory takes, in the self-tests and after.
    for more in 0.. {
        setrlimit(Resource::RLIMIT_NOFILE, descriptors() + more, most).unwrap();
        let outcome = new();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        match outcome {
            Ok(memory) => {
                assert!(memory.delivers_faults() || lazy_memories().is_empty(), "{}", memory.describe());
                assert!(refused > 0);
                return;
            }
            Err(error) => {
                refused += 1;
                assert!(error.is_io() && error.to_string().contains("RLIMIT_NOFILE"), "{error}");
            }
        }
    }
}

#[test]
fn without_threads_opening_is_an_error_that_names_the_limit() {
    if !is_child("short") {
        if Uid::effective().is_root() {
            child_succeeds("short", &[]);
            return;
        }
        return skip("needs root");
    }
    let _dog = watchdog();
    setuid(Uid::from_raw(ALONE)).unwrap();
    // SAFETY: touches no memory. Without it `/proc/self/pagemap` stays root's.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    let (_, most) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    let mut refused = 0;
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count() as u64;
    for more in 0.. {
        setrlimit(Resource::RLIMIT_NPROC, threads + more, most).unwrap();
        let outcome = new();
        setrlimit(Resource::RLIMIT_NPROC, most, most).unwrap();
        match outcome {
            Ok(memory) => {
                assert!(memory.delivers_faults() || lazy_memories().is_empty(), "{}", memory.describe());
                assert!(refused > 0);
                return;
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("RLIMIT_NPROC"), "{error}");
            }
        }
    }
}

#[test]
fn a_limit_of_data_is_named_where_it_forbids_a_mapping() {
    if !is_child("short") {
        child_succeeds("short", &[]);
        return;
    }
    let _dog = watchdog();
    let memory = new().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_DATA).unwrap();
    setrlimit(Resource::RLIMIT_DATA, 256 << 20, most).unwrap();
    let error = memory.reserve(0..1 << 30, bigarray_core::memory::Residency::Eager).err().unwrap();
    assert!(error.is_too_large() && error.to_string().contains("RLIMIT_DATA"), "{error}");
}
