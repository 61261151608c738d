//! Laying new pages of a block over its stored segments. Pure.

use std::ops::Range;

use crate::alloc::Run;
use crate::record::{StoredSegment, Unit, units_of};

/// The result of [`lay_over`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    /// The segments of the block: ascending, disjoint, joined where they are consecutive in the file.
    pub(super) segments: Vec<StoredSegment>,
    /// Runs to which only the old segments referred.
    pub(super) freed: Vec<Run>,
}

/// Lays `new` over `old`. All pages in `changed` (ascending, disjoint) are replaced: by those of `new` (ascending, inside
/// `changed`), or else by holes. A compressed block is kept until all of its pages are replaced.
pub(super) fn lay_over(old: &[StoredSegment], changed: &[Range<u32>], new: &[StoredSegment]) -> Overlay {
    let mut kept = Vec::with_capacity(old.len() + changed.len() + new.len());
    let mut freed = Vec::new();
    for segment in old {
        let mut at = segment.first;
        let from = changed.partition_point(|c| c.end <= segment.first);
        for change in changed[from..].iter().take_while(|c| c.start < segment.end()) {
            let (start, end) = (change.start.max(segment.first), change.end.min(segment.end()));
            kept.extend(part(segment, at..start));
            freed.extend(part(segment, start..end).and_then(|s| s.run()));
            at = end;
        }
        kept.extend(part(segment, at..segment.end()));
    }
    kept.extend_from_slice(new);
    kept.sort_unstable_by_key(|s| s.first);
    kept.dedup_by(|next, before| {
        let joins = before.end() == next.first && joins(before, next);
        if joins {
            before.pages += next.pages;
        }
        joins
    });
    let units = units_of(&kept);
    freed.extend(units_of(old).iter().filter(|unit| !units.contains(unit)).flat_map(Unit::runs));
    Overlay { segments: kept, freed }
}

/// The parts of `run` that are in none of `others`, which are sorted and apart.
pub(super) fn without(run: Run, others: &[Run]) -> Vec<Run> {
    let from = others.partition_point(|other| (other.chunk, other.end()) <= (run.chunk, run.first));
    let mut parts = Vec::new();
    let mut first = run.first;
    for other in others[from..].iter().take_while(|other| (other.chunk, other.first) < (run.chunk, run.end())) {
        if first < other.first {
            parts.push(Run { first, pages: other.first - first, ..run });
        }
        first = other.end();
    }
    if first < run.end() {
        parts.push(Run { first, pages: run.end() - first, ..run });
    }
    parts
}

/// Whether two segments that are consecutive in the block are consecutive in the file, too.
fn joins(before: &StoredSegment, next: &StoredSegment) -> bool {
    match (before.run(), next.run()) {
        (Some(before), Some(next)) => before.chunk == next.chunk && before.end() == next.first,
        _ => before.location == next.location,
    }
}

/// Some pages of a segment; `None` if there are none.
fn part(segment: &StoredSegment, pages: Range<u32>) -> Option<StoredSegment> {
    (!pages.is_empty()).then(|| segment.part(pages))
}

