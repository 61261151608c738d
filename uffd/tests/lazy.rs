//! Lazy spans: each operation, in every mode in which this process gets faults.

#![allow(clippy::single_range_in_vec_init, reason = "one run of pages was found, not many pages")]

mod common;

use std::io::Write;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bigarray_core::memory::{Memory, Residency, Span, WrittenTo};
use bigarray_core::store::DataFile;
use bigarray_core::{PAGE, Result};
use bigarray_uffd::{MemoryOptions, UffdMemory, Userfaultfd};
use common::*;

fn written(fake: &Fake, origin: WrittenTo) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    fake.span.written(fake.span.bytes(), origin, &mut found).unwrap();
    found
}

#[test]
fn a_hole_becomes_zero_memory_on_first_access_and_its_writes_are_found() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Zero);
        assert_eq!(fake.read(3 * BLOCK + 5), 0);
        assert_eq!(fake.missing.load(Ordering::SeqCst), 1);
        fake.span.write(BLOCK + PAGE, &[9; PAGE + 1]);
        assert_eq!(fake.bytes(BLOCK + PAGE..BLOCK + PAGE + 2), [9, 9]);
        assert_eq!(written(&fake, WrittenTo::Zero), [BLOCK + PAGE..BLOCK + 3 * PAGE]);
        assert_eq!(fake.protected.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_mapped_block_shows_the_file_and_keeps_writes_to_itself() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Map(file.clone()));
        assert_eq!(fake.bytes(BLOCK - 9..BLOCK + 9), contents(BLOCK - 9..BLOCK + 9));
        assert_eq!(written(&fake, WrittenTo::Mapped), []);
        fake.span.write(5 * PAGE + 1, &[0xEE]);
        fake.span.fill_zero(7 * PAGE..8 * PAGE);
        assert_eq!(fake.read(5 * PAGE + 1), 0xEE);
        assert_eq!(fake.read(5 * PAGE), content(5 * PAGE));
        assert_eq!(written(&fake, WrittenTo::Mapped), [5 * PAGE..6 * PAGE, 7 * PAGE..8 * PAGE]);
        let mut stored = vec![0; BLOCK];
        file.read_at(0, &mut stored).unwrap();
        assert_eq!(stored, contents(0..BLOCK));
    }
}

#[test]
fn a_copied_block_arrives_protected_and_its_first_write_is_told_once() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
        assert_eq!(fake.bytes(0..3 * BLOCK), contents(0..3 * BLOCK));
        assert_eq!(fake.protected.load(Ordering::SeqCst), 0);
        fake.span.write(BLOCK + 1, &[1, 2, 3]);
        fake.span.write(2 * BLOCK - 1, &[4]);
        assert_eq!(fake.protected.load(Ordering::SeqCst), 1);
        assert_eq!(fake.bytes(BLOCK..BLOCK + 4), [content(BLOCK), 1, 2, 3]);
        // The first access may be a write.
        fake.span.write(20 * BLOCK, &[7]);
        assert_eq!(fake.bytes(20 * BLOCK..20 * BLOCK + 2), [7, content(20 * BLOCK + 1)]);
        assert_eq!(fake.protected.load(Ordering::SeqCst), 2);
    }
}

#[test]
fn a_job_is_run_by_another_thread_while_the_monitor_goes_on() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Job);
        assert_eq!(fake.bytes(0..2 * MIB), contents(0..2 * MIB));
        assert_eq!(fake.loads.load(Ordering::SeqCst), 2 * MIB / BLOCK);
    }
}

#[test]
fn many_threads_in_one_block_load_it_once_and_all_go_on() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in lazy_memories() {
        for how in [How::Zero, How::Map(file.clone()), How::Copy, How::Job] {
            let fake = Fake::new(&*memory, 2 * MIB, how.clone());
            let expected = if matches!(how, How::Zero) { 0 } else { content(17) };
            thread::scope(|scope| {
                for _ in 0..32 {
                    scope.spawn(|| assert_eq!(fake.read(17), expected));
                }
            });
            assert_eq!(fake.loads.load(Ordering::SeqCst), 1);
        }
    }
}

