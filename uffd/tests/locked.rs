//! Memory that is locked: by `mlockall`, in every order, and a part of a span by `mlock`. Each test locks the memory of
//! a process of its own.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bigarray_core::PAGE;
use bigarray_core::memory::{Memory, Residency, Span, WrittenTo};
use bigarray_uffd::{MemoryOptions, UffdMemory};
use common::*;
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlock, mlockall};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Uid, setuid};

/// Asks of `mlockall` what can be asked of it.
const WAYS: [(&str, MlockAllFlags); 3] = [
    ("future", MlockAllFlags::MCL_FUTURE),
    ("future, on fault", MlockAllFlags::MCL_FUTURE.union(ON_FAULT)),
    ("current and future", MlockAllFlags::MCL_CURRENT.union(MlockAllFlags::MCL_FUTURE)),
];
/// What an ordinary user may lock as a rule; three threads fit.
const MOST: u64 = 8 << 20;

const ON_FAULT: MlockAllFlags = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);

/// Blocks of all kinds show what was loaded, are written to, found and emptied.
fn everything_works(memory: &Arc<UffdMemory>) {
    let file = ContentFile::make(4 * BLOCK);
    let fake = Fake::new(&**memory, 16 * MIB, How::Copy);
    fake.load(1, &How::Map(file.clone()));
    fake.load(2, &How::Zero);
    assert_eq!(fake.bytes(0..2 * BLOCK), contents(0..2 * BLOCK));
    assert_eq!(fake.bytes(2 * BLOCK..3 * BLOCK), [0; BLOCK]);
    // Block 3 had no access: nothing may have filled it.
    assert_eq!(fake.missing.load(Ordering::SeqCst), 1);
    let mut found = Vec::new();
    fake.span.written(BLOCK..2 * BLOCK, WrittenTo::Mapped, &mut found).unwrap();
    assert_eq!(found, [], "what is only mapped counts as written to");
    for block in 0..3 {
        fake.span.write(block * BLOCK + PAGE, &[1]);
    }
    assert_eq!(fake.protected.load(Ordering::SeqCst), 1);
    fake.span.written(BLOCK..2 * BLOCK, WrittenTo::Mapped, &mut found).unwrap();
    assert_eq!((found.len(), &found[0]), (1, &(BLOCK + PAGE..BLOCK + 2 * PAGE)));
    for block in 0..3 {
        let range = block * BLOCK..(block + 1) * BLOCK;
        fake.span.reset(range.clone()).unwrap();
        fake.loaded.lock().remove(&block);
        assert_eq!(fake.bytes(range.clone()), contents(range), "{block}");
    }
    let eager = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
    eager.map(0..BLOCK, &file, 0, true).unwrap();
    eager.copy(BLOCK, &contents(BLOCK..2 * BLOCK)).unwrap();
    assert_eq!(bytes(&*eager, 0..2 * BLOCK), contents(0..2 * BLOCK));
    assert_eq!(bytes(&*eager, 2 * BLOCK..3 * BLOCK), [0; BLOCK]);
}

#[test]
fn memory_that_is_locked_before_is_loaded_as_ever() {
    for (name, flags) in WAYS {
        if is_child(name) {
            let _dog = watchdog();
            mlockall(flags).unwrap();
            lazy_memories().iter().for_each(everything_works);
            return;
        }
    }
    if can_lock() {
        WAYS.iter().for_each(|(name, _)| _ = child_succeeds(name, &[]));
    }
}

#[test]
fn memory_that_is_locked_after_is_loaded_as_ever() {
    for (name, flags) in WAYS {
        if is_child(name) {
            let _dog = watchdog();
            let memories = lazy_memories();
            mlockall(flags).unwrap();
            memories.iter().for_each(everything_works);
            return;
        }
    }
    if can_lock() {
        WAYS.iter().for_each(|(name, _)| _ = child_succeeds(name, &[]));
    }
}

/// A span is mostly addresses. To lock all of them takes a privilege, to lock none of them does not.
#[test]
fn addresses_count_for_nothing_against_the_limit_of_locked_memory() {
    if is_child("ordinary user") {
        let _dog = watchdog();
        become_ordinary(MOST);
        mlockall(MlockAllFlags::MCL_FUTURE).unwrap();
        let memory = UffdMemory::new(MemoryOptions { resolvers: 1, ..MemoryOptions::default() }).unwrap();
        let span = memory.reserve(0..1 << 40, Residency::Eager).unwrap();
        span.write(1 << 39, &[7]);
        assert_eq!(bytes(&*span, 1 << 39..(1 << 39) + 2), [7, 0]);
        if memory.delivers_faults() {
            everything_works(&memory);
        }
        return;
    }
    if can_lock() {
        child_succeeds("ordinary user", &[]);
    }
}