#[cfg(test)]
mod tests {
    use bigarray_core::PAGE;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Algorithm, Encoding, Packed};

    const PAGES: u32 = 64;

    fn segment(first: u32, chunk: u64, page: u16, pages: u16) -> StoredSegment {
        StoredSegment::plain(first, Run { chunk, first: page, pages })
    }

    fn lay_over_one(old: &[StoredSegment], changed: Range<u32>, new: &[StoredSegment]) -> Overlay {
        lay_over(old, std::slice::from_ref(&changed), new)
    }

    /// For each page of the block, the page of the file that it is stored in.
    fn pages_of(segments: &[StoredSegment]) -> Vec<Option<(u64, u16)>> {
        let mut pages = vec![None; PAGES as usize];
        for s in segments {
            let run = s.run().unwrap();
            for i in 0..run.pages {
                let page = &mut pages[s.first as usize + usize::from(i)];
                assert_eq!(*page, None, "two segments hold one page");
                *page = Some((run.chunk, run.first + i));
            }
        }
        pages
    }

    #[test]
    fn a_page_in_the_middle_splits_a_segment_in_three() {
        let one = lay_over_one(&[segment(0, 7, 100, 64)], 10..11, &[segment(10, 9, 3, 1)]);
        assert_eq!(one.segments, [segment(0, 7, 100, 10), segment(10, 9, 3, 1), segment(11, 7, 111, 53)]);
        assert_eq!(one.freed, [Run { chunk: 7, first: 110, pages: 1 }]);
    }

    #[test]
    fn a_run_without_others_is_what_lies_between_them() {
        let run = |first, pages| Run { chunk: 7, first, pages };
        let others = [Run { chunk: 6, first: 10, pages: 9 }, run(0, 10), run(12, 3), run(20, 10), run(40, 2)];
        assert_eq!(without(run(10, 15), &others), [run(10, 2), run(15, 5)]);
        assert_eq!(without(run(21, 9), &others), []);
        assert_eq!(without(run(28, 14), &others), [run(30, 10)]);
        assert_eq!(without(run(30, 10), &others), [run(30, 10)]);
        assert_eq!(without(Run { chunk: 8, first: 0, pages: 50 }, &others), [Run { chunk: 8, first: 0, pages: 50 }]);
    }

    #[test]
    fn zeros_over_all_leave_nothing() {
        let none = lay_over_one(&[segment(3, 7, 100, 2), segment(9, 7, 0, 4)], 0..64, &[]);
        assert_eq!(none.segments, []);
        assert_eq!(none.freed.len(), 2);
    }

    #[test]
    fn segments_that_are_consecutive_in_the_file_are_joined() {
        let joined = lay_over_one(&[segment(0, 7, 100, 4)], 4..8, &[segment(4, 7, 104, 4)]);
        assert_eq!(joined.segments, [segment(0, 7, 100, 8)]);
    }

    /// A whole block, compressed to `pages`.
    fn unit(chunk: u64, page: u16, pages: u32) -> StoredSegment {
        let encoding = Encoding { algorithm: Algorithm::Lz4, shuffled_by: 8 };
        let packed = Packed { encoding, bytes: pages * PAGE as u32 - 5, sum: 7 };
        StoredSegment::unit(PAGES, Unit { chunk, page, packed })
    }

    #[test]
    fn a_page_over_a_compressed_block_leaves_the_rest_of_it_as_it_is() {
        let packed = unit(7, 100, 30);
        let one = lay_over_one(&[packed], 10..11, &[segment(10, 9, 3, 1)]);
        let (before, after) = (StoredSegment { pages: 10, ..packed }, StoredSegment { first: 11, pages: 53, ..packed });
        assert_eq!(one.segments, [before, segment(10, 9, 3, 1), after]);
        assert_eq!(one.freed, []);
        // A hole in it frees nothing; the page laid over it is freed by the next one.
        let two = lay_over(&one.segments, &[2..4, 10..12], &[segment(10, 9, 8, 2)]);
        assert_eq!(two.segments.len(), 4);
        assert_eq!(two.freed, [Run { chunk: 9, first: 3, pages: 1 }]);
    }

    #[test]
    fn a_compressed_block_is_freed_when_its_last_page_is_replaced() {
        let most = lay_over_one(&[unit(7, 500, 30)], 1..64, &[segment(1, 9, 3, 63)]);
        assert_eq!((most.segments.len(), most.freed.len()), (2, 0));
        let all = lay_over_one(&most.segments, 0..1, &[]);
        assert_eq!(all.segments, [segment(1, 9, 3, 63)]);
        // It lies in two chunks.
        let across = [Run { chunk: 7, first: 500, pages: 12 }, Run { chunk: 8, first: 0, pages: 18 }];
        assert_eq!(all.freed, across);
        // It is replaced by another compressed block, at once or after parts of it.
        assert_eq!(lay_over_one(&[unit(7, 500, 30)], 0..64, &[unit(8, 0, 3)]).freed, across);
        let anew = lay_over_one(&most.segments, 0..64, &[unit(8, 40, 3)]);
        assert_eq!(anew.segments, [unit(8, 40, 3)]);
        assert_eq!(anew.freed, [&[Run { chunk: 9, first: 3, pages: 63 }][..], &across].concat());
    }

    /// Ranges of pages, ascending and disjoint, and for each whether it has bytes.
    fn ranges() -> impl Strategy<Value = Vec<(Range<u32>, bool)>> {
        proptest::collection::vec((0..PAGES, any::<bool>()), 0..20).prop_map(|mut cuts| {
            cuts.sort_unstable();
            cuts.dedup_by_key(|c| c.0);
            cuts.chunks_exact(2).map(|c| (c[0].0..c[1].0, c[0].1)).collect()
        })
    }

    fn stored(ranges: &[(Range<u32>, bool)], chunk: u64) -> Vec<StoredSegment> {
        ranges
            .iter()
            .filter(|(_, bytes)| *bytes)
            .map(|(r, _)| segment(r.start, chunk, r.start as u16, r.len() as u16))
            .collect()
    }

    proptest! {
        #[test]
        fn every_page_is_the_new_one_where_changed_and_the_old_one_elsewhere(old in ranges(), new in ranges()) {
            let (old, newer) = (stored(&old, 1), stored(&new, 2));
            let changed: Vec<Range<u32>> = new.iter().map(|(r, _)| r.clone()).collect();
            let over = lay_over(&old, &changed, &newer);

            let (before, now) = (pages_of(&old), pages_of(&over.segments));
            let (laid, mut freed) = (pages_of(&newer), Vec::new());
            for page in 0..PAGES as usize {
                let is_changed = changed.iter().any(|c| c.contains(&(page as u32)));
                prop_assert_eq!(now[page], if is_changed { laid[page] } else { before[page] });
                freed.extend(before[page].filter(|_| is_changed));
            }
            let given: Vec<_> = over.freed.iter().flat_map(|r| (r.first..r.end()).map(|p| (r.chunk, p))).collect();
            prop_assert_eq!(given, freed);
            for pair in over.segments.windows(2) {
                prop_assert!(pair[0].end() <= pair[1].first);
            }
        }
    }
}
