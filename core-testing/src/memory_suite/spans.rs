//! Address ranges.

use super::MakeMemory;

/// And no two of them share an address.
pub fn spans_are_aligned_and_as_long_as_asked_for(make: MakeMemory<'_>) {
    let fixture = make();
    let mut spans = Vec::new();
    for chunks in [1, 3, 16, 1] {
        let span = fixture.memory.reserve(chunks << 21, fixture.residency).expect("a small span");
        assert_eq!(span.size_bytes(), chunks << 21);
        assert!(span.base().addr().get().is_multiple_of(2 << 20), "{:p}", span.base());
        spans.push(span);
    }
    let mut ranges: Vec<_> = spans.iter().map(|span| (span.base().addr().get(), span.size_bytes())).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:x?}");
}

/// Addresses are not memory.
pub fn large_spans_cost_nothing(make: MakeMemory<'_>) {
    let fixture = make();
    let spans: Vec<_> =
        (0..8).map(|_| fixture.memory.reserve(1 << 40, fixture.residency).expect("a TiB of addresses")).collect();
    assert!(spans.iter().all(|span| span.size_bytes() == 1 << 40));
}

/// With an error that says so.
pub fn more_than_there_is_is_too_large(make: MakeMemory<'_>) {
    let fixture = make();
    let error = fixture.memory.reserve(1 << 62, fixture.residency).err().expect("no such address space");
    assert!(error.is_too_large(), "{error}");
    assert!(fixture.memory.reserve(2 << 20, fixture.residency).is_ok(), "the memory goes on");
}

/// For ever.
pub fn a_span_given_back_makes_room(make: MakeMemory<'_>) {
    let fixture = make();
    for _ in 0..300 {
        drop(fixture.memory.reserve(1 << 40, fixture.residency).expect("what was given back"));
    }
}

/// But not for any number.
pub fn there_is_room_for_some_mappings(make: MakeMemory<'_>) {
    let fixture = make();
    assert!(fixture.memory.has_room_for_mappings(100));
    assert!(!fixture.memory.has_room_for_mappings(1 << 40));
}
