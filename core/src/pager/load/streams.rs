//! Readers that go through the blocks of a span in order, told apart by the blocks that they wait for.

/// Readers of one span that are told apart.
const STREAMS: usize = 8;

/// A reader that goes through the blocks in order.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The last block that it waited for.
    last: u64,
    /// Blocks before this one are loaded, or being loaded, already.
    next: u64,
}

/// The readers of one span, the latest last.
#[derive(Debug, Default)]
pub(crate) struct Streams(Vec<Stream>);

impl Streams {
    /// A reader waits for `block`. The blocks behind it that are to be loaded, if the reader goes in order, or if
    /// `in_order` says that all do.
    pub(crate) fn follow(&mut self, block: u64, most: u64, in_order: bool) -> std::ops::Range<u64> {
        let at = self.0.iter().position(|s| s.last < block && block <= s.last.saturating_add(most).max(s.next));
        let stream = at.map(|at| self.0.remove(at));
        let next = stream.map_or(block + 1, |stream| stream.next.max(block + 1));
        let end = if stream.is_some() || in_order { (block + 1).saturating_add(most) } else { next };
        if self.0.len() == STREAMS {
            self.0.remove(0);
        }
        self.0.push(Stream { last: block, next: end.max(next) });
        next..end.max(next)
    }

    /// Whether `block` is among those that are being loaded ahead.
    pub(crate) fn is_ahead(&self, block: u64) -> bool {
        self.0.iter().any(|stream| stream.last < block && block < stream.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_in_order_has_the_next_blocks_loaded_once() {
        let mut streams = Streams::default();
        assert!(streams.follow(5, 4, false).is_empty());
        assert_eq!(streams.follow(6, 4, false), 7..11);
        assert_eq!(streams.follow(8, 4, false), 11..13);
        assert!(streams.is_ahead(12) && !streams.is_ahead(13) && !streams.is_ahead(8));
        assert_eq!(streams.follow(13, 4, false), 14..18);
    }

    #[test]
    fn a_reader_that_jumps_has_nothing_loaded_unless_order_is_expected() {
        let mut streams = Streams::default();
        assert!(streams.follow(50, 4, false).is_empty());
        assert!(streams.follow(10, 4, false).is_empty());
        assert!(streams.follow(30, 4, false).is_empty());
        assert_eq!(streams.follow(90, 4, true), 91..95);
    }

    #[test]
    fn several_readers_are_told_apart() {
        let mut streams = Streams::default();
        streams.follow(0, 4, false);
        streams.follow(100, 4, false);
        assert_eq!(streams.follow(1, 4, false), 2..6);
        assert_eq!(streams.follow(101, 4, false), 102..106);
        assert_eq!(streams.follow(2, 4, false), 6..7);
    }
}
