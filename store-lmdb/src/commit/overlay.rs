//! Laying new pages of a block over what is stored of it. Pure.

use std::ops::Range;

use crate::alloc::Run;
use crate::record::StoredSegment;

/// What a block becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    /// Its segments: ascending, apart, joined where they follow each other in the file.
    pub(super) segments: Vec<StoredSegment>,
    /// What of the old ones nothing refers to any more.
    pub(super) freed: Vec<Run>,
}

/// Lays `new` over `old`. All pages in `changed` (ascending, apart) are replaced: by those of `new` (ascending, inside
/// `changed`), or else by holes.
pub(super) fn lay_over(old: &[StoredSegment], changed: &[Range<u32>], new: &[StoredSegment]) -> Overlay {
    let mut kept = Vec::with_capacity(old.len() + changed.len() + new.len());
    let mut freed = Vec::new();
    for segment in old {
        let mut at = segment.first;
        let from = changed.partition_point(|c| c.end <= segment.first);
        for change in changed[from..].iter().take_while(|c| c.start < segment.end()) {
            let (start, end) = (change.start.max(segment.first), change.end.min(segment.end()));
            kept.extend(part(segment, at..start));
            freed.extend(part(segment, start..end).map(|s| s.run));
            at = end;
        }
        kept.extend(part(segment, at..segment.end()));
    }
    kept.extend_from_slice(new);
    kept.sort_unstable_by_key(|s| s.first);
    kept.dedup_by(|next, before| {
        let joins =
            before.end() == next.first && before.run.chunk == next.run.chunk && before.run.end() == next.run.first;
        if joins {
            before.run.pages += next.run.pages;
        }
        joins
    });
    Overlay { segments: kept, freed }
}

/// Some pages of a segment; `None` if there are none.
fn part(segment: &StoredSegment, pages: Range<u32>) -> Option<StoredSegment> {
    let run = &segment.run;
    let first = run.first + (pages.start - segment.first) as u16;
    (!pages.is_empty())
        .then(|| StoredSegment { first: pages.start, run: Run { chunk: run.chunk, first, pages: pages.len() as u16 } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGES: u32 = 64;

    fn segment(first: u32, chunk: u64, page: u16, pages: u16) -> StoredSegment {
        StoredSegment { first, run: Run { chunk, first: page, pages } }
    }

    fn lay_over_one(old: &[StoredSegment], changed: Range<u32>, new: &[StoredSegment]) -> Overlay {
        lay_over(old, std::slice::from_ref(&changed), new)
    }

    /// For each page of the block, the page of the file that it is stored in.
    fn pages_of(segments: &[StoredSegment]) -> Vec<Option<(u64, u16)>> {
        let mut pages = vec![None; PAGES as usize];
        for s in segments {
            for i in 0..s.run.pages {
                let page = &mut pages[s.first as usize + usize::from(i)];
                assert_eq!(*page, None, "two segments hold one page");
                *page = Some((s.run.chunk, s.run.first + i));
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
    fn zeros_over_all_leave_nothing() {
        let none = lay_over_one(&[segment(3, 7, 100, 2), segment(9, 7, 0, 4)], 0..64, &[]);
        assert_eq!(none.segments, []);
        assert_eq!(none.freed.len(), 2);
    }

    #[test]
    fn what_follows_in_the_file_is_joined() {
        let joined = lay_over_one(&[segment(0, 7, 100, 4)], 4..8, &[segment(4, 7, 104, 4)]);
        assert_eq!(joined.segments, [segment(0, 7, 100, 8)]);
    }

    /// Ranges of pages, ascending and apart, each with whether it has bytes.
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
