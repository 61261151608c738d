//! The page map: which bytes of an array come from where. One algebra for what a record stores, what lies over it, what
//! moved, and what one call lays into memory.

use std::ops::Range;

use crate::descriptor::Version;
use crate::geometry::{BlockNo, BlockSize, PAGE, page_range};
use crate::store::{BlockRecord, Origin, Segment};

/// Bytes of an array, whole pages, with one origin: that of the first one; the others follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) bytes: Range<usize>,
    pub(crate) origin: Origin,
}

impl Piece {
    /// The bytes of this piece that lie in `bytes`; `None` if there are none.
    pub(crate) fn within(&self, bytes: &Range<usize>) -> Option<Piece> {
        let bytes = self.bytes.start.max(bytes.start)..self.bytes.end.min(bytes.end);
        let origin = self.origin.after(bytes.start.saturating_sub(self.bytes.start));
        (!bytes.is_empty()).then_some(Piece { bytes, origin })
    }
}

/// Pieces of an array, ascending and apart, as few as there can be: neighbours that continue each other are one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageMap(Vec<Piece>);

impl PageMap {
    /// The pages of `block` as `record` has them. Without a record they are a hole.
    pub(crate) fn of_block(block: u64, record: Option<&BlockRecord>, block_size: BlockSize) -> PageMap {
        PageMap::of_blocks([(block, record)], block_size)
    }

