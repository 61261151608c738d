//! Eager spans: no fault is ever delivered, in processes that could have them and in those that could not.

#![allow(clippy::single_range_in_vec_init, reason = "one run of pages was found, not many pages")]

mod common;

use std::ops::Range;

use bigarray_core::PAGE;
use bigarray_core::memory::{Memory, Residency, Span, WrittenTo};
use bigarray_uffd::Userfaultfd;
use common::*;

fn written(span: &dyn Span, origin: WrittenTo) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    span.written(span.bytes(), origin, &mut found).unwrap();
    found
}

fn eager_spans(len: usize) -> Vec<Box<dyn Span>> {
    [Userfaultfd::Auto, Userfaultfd::None].map(|mode| memory(mode).reserve(0..len, Residency::Eager).unwrap()).into()
}

#[test]
fn memory_without_faults_says_so_and_has_no_lazy_spans() {
    let memory = memory(Userfaultfd::None);
    assert!(!memory.delivers_faults() && !memory.delivers_kernel_faults());
    assert!(memory.describe().contains("as asked for"), "{}", memory.describe());
    assert!(memory.reserve(0..2 * MIB, Residency::Lazy).err().unwrap().is_unsupported());
}

#[test]
fn reserved_memory_is_zero_and_its_writes_are_found() {
    for span in eager_spans(2 * MIB) {
        span.zero(0..2 * MIB).unwrap();
        assert_eq!(bytes(&*span, PAGE - 1..PAGE + 1), [0, 0]);
        span.write(8 * PAGE - 1, &[1, 1]);
        let found = written(&*span, WrittenTo::Zero);
        assert!(found.iter().any(|run| run.start <= 7 * PAGE && run.end >= 9 * PAGE), "{found:?}");
        assert!(found.iter().all(|run| run.end <= 2 * MIB));
    }
}

#[test]
fn copied_bytes_count_as_file_pages_until_they_are_written() {
    for span in eager_spans(2 * MIB) {
        for n in [1, 0, 2] {
            span.copy(n * BLOCK, &contents(n * BLOCK..(n + 1) * BLOCK)).unwrap();
        }
        assert_eq!(mappings_in(&*span, 0..3 * BLOCK), 1);
        assert_eq!(bytes(&*span, 0..3 * BLOCK), contents(0..3 * BLOCK));
        assert_eq!(written(&*span, WrittenTo::Mapped), []);
        span.write(BLOCK - 1, &[0, 0]);
        assert_eq!(bytes(&*span, BLOCK - 2..BLOCK + 2), [content(BLOCK - 2), 0, 0, content(BLOCK + 1)]);
        let pages = BLOCK / PAGE;
        assert_eq!(written(&*span, WrittenTo::Mapped), [(pages - 1) * PAGE..(pages + 1) * PAGE]);
        // Nothing is protected and no thread waits.
        span.unprotect(0..BLOCK).unwrap();
        span.wake(0..BLOCK);
    }
}

#[test]
fn a_mapped_file_shows_and_keeps_its_bytes() {
    let file = ContentFile::make(2 * MIB);
    for span in eager_spans(4 * MIB) {
        span.map(2 * MIB..4 * MIB, &file, 0, true).unwrap();
        assert_eq!(bytes(&*span, 2 * MIB..4 * MIB), contents(0..2 * MIB));
        span.write(3 * MIB, &[0xCC]);
        assert_eq!(written(&*span, WrittenTo::Mapped), [3 * MIB..3 * MIB + PAGE]);
    }
}

#[test]
fn reset_gives_zeros_whatever_was_there() {
    let file = ContentFile::make(2 * MIB);
    for span in eager_spans(4 * MIB) {
        for _ in 0..2 {
            span.copy(0, &contents(0..BLOCK)).unwrap();
            span.map(BLOCK..2 * BLOCK, &file, 0, false).unwrap();
            span.poison(2 * BLOCK..3 * BLOCK, "as the test asks");
            for at in [0, BLOCK, 3 * BLOCK] {
                span.write(at, &[1]);
            }
            span.reset(0..4 * MIB).unwrap();
            assert!(bytes(&*span, 0..4 * MIB).iter().all(|byte| *byte == 0));
            assert_eq!(mappings_in(&*span, 0..4 * MIB), 1);
        }
        // What was copied does not come back.
        span.copy(PAGE, &contents(0..PAGE)).unwrap();
        assert_eq!(bytes(&*span, 0..PAGE), [0; PAGE]);
        assert_eq!(bytes(&*span, PAGE..2 * PAGE), contents(0..PAGE));
    }
}
