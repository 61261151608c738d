//! Mappings with async write tracking: what the kernel does to their pages, and what becomes of the mappings
//! themselves.

#![allow(clippy::single_range_in_vec_init, reason = "one run of pages was found, not many pages")]

mod common;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::PAGE;
use bigarray_core::memory::{Memory, Residency, Span, WrittenTo};
use bigarray_core::store::DataFile;
use bigarray_uffd::{Pagemap, UffdMemory, Userfaultfd};
use common::*;
use nix::sys::mman::{MmapAdvise, madvise};

fn written(span: &dyn Span, range: Range<usize>, origin: WrittenTo) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    span.written(range, origin, &mut found).unwrap();
    found
}

/// Every mode in which memory is tracked here. A kernel that has PAGEMAP_SCAN, 6.7, has what tracking needs.
fn tracking_memories() -> Vec<Arc<UffdMemory>> {
    let mut memories = lazy_memories();
    memories.retain(|memory| memory.describe().contains("PAGEMAP_SCAN"));
    for memory in &memories {
        assert!(memory.describe().contains("asynchronous write protection"), "{}", memory.describe());
    }
    memories
}

/// As [`ContentFile::make`], but in a page cache of small pages: what is written as one comes as one.
fn in_small_pieces(len: usize) -> Arc<dyn DataFile> {
    let mut file = tempfile::tempfile().unwrap();
    for at in (0..len).step_by(4 * PAGE) {
        file.write_all(&contents(at..at + 4 * PAGE)).unwrap();
    }
    Arc::new(ContentFile(file))
}

/// A span whose first `len` bytes show the file's and are resident.
fn mapped(memory: &UffdMemory, file: &Arc<dyn DataFile>, len: usize) -> Box<dyn Span> {
    let span = memory.reserve(0..len.next_multiple_of(2 * MIB), Residency::Lazy).unwrap();
    span.map(0..len, file, 0, true).unwrap();
    assert_eq!(bytes(&*span, 0..len), contents(0..len));
    span
}

fn advise(span: &dyn Span, range: Range<usize>, advice: MmapAdvise) {
    let at = span.base().cast();
    // SAFETY: within the span, whose pages are the file's: what is taken away comes back as it was.
    unsafe { madvise(at.byte_add(range.start), range.len(), advice) }.unwrap();
}

#[test]
fn a_kernel_that_can_track_writes_does_so_in_lazy_spans_with_pagemap_scan_only() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in tracking_memories() {
        assert!(mapped(&memory, &file, 2 * MIB).track_writes(0..2 * MIB).unwrap());
        let eager = memory.reserve(0..2 * MIB, Residency::Eager).unwrap();
        eager.map(0..MIB, &file, 0, true).unwrap();
        assert!(!eager.track_writes(0..MIB).unwrap());
    }
    for (userfaultfd, pagemap) in [(Userfaultfd::Auto, Pagemap::Legacy), (Userfaultfd::None, Pagemap::Auto)] {
        let memory = memory_with(userfaultfd, pagemap);
        let lazy = if memory.delivers_faults() { Residency::Lazy } else { Residency::Eager };
        let span = memory.reserve(0..2 * MIB, lazy).unwrap();
        span.map(0..MIB, &file, 0, true).unwrap();
        assert!(!span.track_writes(0..MIB).unwrap());
        assert!(!memory.describe().contains("asynchronous"), "{}", memory.describe());
        span.write(PAGE, &[1]);
        assert_eq!(written(&*span, 0..MIB, WrittenTo::Mapped), [PAGE..2 * PAGE]);
    }
}