#[test]
fn many_threads_that_write_to_one_protected_block_all_go_on() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
        thread::scope(|scope| {
            for n in 0..32 {
                let fake = &fake;
                scope.spawn(move || fake.span.write(n * 100, &[n as u8]));
            }
        });
        for n in 0..32 {
            assert_eq!(fake.read(n * 100), n as u8);
        }
    }
}

#[test]
fn reset_makes_any_range_missing_again() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 4 * MIB, How::Copy);
        // A range of every kind, written to where that can be: untouched, zero, mapped, copied, poisoned.
        for (block, how) in [How::Zero, How::Map(file.clone()), How::Copy, How::Poison].iter().enumerate() {
            fake.load(block, how);
            if !matches!(how, How::Poison) {
                fake.span.write(block * BLOCK, &[0xAB]);
            }
        }
        for round in 0..3 {
            fake.span.reset(0..4 * MIB).unwrap();
            fake.loaded.lock().clear();
            let before = fake.missing.load(Ordering::SeqCst);
            assert_eq!(fake.bytes(0..8 * BLOCK), contents(0..8 * BLOCK), "round {round}");
            assert_eq!(fake.missing.load(Ordering::SeqCst), before + 8);
        }
        // Copied blocks go back in place, without a new mapping.
        fake.span.reset(BLOCK..2 * BLOCK).unwrap();
        fake.loaded.lock().remove(&1);
        assert_eq!(fake.bytes(0..3 * BLOCK), contents(0..3 * BLOCK));
    }
}

#[test]
fn neighbours_of_one_kind_are_one_mapping() {
    let file = ContentFile::make(4 * MIB);
    for memory in lazy_memories() {
        let span = memory.reserve(0..16 * MIB, Residency::Lazy).unwrap();
        let span = &*span;
        for n in 0..4 {
            span.zero(n * 2 * MIB..(n + 1) * 2 * MIB).unwrap();
        }
        assert_eq!(mappings_in(span, 0..8 * MIB), 1);
        for n in (0..4).rev() {
            let range = 8 * MIB + n * BLOCK..8 * MIB + (n + 1) * BLOCK;
            span.map(range, &file, (n * BLOCK) as u64, true).unwrap();
        }
        assert_eq!(mappings_in(span, 8 * MIB..8 * MIB + 4 * BLOCK), 1);
        span.copy(12 * MIB, &contents(0..BLOCK)).unwrap();
        assert_eq!(mappings_in(span, 8 * MIB + 4 * BLOCK..16 * MIB), 1);
        span.reset(0..16 * MIB).unwrap();
        assert_eq!(mappings_in(span, 0..16 * MIB), 1);
    }
}

#[test]
fn copied_pages_can_be_reset_under_readers() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for n in 0..3 {
                let (fake, done) = (&fake, &done);
                scope.spawn(move || {
                    for at in (0..).map(|i| (n * 31 + i) * 4099 % (4 * BLOCK)) {
                        assert_eq!(fake.read(at), content(at));
                        if done.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                });
            }
            for round in 0..400 {
                let block = round % 4;
                eventually("a reader comes by", || {
                    let mut loaded = fake.loaded.lock();
                    let there = loaded.remove(&block);
                    if there {
                        fake.span.reset(block * BLOCK..(block + 1) * BLOCK).unwrap();
                    }
                    there
                });
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(fake.loads.load(Ordering::SeqCst) >= 400);
    }
}

#[test]
fn spans_come_and_go_under_faults_of_others() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..60 {
                        let how = if round % 2 == 0 { How::Copy } else { How::Job };
                        let fake = Fake::new(&*memory, 2 * MIB, how);
                        thread::scope(|scope| {
                            for n in 0..2 {
                                let fake = &fake;
                                scope.spawn(move || {
                                    assert_eq!(fake.read(n * BLOCK), content(n * BLOCK));
                                    fake.span.write(n * BLOCK + 2, &[1]);
                                });
                            }
                        });
                    }
                });
            }
        });
    }
}

