//! Jobs that are asked for ahead: all of them are run, and resolvers are left to faults.

mod common;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bigarray_core::memory::{Memory, Residency};
use bigarray_uffd::{MemoryOptions, UffdMemory, Userfaultfd};
use common::*;

/// Longer than any machine takes.
const FOREVER: Duration = Duration::from_secs(60);

fn memory_of(userfaultfd: Userfaultfd, resolvers: usize) -> Arc<UffdMemory> {
    UffdMemory::new(MemoryOptions { userfaultfd, resolvers, ..MemoryOptions::default() }).unwrap()
}

#[test]
fn no_fault_waits_for_jobs_that_were_asked_for_ahead() {
    let _dog = watchdog();
    for userfaultfd in [Userfaultfd::Auto, Userfaultfd::UserMode] {
        for resolvers in [1, 2, 4] {
            let memory = memory_of(userfaultfd, resolvers);
            if !memory.delivers_faults() {
                eprintln!("skipped: {}", memory.describe());
                continue;
            }
            let (begins, begun) = channel();
            let (go, gate) = channel::<()>();
            let gate = Arc::new(Mutex::new(gate));
            // Each waits until the faults are resolved.
            for _ in 0..3 * resolvers {
                let (begins, gate) = (begins.clone(), gate.clone());
                memory.run_ahead(Box::new(move || {
                    begins.send(()).unwrap();
                    assert_eq!(gate.lock().unwrap().recv_timeout(FOREVER), Err(RecvTimeoutError::Disconnected));
                }));
            }
            begun.recv_timeout(FOREVER).expect("a job begins");
            let fake = Fake::new(&*memory, 2 * MIB, How::Job);
            for block in 0..32 {
                assert_eq!(fake.read(block * BLOCK), content(block * BLOCK));
            }
            drop(go);
            for _ in 1..3 * resolvers {
                begun.recv_timeout(FOREVER).expect("the others are run, too");
            }
        }
    }
}

#[test]
fn jobs_are_run_in_every_kind_of_memory_or_dropped_with_it() {
    let _dog = watchdog();
    for userfaultfd in [Userfaultfd::Auto, Userfaultfd::UserMode, Userfaultfd::None] {
        let memory = memory_of(userfaultfd, 2);
        let (runs, run) = channel();
        let done = runs.clone();
        memory.run_ahead(Box::new(move || done.send(1).unwrap()));
        assert_eq!(run.recv_timeout(FOREVER), Ok(1));
        // All but the first come after it, and the memory may end before.
        let (go, gate) = channel::<()>();
        memory.run_ahead(Box::new(move || _ = gate.recv_timeout(FOREVER)));
        for _ in 0..100 {
            let runs = runs.clone();
            memory.run_ahead(Box::new(move || runs.send(2).unwrap()));
        }
        drop((runs, go, memory));
        while let Ok(job) = run.recv_timeout(FOREVER) {
            assert_eq!(job, 2);
        }
        assert_eq!(run.recv_timeout(FOREVER), Err(RecvTimeoutError::Disconnected), "a job is kept");
    }
}

#[test]
fn a_job_may_drop_the_last_span_of_its_memory() {
    let _dog = watchdog();
    for userfaultfd in [Userfaultfd::Auto, Userfaultfd::None] {
        let memory = memory_of(userfaultfd, 2);
        let span = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
        let (gone, is_gone) = channel();
        let (go, gate) = channel::<()>();
        memory.run_ahead(Box::new(move || {
            gate.recv_timeout(FOREVER).unwrap();
            drop(span);
            gone.send(()).unwrap();
        }));
        drop(memory);
        go.send(()).unwrap();
        is_gone.recv_timeout(FOREVER).unwrap();
    }
}

#[test]
fn what_is_read_ahead_is_read_and_a_failure_is_a_value() {
    for userfaultfd in [Userfaultfd::Auto, Userfaultfd::None] {
        let memory = memory_of(userfaultfd, 2);
        let file = ContentFile::make(3 * MIB);
        for exactly in [false, true] {
            memory.read_ahead(&file, 4096..3 << 20, exactly).unwrap();
            memory.read_ahead(&file, 8192..8192, exactly).unwrap();
            assert!(memory.read_ahead(&file, 0..4 << 20, exactly).is_err(), "the file ends before");
        }
    }
}