/// The kernel marks their places as protected. Read again or not, they were not written.
#[test]
fn pages_that_the_system_takes_back_are_not_reported() {
    let _dog = watchdog();
    for file in [in_small_pieces(4 * MIB), ContentFile::make(4 * MIB)] {
        file.as_file().unwrap().sync_all().unwrap();
        for memory in tracking_memories() {
            for advice in [MmapAdvise::MADV_PAGEOUT, MmapAdvise::MADV_DONTNEED] {
                let span = mapped(&memory, &file, 4 * MIB);
                assert!(span.track_writes(0..4 * MIB).unwrap());
                span.write(PAGE, &[9]);
                span.write(3 * MIB, &[9]);
                let expected = [PAGE..2 * PAGE, 3 * MIB..3 * MIB + PAGE];
                advise(&*span, 2 * PAGE..2 * MIB, advice);
                assert!(span.resident(2 * PAGE..2 * MIB).unwrap() < MIB, "{advice:?} does nothing here");
                assert_eq!(written(&*span, 0..4 * MIB, WrittenTo::Tracked), expected);
                assert_eq!(bytes(&*span, MIB..2 * MIB), contents(MIB..2 * MIB));
                assert_eq!(written(&*span, 0..4 * MIB, WrittenTo::Tracked), expected);
                span.write(2 * PAGE, &[9]);
                span.write(2 * MIB - PAGE, &[9]);
                let expected = [PAGE..3 * PAGE, 2 * MIB - PAGE..2 * MIB, 3 * MIB..3 * MIB + PAGE];
                assert_eq!(written(&*span, 0..4 * MIB, WrittenTo::Tracked), expected);
            }
        }
    }
}

#[test]
fn a_system_call_that_writes_to_a_tracked_view_is_seen() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(&[5; 3 * PAGE]).unwrap();
    for memory in tracking_memories() {
        let span = mapped(&memory, &file, 2 * MIB);
        assert!(span.track_writes(0..2 * MIB).unwrap());
        advise(&*span, 7 * PAGE..8 * PAGE, MmapAdvise::MADV_DONTNEED);
        source.seek(SeekFrom::Start(0)).unwrap();
        read_into(&source, &*span, 5 * PAGE + 100..8 * PAGE);
        assert_eq!(written(&*span, 0..2 * MIB, WrittenTo::Tracked), [5 * PAGE..8 * PAGE]);
        assert_eq!(bytes(&*span, 6 * PAGE..8 * PAGE), [5; 2 * PAGE]);
    }
}

/// `read(2)` from `file` into the span.
fn read_into(mut file: &File, span: &dyn Span, range: Range<usize>) {
    use std::io::Read;
    // SAFETY: within the span, which no other code uses.
    let view = unsafe { std::slice::from_raw_parts_mut(span.base().as_ptr().add(range.start), range.len()) };
    file.read_exact(view).unwrap();
}

#[test]
fn neighbours_tracked_together_or_one_after_the_other_are_one_mapping() {
    let _dog = watchdog();
    let file = ContentFile::make(4 * MIB);
    for memory in tracking_memories() {
        let span = mapped(&memory, &file, 4 * MIB);
        assert_eq!(mappings_in(&*span, 0..4 * MIB), 1);
        assert!(span.track_writes(0..4 * MIB).unwrap());
        assert_eq!(mappings_in(&*span, 0..4 * MIB), 1);

        let span = mapped(&memory, &file, 4 * MIB);
        assert!(span.track_writes(MIB..2 * MIB).unwrap());
        assert_eq!(mappings_in(&*span, 0..4 * MIB), 3);
        span.write(5 * PAGE, &[1]);
        assert!(span.track_writes(2 * MIB..4 * MIB).unwrap());
        assert_eq!(mappings_in(&*span, 0..4 * MIB), 2);
        assert_eq!(written(&*span, 0..MIB, WrittenTo::Mapped), [5 * PAGE..6 * PAGE]);

        // A block of it comes anew, and is tracked as well.
        span.reset(2 * MIB..3 * MIB).unwrap();
        span.map(2 * MIB..3 * MIB, &file, 2 * MIB as u64, true).unwrap();
        assert_eq!(mappings_in(&*span, MIB..4 * MIB), 3);
        assert!(span.track_writes(2 * MIB..3 * MIB).unwrap());
        assert_eq!(mappings_in(&*span, MIB..4 * MIB), 1);
    }
}