#[test]
fn a_copy_that_fails_half_way_leaves_its_range_missing() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Zero);
        fake.span.copy(4 * PAGE, &[3; PAGE]).unwrap();
        let error = fake.span.copy(0, &[5; 8 * PAGE]).unwrap_err();
        assert!(error.is_io(), "{error:?}");
        // The page in its way stays; those before it are asked for again.
        assert_eq!(fake.read(4 * PAGE), 3);
        assert_eq!(fake.missing.load(Ordering::SeqCst), 0);
        assert_eq!(fake.read(0), 0);
        assert_eq!(fake.missing.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_store_without_a_file_is_not_mapped() {
    struct NoFile;
    impl DataFile for NoFile {
        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn as_file(&self) -> Option<&std::fs::File> {
            None
        }
    }
    for memory in lazy_memories() {
        let span = memory.reserve(0..2 * MIB, Residency::Lazy).unwrap();
        assert!(span.map(0..BLOCK, &(Arc::new(NoFile) as Arc<dyn DataFile>), 0, true).unwrap_err().is_unsupported());
    }
}

#[test]
fn ranges_that_are_not_whole_pages_of_the_span_are_refused() {
    for memory in lazy_memories() {
        let span = memory.reserve(0..2 * MIB, Residency::Lazy).unwrap();
        let file = ContentFile::make(PAGE);
        for range in [1..PAGE, 0..PAGE + 1, PAGE..3 * MIB, 2 * MIB..2 * MIB + PAGE] {
            assert!(span.zero(range.clone()).unwrap_err().is_invalid());
            assert!(span.map(range.clone(), &file, 0, true).unwrap_err().is_invalid());
            assert!(span.copy(range.start, &vec![0; range.len()]).unwrap_err().is_invalid());
            assert!(span.unprotect(range.clone()).unwrap_err().is_invalid());
            assert!(span.reset(range.clone()).unwrap_err().is_invalid());
            assert!(span.written(range.clone(), WrittenTo::Zero, &mut Vec::new()).unwrap_err().is_invalid());
        }
        assert!(span.with_bytes(0..3 * MIB, &mut |_| Ok(())).unwrap_err().is_invalid());
        // Nothing of a span is nothing to do.
        span.zero(PAGE..PAGE).unwrap();
        span.copy(PAGE, &[]).unwrap();
        span.reset(0..0).unwrap();
        span.wake(0..0);
    }
}

#[test]
fn a_reservation_is_aligned_and_one_that_cannot_be_names_the_limits() {
    for memory in lazy_memories() {
        for residency in [Residency::Lazy, Residency::Eager] {
            let span = memory.reserve(0..6 * MIB, residency).unwrap();
            assert_eq!(span.base().as_ptr() as usize % (2 * MIB), 0);
            assert_eq!(span.bytes().len(), 6 * MIB);
            let many: Vec<_> = (0..4).map(|_| memory.reserve(0..8 << 40, residency).unwrap()).collect();
            drop(many);
            for len in [1 << 47, usize::MAX / (2 * MIB) * (2 * MIB)] {
                let error = memory.reserve(0..len, residency).err().unwrap();
                assert!(error.is_too_large() && error.to_string().contains("vm.max_map_count"), "{error:?}");
            }
            for len in [0, 1, MIB] {
                assert!(memory.reserve(0..len, residency).err().unwrap().is_invalid());
            }
        }
    }
}

#[test]
fn a_system_call_waits_for_a_missing_page_where_kernel_faults_are_delivered() {
    let _dog = watchdog();
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
        let mut sink = tempfile::tempfile().unwrap();
        let mut outcome = Ok(());
        fake.span
            .with_bytes(0..BLOCK, &mut |bytes| {
                outcome = sink.write_all(bytes);
                Ok(())
            })
            .unwrap();
        if memory.delivers_kernel_faults() {
            outcome.unwrap();
            let mut stored = vec![0; BLOCK];
            std::os::unix::fs::FileExt::read_exact_at(&sink, &mut stored, 0).unwrap();
            assert_eq!(stored, contents(0..BLOCK));
        } else {
            assert_eq!(outcome.unwrap_err().raw_os_error(), Some(nix::errno::Errno::EFAULT as i32));
            // Once a page is there, a system call may have it.
            assert_eq!(fake.read(0), content(0));
            nix::unistd::write(sink.as_fd(), &fake.bytes(0..PAGE)).unwrap();
        }
    }
}