#[test]
fn a_limit_of_locked_memory_is_named_where_threads_or_mappings_do_not_fit() {
    if is_child("ordinary user") {
        let _dog = watchdog();
        become_ordinary(3 << 20);
        mlockall(MlockAllFlags::MCL_FUTURE).unwrap();
        let error = UffdMemory::new(MemoryOptions { resolvers: 8, ..MemoryOptions::default() }).err().unwrap();
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
        assert!(error.to_string().contains("memory is locked"), "{error}");
        // And it was of no consequence.
        nix::sys::mman::munlockall().unwrap();
        let memory = UffdMemory::new(MemoryOptions::default()).unwrap();
        assert_eq!(memory.delivers_faults(), lazy_memories().len() == 2);
        return;
    }
    if can_lock() {
        child_succeeds("ordinary user", &[]);
    }
}

#[test]
fn a_range_of_which_a_part_is_locked_is_emptied_whole() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 16 * MIB, How::Copy);
        let range = 0..BLOCK;
        for round in 0..3 {
            assert_eq!(fake.bytes(range.clone()), contents(range.clone()));
            lock_part(&*fake.span);
            if round == 0 {
                // To lock a page is to write to it: it was told, and is protected no more.
                fake.span.write_protect(range.clone()).unwrap();
                fake.span.evict(range.clone()).unwrap();
            } else {
                fake.span.reset(range.clone()).unwrap();
            }
            fake.loaded.lock().remove(&0);
            assert_eq!(fake.loads.load(Ordering::SeqCst), round + 1);
        }
        assert_eq!(fake.bytes(range.clone()), contents(range));
        // Zero memory, protected after.
        let range = BLOCK..2 * BLOCK;
        fake.load(1, &How::Zero);
        fake.span.write(BLOCK, &[1; BLOCK]);
        mlock_range(&*fake.span, BLOCK + 4 * PAGE, 2 * PAGE);
        fake.span.write_protect(range.clone()).unwrap();
        fake.span.evict(range.clone()).unwrap();
        fake.loaded.lock().remove(&1);
        assert_eq!(fake.bytes(range.clone()), contents(range));
    }
}

/// What is moved to, and what is moved from, are locked or filled by it, before and meanwhile.
#[test]
fn blocks_are_taken_out_and_put_back_when_all_memory_was_locked_after_the_first() {
    let ways = [("filled", MlockAllFlags::MCL_CURRENT), ("on fault", MlockAllFlags::MCL_CURRENT.union(ON_FAULT))];
    for (name, flags) in ways {
        if is_child(name) {
            let _dog = watchdog();
            lazy_memories().iter().for_each(|memory| take_out_of_locked(memory, flags));
            return;
        }
    }
    if can_lock() {
        ways.iter().for_each(|(name, _)| _ = child_succeeds(name, &[]));
    }
}

fn take_out_of_locked(memory: &Arc<UffdMemory>, flags: MlockAllFlags) {
    let fake = Fake::new(&**memory, 2 * MIB, How::Copy);
    let load = || assert_eq!(fake.bytes(0..2 * MIB), contents(0..2 * MIB));
    load();
    for round in 0..3 {
        for block in 0..2 {
            let range = block * BLOCK..(block + 1) * BLOCK;
            fake.span.write_protect(range.clone()).unwrap();
            let Some(taken) = fake.span.take_out(range.clone()).unwrap() else {
                return skip("UFFDIO_MOVE is missing");
            };
            if round == 1 {
                // Only marks what is there: what is missing just now is waited for by nothing.
                mlockall(MlockAllFlags::MCL_CURRENT.union(ON_FAULT)).unwrap();
            }
            let check = &mut |bytes: &[u8]| {
                assert_eq!(bytes, contents(range.clone()));
                Ok(())
            };
            taken.with(range.clone(), check).unwrap();
            match block {
                0 => taken.put_back().unwrap(),
                _ => {
                    taken.let_go().unwrap();
                    fake.loaded.lock().remove(&block);
                }
            }
        }
        load();
        mlockall(flags).unwrap();
    }
    nix::sys::mman::munlockall().unwrap();
}

fn lock_part(span: &dyn Span) {
    mlock_range(span, 4 * PAGE, 3 * PAGE);
}

fn mlock_range(span: &dyn Span, at: usize, len: usize) {
    let start = span.base().as_ptr().wrapping_add(at);
    // SAFETY: to lock pages changes no byte.
    let locked = unsafe { mlock(std::ptr::NonNull::new(start).unwrap().cast(), len) };
    // Where the kernel's own faults are not delivered the pages are locked when they come to be.
    assert!(matches!(locked, Ok(()) | Err(Errno::ENOMEM)), "{locked:?}");
}

/// Whether this process may lock what it likes, and become another user.
fn can_lock() -> bool {
    if Uid::effective().is_root() {
        return true;
    }
    skip("needs root");
    false
}

/// From here on an ordinary user that may lock so many bytes.
fn become_ordinary(memlock: u64) {
    setrlimit(Resource::RLIMIT_MEMLOCK, memlock, memlock).unwrap();
    setuid(Uid::from_raw(65534)).unwrap();
    // SAFETY: touches no memory. Without it `/proc/self/pagemap` stays root's.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
}