/// One call for what lies side by side, wherever in the file it is from.
#[test]
fn several_mappings_are_tracked_by_one_call() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in tracking_memories() {
        let span = memory.reserve(0..2 * MIB, Residency::Lazy).unwrap();
        for block in 0..8 {
            let range = block * BLOCK..(block + 1) * BLOCK;
            span.map(range.clone(), &file, ((7 - block) * 2 * BLOCK) as u64, true).unwrap();
            bytes(&*span, range);
        }
        assert!(span.track_writes(0..8 * BLOCK).unwrap());
        assert_eq!(mappings_in(&*span, 0..8 * BLOCK), 8);
        span.write(3 * BLOCK - 1, &[1, 1]);
        assert_eq!(written(&*span, 0..8 * BLOCK, WrittenTo::Tracked), [3 * BLOCK - PAGE..3 * BLOCK + PAGE]);
    }
}

/// The kernel would let the spans' userfaultfd protect tracked pages, as if they were copied ones that can be given
/// back in place: then they would be the file's again instead of missing.
#[test]
fn a_tracked_range_is_missing_after_a_reset_also_beside_what_is_missing_already() {
    let _dog = watchdog();
    let file = ContentFile::make(4 * MIB);
    for memory in tracking_memories() {
        let fake = Fake::new(&*memory, 4 * MIB, How::Copy);
        fake.span.map(MIB..2 * MIB, &file, 0, true).unwrap();
        assert!(fake.span.track_writes(MIB..2 * MIB).unwrap());
        assert_eq!(fake.read(0), content(0));
        fake.span.reset(0..4 * MIB).unwrap();
        fake.loaded.lock().clear();
        let told = fake.missing.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(fake.bytes(0..3 * MIB), contents(0..3 * MIB), "from the pager, not from byte 0 of the file");
        assert!(fake.missing.load(std::sync::atomic::Ordering::SeqCst) >= told + 3 * MIB / BLOCK);
        assert_eq!(mappings_in(&*fake.span, 0..4 * MIB), 1);
    }
}

/// Files written in large pieces lie in the page cache in pieces of 2 MiB, and are mapped as such.
#[test]
fn huge_pages_of_the_page_cache_are_tracked_whole_and_found_page_by_page() {
    let _dog = watchdog();
    let file = ContentFile::make(8 * MIB);
    for memory in tracking_memories() {
        for part in [0..8 * MIB, 3 * MIB..8 * MIB, PAGE..8 * MIB - PAGE] {
            let span = mapped(&memory, &file, 8 * MIB);
            assert!(span.track_writes(part.clone()).unwrap());
            assert_eq!(written(&*span, part.clone(), WrittenTo::Tracked), []);
            span.write(4 * MIB + 5 * PAGE, &[1]);
            span.write(8 * MIB - 2 * PAGE, &[1]);
            // What was mapped together with these is read anew.
            assert_eq!(bytes(&*span, 0..4 * MIB), contents(0..4 * MIB));
            assert_eq!(bytes(&*span, 4 * MIB + 6 * PAGE..5 * MIB), contents(4 * MIB + 6 * PAGE..5 * MIB));
            let expected = [4 * MIB + 5 * PAGE..4 * MIB + 6 * PAGE, 8 * MIB - 2 * PAGE..8 * MIB - PAGE];
            assert_eq!(written(&*span, part.clone(), WrittenTo::Tracked), expected);
            // Tracked once more, those that were read anew are protected; what was written stays out of it.
            assert!(span.track_writes(5 * MIB..6 * MIB).unwrap());
            assert_eq!(written(&*span, part.clone(), WrittenTo::Tracked), expected);
        }
    }
}

