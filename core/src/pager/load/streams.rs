//! Readers that go through the blocks of a span in order, told apart by the blocks that they wait for.

use std::ops::Range;

/// Readers of one span that are told apart.
const STREAMS: usize = 8;

/// A reader that goes through the blocks in order.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The last block that it waited for.
    last: u64,
    /// Blocks before this one are loaded, or being loaded, already.
    next: u64,
    /// Storage was told of the blocks before this one.
    told: u64,
}

/// How far to look ahead of a reader in order, in blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// These are loaded.
    pub(crate) load: u64,
    /// Storage is told of these.
    pub(crate) tell: u64,
}

/// The blocks ahead of a reader that were not thought of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// To be loaded.
    pub(crate) load: Range<u64>,
    /// To tell storage of.
    pub(crate) tell: Range<u64>,
}

/// The readers of one span, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Streams(Vec<Stream>);

impl Streams {
    /// A reader waits for `block`. What to do about the blocks behind it, if the reader goes in order, or if `in_order`
    /// says that all do.
    pub(crate) fn follow(&mut self, block: u64, reach: Reach, in_order: bool) -> Ahead {
        let at = self.0.iter().position(|s| s.last < block && block <= s.last.saturating_add(reach.load).max(s.next));
        let stream = at.map(|at| self.0.remove(at));
        let is_in_order = stream.is_some() || in_order;
        let behind = |before: Option<u64>, reach: u64| {
            let start = before.map_or(block + 1, |before| before.max(block + 1));
            let end = if is_in_order { (block + 1).saturating_add(reach) } else { start };
            start..end.max(start)
        };
        let load = behind(stream.map(|stream| stream.next), reach.load);
        let tell = behind(stream.map(|stream| stream.told), reach.tell);
        if self.0.len() == STREAMS {
            self.0.remove(0);
        }
        self.0.push(Stream { last: block, next: load.end, told: tell.end });
        Ahead { load, tell }
    }

    /// Whether `block` is among those that are being loaded ahead.
    pub(crate) fn is_ahead(&self, block: u64) -> bool {
        self.0.iter().any(|stream| stream.last < block && block < stream.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach { load: 4, tell: 10 };

    fn load(streams: &mut Streams, block: u64, in_order: bool) -> Range<u64> {
        streams.follow(block, REACH, in_order).load
    }

    #[test]
    fn a_reader_in_order_has_the_next_blocks_loaded_once() {
        let mut streams = Streams::default();
        assert!(load(&mut streams, 5, false).is_empty());
        assert_eq!(load(&mut streams, 6, false), 7..11);
        assert_eq!(load(&mut streams, 8, false), 11..13);
        assert!(streams.is_ahead(12) && !streams.is_ahead(13) && !streams.is_ahead(8));
        assert_eq!(load(&mut streams, 13, false), 14..18);
    }

    #[test]
    fn a_reader_that_jumps_has_nothing_loaded_unless_order_is_expected() {
        let mut streams = Streams::default();
        assert!(load(&mut streams, 50, false).is_empty());
        assert!(load(&mut streams, 10, false).is_empty());
        assert!(load(&mut streams, 30, false).is_empty());
        assert_eq!(load(&mut streams, 90, true), 91..95);
    }

    #[test]
    fn several_readers_are_told_apart() {
        let mut streams = Streams::default();
        load(&mut streams, 0, false);
        load(&mut streams, 100, false);
        assert_eq!(load(&mut streams, 1, false), 2..6);
        assert_eq!(load(&mut streams, 101, false), 102..106);
        assert_eq!(load(&mut streams, 2, false), 6..7);
    }

    #[test]
    fn storage_is_told_of_each_block_ahead_once() {
        let mut streams = Streams::default();
        let mut tell = |block| streams.follow(block, REACH, false).tell;
        assert!(tell(5).is_empty());
        assert_eq!([tell(6), tell(8), tell(13)], [7..17, 17..19, 19..24]);
        assert!(tell(90).is_empty());
    }
}