#[test]
fn reading_in_makes_no_other_page_present() {
    for memory in lazy_memories() {
        let fake = Fake::new(&*memory, 4 * MIB, How::Zero);
        let file = ContentFile::make(MIB);
        fake.span.map(0..MIB, &file, 0, false).unwrap();
        fake.span.read_in(0..MIB, &file, 0, false).unwrap();
        assert!(fake.span.read_in(0..5 * MIB, &file, 0, false).unwrap_err().is_invalid());
        assert_eq!(fake.missing.load(Ordering::SeqCst), 0);
        assert_eq!(written(&fake, WrittenTo::Zero).iter().find(|run| run.end > MIB), None);
        assert_eq!(fake.bytes(0..MIB), contents(0..MIB));
    }
}

/// Pages of `range` that are in the page cache.
fn pages_cached(span: &dyn Span, range: Range<usize>) -> usize {
    let mut present = vec![0u8; range.len() / PAGE];
    let start = span.base().as_ptr().wrapping_add(range.start);
    // SAFETY: writes a byte a page of the range.
    assert_eq!(unsafe { nix::libc::mincore(start.cast(), range.len(), present.as_mut_ptr()) }, 0);
    present.iter().filter(|&&page| page & 1 != 0).count()
}

#[test]
fn mapping_with_read_ahead_brings_all_of_the_range_into_the_page_cache() {
    let _dog = watchdog();
    let file = ContentFile::make(16 * MIB);
    file.as_file().unwrap().sync_all().unwrap();
    for memory in lazy_memories() {
        let span = memory.reserve(0..32 * MIB, Residency::Lazy).unwrap();
        // SAFETY: touches no memory.
        unsafe { nix::libc::posix_fadvise(file.as_file().unwrap().as_raw_fd(), 0, 0, nix::libc::POSIX_FADV_DONTNEED) };
        span.map(0..16 * MIB, &file, 0, false).unwrap();
        let before = pages_cached(&*span, 0..16 * MIB);
        if before > 0 {
            eprintln!("skipped: this file system keeps {before} pages in memory");
            return;
        }
        span.map(16 * MIB..32 * MIB, &file, 0, true).unwrap();
        eventually("all of it is read", || pages_cached(&*span, 16 * MIB..32 * MIB) == 16 * MIB / PAGE);
    }
}

/// A memory that finds room for so many mappings more, and a span of it that has 2500.
fn with_mappings(room: usize, file: &Arc<dyn DataFile>) -> (Arc<UffdMemory>, Box<dyn Span>) {
    let used = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let max_mappings = Some(used + room);
    let options = MemoryOptions { max_mappings, userfaultfd: Userfaultfd::Auto, ..MemoryOptions::default() };
    let memory = UffdMemory::new(options).unwrap();
    assert!(memory.has_room_for_mappings(100));
    assert!(!memory.has_room_for_mappings(2 * room));
    let span = memory.reserve(0..512 * MIB, Residency::Eager).unwrap();
    for n in 0..2500 {
        span.map(2 * n * PAGE..(2 * n + 1) * PAGE, file, 0, true).unwrap();
    }
    (memory, span)
}

/// Whether this is the process to look at the room for mappings: other tests have some as well. If not, one is started.
fn is_alone(role: &str) -> bool {
    if !is_child(role) {
        child_succeeds(role, &[]);
        return false;
    }
    true
}

#[test]
fn room_for_mappings_ends_at_the_limit_and_comes_back() {
    if !is_alone("room") {
        return;
    }
    let (memory, span) = with_mappings(3000, &ContentFile::make(PAGE));
    assert!(!memory.has_room_for_mappings(100));
    drop(span);
    assert!(memory.has_room_for_mappings(100));
}

/// A count taken while a span went away charged its mappings to all others from then on.
#[test]
fn room_for_mappings_comes_back_while_others_count() {
    if !is_alone("room while others count") {
        return;
    }
    let _dog = watchdog();
    let file = ContentFile::make(PAGE);
    let finds_room = |_: &usize| {
        let (memory, span) = with_mappings(3000, &file);
        drop(span);
        memory.has_room_for_mappings(100)
    };
    thread::scope(|scope| {
        let rounds = scope.spawn(|| (0..200).filter(finds_room).count());
        while !rounds.is_finished() {
            // A new memory counts.
            drop(memory(Userfaultfd::Auto));
        }
        assert_eq!(rounds.join().unwrap(), 200);
    });
}
