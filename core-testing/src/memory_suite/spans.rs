//! Address ranges.

use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use bigarray_core::PAGE;
use bigarray_core::memory::{Faults, Job, Span, WrittenTo};
use bigarray_core::sync::Mutex;

use super::MakeMemory;

/// And no two of them share an address.
pub fn spans_are_aligned_and_as_long_as_asked_for(make: MakeMemory<'_>) {
    let fixture = make();
    let mut spans = Vec::new();
    for chunks in [1, 3, 16, 1] {
        let span = fixture.memory.reserve(0..chunks << 21, fixture.residency).expect("a small span");
        assert_eq!(span.bytes().len(), chunks << 21);
        assert!(span.base().addr().get().is_multiple_of(2 << 20), "{:p}", span.base());
        spans.push(span);
    }
    let mut ranges: Vec<_> = spans.iter().map(|span| (span.base().addr().get(), span.bytes().len())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:x?}");
}

/// Addresses are not memory.
pub fn large_spans_cost_nothing(make: MakeMemory<'_>) {
    let fixture = make();
    let spans: Vec<_> =
        (0..8).map(|_| fixture.memory.reserve(0..1 << 40, fixture.residency).expect("a TiB of addresses")).collect();
    assert!(spans.iter().all(|span| span.bytes().len() == 1 << 40));
}

/// With an error that says so.
pub fn more_than_there_is_is_too_large(make: MakeMemory<'_>) {
    let fixture = make();
    let error = fixture.memory.reserve(0..1 << 62, fixture.residency).err().expect("no such address space");
    assert!(error.is_too_large(), "{error}");
    assert!(fixture.memory.reserve(0..2 << 20, fixture.residency).is_ok(), "the memory goes on");
}

/// A file that stands in for what is poisoned has no byte so far behind its start.
pub fn the_last_window_of_the_largest_array_is_poisoned_like_any(make: MakeMemory<'_>) {
    let fixture = make();
    let end = isize::MAX as usize + 1;
    let span = fixture.memory.reserve(end - (4 << 20)..end, fixture.residency).expect("a small span");
    span.poison(end - (2 << 20)..end, "a test says so");
}

/// A window over 2 MiB in the midst of an array.
const WINDOW: Range<usize> = 6 << 20..8 << 20;

/// Lays zero memory where a page is missing, and remembers which.
struct Zeros {
    span: OnceLock<Box<dyn Span>>,
    missing: Mutex<Vec<usize>>,
}

impl Faults for Zeros {
    fn missing(&self, offset: usize) -> Vec<Job> {
        let Some(span) = self.span.get() else { return Vec::new() };
        let mut missing = self.missing.lock();
        if missing.is_empty() {
            span.zero(WINDOW).expect("zero memory");
        }
        missing.push(offset);
        drop(missing);
        span.wake(WINDOW);
        Vec::new()
    }

    fn protected(&self, _: usize) {}

    fn fail(&self, _: &str) {}
}

/// And its faults name such bytes.
pub fn a_span_counts_in_the_bytes_that_it_was_reserved_for(make: MakeMemory<'_>) {
    let fixture = make();
    let zeros = Arc::new(Zeros { span: OnceLock::new(), missing: Mutex::default() });
    let span = zeros.span.get_or_init(|| fixture.memory.reserve(WINDOW, fixture.residency).expect("a small span"));
    let faults: Weak<Zeros> = Arc::downgrade(&zeros);
    span.attach(faults);
    assert_eq!(span.bytes(), WINDOW);
    let page = WINDOW.start + 3 * PAGE;
    span.write(page + 7, &[1, 2, 3]);
    assert_eq!(*zeros.missing.lock(), if fixture.is_lazy() { vec![page] } else { vec![] });
    let mut found = Vec::new();
    span.written(WINDOW, WrittenTo::Zero, &mut found).unwrap();
    assert!(found.iter().any(|run| run.contains(&page)), "{found:?}");
    assert!(found.iter().all(|run| WINDOW.start <= run.start && run.end <= WINDOW.end), "{found:?}");
    span.with_bytes(page + 7..page + 10, &mut |bytes| {
        assert_eq!(bytes, [1, 2, 3]);
        Ok(())
    })
    .unwrap();
}

/// For ever.
pub fn a_span_given_back_makes_room(make: MakeMemory<'_>) {
    let fixture = make();
    for _ in 0..300 {
        drop(fixture.memory.reserve(0..1 << 40, fixture.residency).expect("what was given back"));
    }
}

/// But not for any number.
pub fn there_is_room_for_some_mappings(make: MakeMemory<'_>) {
    let fixture = make();
    assert!(fixture.memory.has_room_for_mappings(100));
    assert!(!fixture.memory.has_room_for_mappings(1 << 40));
}