/// More runs than one call returns, near each other and far from each other.
#[test]
fn many_written_runs_are_found_one_by_one() {
    let _dog = watchdog();
    const LEN: usize = 64 * MIB;
    let file = in_small_pieces(LEN);
    for memory in tracking_memories() {
        let span = mapped(&memory, &file, LEN);
        assert!(span.track_writes(0..LEN).unwrap());
        let mut pages: Vec<usize> = (0..3000).step_by(2).chain((3000..LEN / PAGE).step_by(37)).collect();
        pages.extend([LEN / PAGE - 2, LEN / PAGE - 1]);
        for page in &pages {
            span.write(page * PAGE, &[1]);
        }
        let found: Vec<usize> =
            written(&*span, 0..LEN, WrittenTo::Tracked).into_iter().flat_map(|run| run.step_by(PAGE)).collect();
        assert_eq!(found, pages.iter().map(|page| page * PAGE).collect::<Vec<_>>());
        assert_eq!(written(&*span, PAGE..2 * PAGE, WrittenTo::Tracked), []);
        assert_eq!(written(&*span, 2 * PAGE..3 * PAGE, WrittenTo::Tracked), [2 * PAGE..3 * PAGE]);
    }
}

#[test]
fn tracked_pages_can_be_poisoned_and_reset() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in tracking_memories() {
        let fake = Fake::new(&*memory, 2 * MIB, How::Copy);
        fake.span.map(0..MIB, &file, 0, true).unwrap();
        assert!(fake.span.track_writes(0..MIB).unwrap());
        fake.span.poison(BLOCK..2 * BLOCK, "as the test asks");
        fake.span.write(3 * BLOCK, &[1]);
        assert_eq!(written(&*fake.span, 2 * BLOCK..MIB, WrittenTo::Tracked), [3 * BLOCK..3 * BLOCK + PAGE]);
        fake.span.reset(0..MIB).unwrap();
        assert_eq!(fake.bytes(0..2 * MIB), contents(0..2 * MIB));
    }
}

#[test]
fn what_counts_as_resident_are_small_pages() {
    let _dog = watchdog();
    let (small, any) = (in_small_pieces(4 * MIB), ContentFile::make(4 * MIB));
    for memory in tracking_memories() {
        let span = memory.reserve(0..4 * MIB, Residency::Lazy).unwrap();
        span.map(0..4 * MIB, &small, 0, true).unwrap();
        assert_eq!(span.resident(0..4 * MIB).unwrap(), 0);
        bytes(&*span, 0..MIB);
        let some = span.resident(0..4 * MIB).unwrap();
        assert!((MIB..2 * MIB).contains(&some), "{some}");
        bytes(&*span, MIB..4 * MIB);
        assert_eq!(span.resident(0..4 * MIB).unwrap(), 4 * MIB);
        span.write(0, &[1]);
        assert_eq!(span.resident(0..4 * MIB).unwrap(), 4 * MIB);
        assert_eq!(span.resident(PAGE..MIB).unwrap(), MIB - PAGE);
        // All of it or, where it is mapped in huge pages, a part or nothing.
        assert!(mapped(&memory, &any, 4 * MIB).resident(0..4 * MIB).unwrap() <= 4 * MIB);
    }
}

#[test]
fn ranges_that_are_not_mapped_pages_of_the_span_are_not_tracked() {
    let _dog = watchdog();
    let file = ContentFile::make(2 * MIB);
    for memory in tracking_memories() {
        let span = mapped(&memory, &file, MIB);
        for range in [5..PAGE, PAGE..2 * PAGE + 1, 0..4 * MIB] {
            assert!(span.track_writes(range.clone()).unwrap_err().is_invalid());
            assert!(span.resident(range).unwrap_err().is_invalid());
        }
        // The second half is missing: it waits for its pager, and the whole is as it was.
        assert!(span.track_writes(0..2 * MIB).is_err());
        span.write(PAGE, &[1]);
        assert_eq!(written(&*span, 0..MIB, WrittenTo::Mapped), [PAGE..2 * PAGE]);
        assert!(span.track_writes(MIB..MIB).unwrap());
    }
}
