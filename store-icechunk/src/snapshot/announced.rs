//! Blocks that are going to be read: announced, and fetched as a reader comes near.

use std::collections::VecDeque;
use std::ops::Range;

use bigarray_core::sync::FaultMutex;
use bigarray_core::{ArrayId, BlockNo};

/// Announcements that are remembered, the latest last.
const ANNOUNCED: usize = 16;

/// Blocks that were announced and are not fetched yet.
#[derive(Default)]
pub(super) struct Announced(FaultMutex<VecDeque<Rest>>);

struct Rest {
    array: ArrayId,
    blocks: Range<u64>,
    by_mapping: bool,
}

impl Announced {
    pub(super) fn push(&self, array: ArrayId, blocks: Range<u64>, by_mapping: bool) {
        let mut all = self.0.lock();
        if all.len() == ANNOUNCED {
            all.pop_front();
        }
        all.push_back(Rest { array, blocks, by_mapping });
    }

    /// What a read of `block` brings near: the next blocks of an announcement that begins within `window` behind it, and
    /// whether they are to be mapped.
    pub(super) fn near(&self, array: ArrayId, block: BlockNo, window: u64) -> Option<(Range<u64>, bool)> {
        let mut all = self.0.lock();
        let is_near = |rest: &Rest| rest.array == array && (block.0..block.0 + window).contains(&rest.blocks.start);
        let at = all.iter().position(is_near)?;
        let Rest { blocks, by_mapping, .. } = &mut all[at];
        let by_mapping = *by_mapping;
        let near = blocks.start..(blocks.start + window.div_ceil(2)).min(blocks.end);
        blocks.start = near.end;
        if blocks.is_empty() {
            all.remove(at);
        }
        Some((near, by_mapping))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_comes_near_piece_by_piece() {
        let (announced, array) = (Announced::default(), ArrayId(7));
        announced.push(array, 10..25, true);
        let near = |block| announced.near(array, BlockNo(block), 8).map(|(near, _)| near);
        assert_eq!(near(1), None);
        assert_eq!(announced.near(ArrayId(8), BlockNo(9), 8), None);
        assert_eq!(near(3), Some(10..14));
        assert_eq!(near(4), None);
        assert_eq!(near(13), Some(14..18));
        assert_eq!(near(14), Some(18..22));
        assert_eq!(near(20), Some(22..25));
        assert_eq!(near(24), None);
    }

    #[test]
    fn the_latest_announcements_are_remembered() {
        let announced = Announced::default();
        for array in 0..100 {
            announced.push(ArrayId(array), 1..2, array % 2 == 0);
        }
        assert_eq!(announced.near(ArrayId(99 - ANNOUNCED as u64), BlockNo(0), 8), None);
        assert_eq!(announced.near(ArrayId(100 - ANNOUNCED as u64), BlockNo(0), 8), Some((1..2, true)));
    }
}