    /// The pages of blocks, ascending, as their records have them.
    pub(crate) fn of_blocks<'r>(
        blocks: impl IntoIterator<Item = (u64, Option<&'r BlockRecord>)>,
        block_size: BlockSize,
    ) -> PageMap {
        let mut map = PageMap::default();
        for (block, record) in blocks {
            let bytes = block_size.range_of(BlockNo(block));
            match record {
                None => map.push(Piece { bytes, origin: Origin::Hole }),
                Some(record) => {
                    for Segment { pages, origin } in &record.segments {
                        map.push(Piece { bytes: page_range(bytes.start, pages), origin: *origin });
                    }
                }
            }
        }
        map
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The pages of `bytes`.
    pub(crate) fn within<'m>(&'m self, bytes: &'m Range<usize>) -> impl Iterator<Item = Piece> + 'm {
        let first = self.0.partition_point(|piece| piece.bytes.end <= bytes.start);
        self.0[first..].iter().map_while(|piece| piece.within(bytes))
    }

    /// Lays `piece` over what the map has.
    pub(crate) fn overlay(&mut self, piece: Piece) {
        let mut laid = PageMap(Vec::with_capacity(self.0.len() + 2));
        self.within(&(0..piece.bytes.start)).for_each(|before| laid.push(before));
        let end = piece.bytes.end;
        laid.push(piece);
        self.within(&(end..usize::MAX)).for_each(|behind| laid.push(behind));
        *self = laid;
    }

    /// The pages of `newer` that this map has from elsewhere. Both have the same bytes.
    pub(crate) fn diff(&self, newer: &PageMap) -> PageMap {
        let mut differ = PageMap::default();
        for piece in &newer.0 {
            for before in self.within(&piece.bytes) {
                if let Some(now) = piece.within(&before.bytes).filter(|now| now.origin != before.origin) {
                    differ.push(now);
                }
            }
        }
        differ
    }

    /// The record of the block that begins at byte `start`, which the map has all pages of.
    pub(crate) fn into_record(self, version: Version, start: usize) -> BlockRecord {
        let page = |byte: usize| ((byte - start) / PAGE) as u32;
        debug_assert!(self.0.windows(2).all(|pair| pair[0].bytes.end == pair[1].bytes.start), "{self:?} has gaps");
        let segments = self.0.into_iter().map(|Piece { bytes, origin }| {
            let pages = page(bytes.start)..page(bytes.end);
            Segment { pages, origin }
        });
        BlockRecord { version, segments: segments.collect() }
    }

    /// Adds `new`, behind all pieces so far.
    fn push(&mut self, new: Piece) {
        match self.0.last_mut() {
            _ if new.bytes.is_empty() => {}
            Some(last) if last.bytes.end == new.bytes.start && last.origin.after(last.bytes.len()) == new.origin => {
                last.bytes.end = new.bytes.end;
            }
            _ => self.0.push(new),
        }
    }
}

impl BlockRecord {
    /// The record of a block of `pages`, of which `stored` (ascending, disjoint) are stored. The other pages are a hole.
    /// Neighbours that continue each other become one segment.
    pub fn new(version: Version, pages: u32, stored: impl IntoIterator<Item = Segment>) -> BlockRecord {
        let stored = stored.into_iter();
        // As a rule there is one segment, of all pages.
        let mut map = PageMap(Vec::with_capacity(stored.size_hint().0));
        let mut push = |pages, origin| map.push(Piece { bytes: page_range(0, &pages), origin });
        let mut at = 0;
        for Segment { pages, origin } in stored {
            push(at..pages.start, Origin::Hole);
            at = pages.end;
            push(pages, origin);
        }
        push(at..pages, Origin::Hole);
        map.into_record(version, 0)
    }
}

/// Whether all of a block is a hole, as far as storage knows.
pub(crate) fn is_hole(record: Option<&BlockRecord>) -> bool {
    record.is_none_or(BlockRecord::is_hole)
}

/// Whether both blocks are one extent each, and `next`, the block behind, begins in the file where `last` ends.
pub(crate) fn follows(last: &BlockRecord, next: &BlockRecord, block_size: BlockSize) -> bool {
    match (&last.segments[..], &next.segments[..]) {
        ([a], [b]) => matches!(b.origin, Origin::Extent(_)) && a.origin.after(block_size.bytes()) == b.origin,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bigarray_testing::Rng;

    const SIZE: BlockSize = BlockSize::MIN;
    const PAGES: u32 = SIZE.pages();

    /// The model: the origin of each page.
    type List = Vec<Origin>;

    /// Few different places, so that pieces often continue each other.
    fn any_origin(rng: &mut Rng) -> Origin {
        match rng.below(4) {
            0 => Origin::Hole,
            1 => Origin::Produced,
            _ => Origin::Extent((rng.below(2 * PAGES as usize) * PAGE) as u64),
        }
    }

    fn any_pages(rng: &mut Rng) -> Range<u32> {
        let start = rng.below(PAGES as usize) as u32;
        start..start + 1 + rng.below((PAGES - start) as usize) as u32
    }

    fn lay(list: &mut [Origin], pages: &Range<u32>, origin: Origin) {
        for page in pages.clone() {
            list[page as usize] = origin.after((page - pages.start) as usize * PAGE);
        }
    }

    /// A list, and the map that the same overlays of a hole make.
    fn any(rng: &mut Rng, block: u64) -> (List, PageMap) {
        let mut list = vec![Origin::Hole; PAGES as usize];
        let mut map = PageMap::of_block(block, None, SIZE);
        for _ in 0..rng.below(8) {
            let (pages, origin) = (any_pages(rng), any_origin(rng));
            lay(&mut list, &pages, origin);
            map.overlay(Piece { bytes: page_range(SIZE.start_of(BlockNo(block)), &pages), origin });
        }
        (list, map)
    }

    /// The fewest pieces with the pages of the lists of blocks from `first` on.
    fn pieces(lists: &[List], first: u64) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let start = SIZE.start_of(BlockNo(first));
        for (page, &origin) in lists.iter().flatten().enumerate() {
            let bytes = start + page * PAGE..start + (page + 1) * PAGE;
            match pieces.last_mut() {
                Some(last) if last.origin.after(last.bytes.len()) == origin => last.bytes.end = bytes.end,
                _ => pieces.push(Piece { bytes, origin }),
            }
        }
        pieces
    }

    #[test]
    fn overlays_and_records_are_those_of_a_plain_list() {
        for seed in 0..2000 {
            let rng = &mut Rng::new(seed);
            let block = rng.below(3) as u64;
            let (list, map) = any(rng, block);
            assert_eq!(map.pieces(), pieces(std::slice::from_ref(&list), block), "seed {seed}");
            let record = map.clone().into_record(Version(7), SIZE.start_of(BlockNo(block)));
            assert_eq!((record.version, record.segments.last().unwrap().pages.end), (Version(7), PAGES));
            assert_eq!(PageMap::of_block(block, Some(&record), SIZE), map, "seed {seed}");
            let pages = any_pages(rng);
            let bytes = page_range(SIZE.start_of(BlockNo(block)), &pages);
            let within: Vec<Origin> = map
                .within(&bytes)
                .flat_map(|piece| (0..piece.bytes.len()).step_by(PAGE).map(move |byte| piece.origin.after(byte)))
                .collect();
            assert_eq!(within, list[pages.start as usize..pages.end as usize], "seed {seed}");
        }
    }

    #[test]
    fn a_difference_has_the_pages_that_a_plain_list_has_elsewhere() {
        for seed in 0..2000 {
            let rng = &mut Rng::new(seed);
            let ((old, before), (mut new, mut after)) = (any(rng, 0), any(rng, 0));
            if rng.one_in(2) {
                // The same but for some pages.
                (new, after) = (old.clone(), before.clone());
                let (pages, origin) = (any_pages(rng), any_origin(rng));
                lay(&mut new, &pages, origin);
                after.overlay(Piece { bytes: page_range(0, &pages), origin });
            }
            let differ = before.diff(&after);
            let mut found = vec![None; PAGES as usize];
            for piece in differ.pieces() {
                for byte in piece.bytes.clone().step_by(PAGE) {
                    found[byte / PAGE] = Some(piece.origin.after(byte - piece.bytes.start));
                }
            }
            let expected: Vec<Option<Origin>> =
                old.iter().zip(&new).map(|(old, new)| (old != new).then_some(*new)).collect();
            assert_eq!(found, expected, "seed {seed}");
            for pair in differ.pieces().windows(2) {
                let [last, next] = pair else { unreachable!() };
                let continues =
                    last.bytes.end == next.bytes.start && last.origin.after(last.bytes.len()) == next.origin;
                assert!(!continues, "seed {seed}: {differ:?}");
            }
        }
    }

    #[test]
    fn pieces_of_several_blocks_are_the_fewest() {
        for seed in 0..500 {
            let rng = &mut Rng::new(seed);
            let first = rng.below(3) as u64;
            let blocks: Vec<(List, PageMap)> = (first..).take(1 + rng.below(4)).map(|block| any(rng, block)).collect();
            let (lists, maps): (Vec<List>, Vec<PageMap>) = blocks.into_iter().unzip();
            let records: Vec<BlockRecord> = (first..)
                .zip(maps)
                .map(|(block, map)| map.into_record(Version(1), SIZE.start_of(BlockNo(block))))
                .collect();
            let map = PageMap::of_blocks((first..).zip(records.iter().map(Some)), SIZE);
            assert_eq!(map.pieces(), pieces(&lists, first), "seed {seed}");
        }
    }

    #[test]
    fn blocks_that_follow_each_other_in_the_file_are_one_piece() {
        let record = |origin| BlockRecord { version: Version(1), segments: vec![Segment { pages: 0..PAGES, origin }] };
        let (a, b) = (record(Origin::Extent(0)), record(Origin::Extent(SIZE.bytes() as u64)));
        assert!(follows(&a, &b, SIZE) && !follows(&b, &a, SIZE));
        let hole = record(Origin::Hole);
        assert!(!follows(&hole, &hole, SIZE) && !follows(&a, &hole, SIZE));
        let pieces = PageMap::of_blocks([(4, Some(&a)), (5, Some(&b)), (6, None), (7, Some(&hole))], SIZE);
        let bytes = |blocks: Range<u64>| SIZE.start_of(BlockNo(blocks.start))..SIZE.start_of(BlockNo(blocks.end));
        let expected = [
            Piece { bytes: bytes(4..6), origin: Origin::Extent(0) },
            Piece { bytes: bytes(6..8), origin: Origin::Hole },
        ];
        assert_eq!(pieces.pieces(), expected);
    }
}
