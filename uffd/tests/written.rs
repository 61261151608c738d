//! Finding written pages, by PAGEMAP_SCAN and by reading the page table's entries.

#![allow(clippy::single_range_in_vec_init, reason = "one run of pages was found, not many pages")]

mod common;

use std::ops::Range;
use std::time::Duration;

use bigarray_core::PAGE;
use bigarray_core::memory::{Memory, Residency, Span, WrittenTo};
use bigarray_uffd::{Pagemap, Userfaultfd};
use common::*;

fn written(span: &dyn Span, range: Range<usize>, origin: WrittenTo) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    span.written(range, origin, &mut found).unwrap();
    found
}

fn spans(len: usize) -> [Box<dyn Span>; 2] {
    [Pagemap::Auto, Pagemap::Legacy]
        .map(|pagemap| memory_with(Userfaultfd::None, pagemap).reserve(0..len, Residency::Eager).unwrap())
}

fn pages(runs: &[Range<usize>]) -> Vec<usize> {
    runs.iter().cloned().flat_map(|run| run.step_by(PAGE)).collect()
}

#[test]
fn both_ways_find_the_same_written_pages_of_a_mixed_range() {
    let file = ContentFile::make(2 * MIB);
    let found = spans(8 * MIB).map(|span| {
        span.map(2 * MIB..4 * MIB, &file, 0, true).unwrap();
        span.copy(4 * MIB, &contents(0..2 * MIB)).unwrap();
        for (base, step) in [(0, 3), (2 * MIB, 5), (4 * MIB, 7)] {
            let _ = bytes(&*span, base + 2 * MIB - PAGE..base + 2 * MIB);
            for page in (0..300).step_by(step) {
                span.write(base + page * PAGE, &[page as u8]);
            }
        }
        let zero = pages(&written(&*span, 0..2 * MIB, WrittenTo::Zero));
        let mapped = written(&*span, 2 * MIB..6 * MIB, WrittenTo::Mapped);
        (zero, mapped)
    });
    assert_eq!(found[0].1, found[1].1);
    assert_eq!(pages(&found[0].1).len(), 60 + 43);
    // Reading entries cannot tell a zero page that was only read.
    let [scan, entries] = found.map(|(zero, _)| zero);
    for page in (0..300).step_by(3) {
        assert!(scan.contains(&(page * PAGE)));
    }
    assert!(scan.iter().all(|page| entries.contains(page)));
}

#[test]
fn runs_are_merged_ascending_clipped_and_appended() {
    for span in spans(64 * MIB) {
        let file = ContentFile::make(32 * MIB);
        span.map(0..32 * MIB, &file, 0, false).unwrap();
        // More runs than one call returns, and runs across what is read at a time.
        for page in (0..3000).step_by(2) {
            span.write(page * PAGE, &[1]);
        }
        for page in 8000..8192 {
            span.write(page * PAGE, &[1]);
        }
        let mut found = vec![0..PAGE];
        span.written(PAGE..32 * MIB - PAGE, WrittenTo::Mapped, &mut found).unwrap();
        assert_eq!(found.len(), 1 + 1499 + 1);
        assert_eq!(found[1], 2 * PAGE..3 * PAGE);
        assert_eq!(found[1500], 8000 * PAGE..8191 * PAGE);
        assert!(found[1..].windows(2).all(|pair| pair[0].end < pair[1].start));
        assert_eq!(written(&*span, 9 * PAGE..10 * PAGE, WrittenTo::Mapped), []);
        assert_eq!(written(&*span, PAGE..PAGE, WrittenTo::Mapped), []);
    }
}

#[test]
fn untouched_terabytes_take_no_time() {
    let memory = memory(Userfaultfd::Auto);
    if !memory.describe().contains("PAGEMAP_SCAN") {
        return;
    }
    let span = memory.reserve(0..8 << 40, Residency::Eager).unwrap();
    span.write(0, &[1]);
    span.write((8 << 40) - 1, &[1]);
    let _dog = Watchdog::new(Duration::from_secs(60)); // page by page it would take minutes
    let found = pages(&written(&*span, 0..8 << 40, WrittenTo::Zero));
    assert!(found.contains(&0) && found.contains(&((8 << 40) - PAGE)));
}

#[test]
fn a_huge_page_under_a_hole_is_found_whole() {
    for pagemap in [Pagemap::Auto, Pagemap::Legacy] {
        let memory = memory_with(Userfaultfd::Auto, pagemap);
        if !memory.delivers_faults() {
            return;
        }
        let span = memory.reserve(0..8 * MIB, Residency::Lazy).unwrap();
        span.zero(0..8 * MIB).unwrap();
        span.write(2 * MIB + 5 * PAGE, &[1]);
        let found = written(&*span, 0..8 * MIB, WrittenTo::Zero);
        assert!(pages(&found).contains(&(2 * MIB + 5 * PAGE)));
        assert!(found.iter().all(|run| run.start >= 2 * MIB && run.end <= 4 * MIB), "{found:?}");
    }
}
