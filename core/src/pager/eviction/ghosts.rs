//! Ghost entries: what the eviction policy remembers of blocks that left memory.

use std::collections::{HashMap, VecDeque};

/// The number of a pager, and that of a block of it.
type Key = (u64, u64);

/// What is known of a block that was evicted lately.
#[derive(Clone, Copy)]
pub(crate) struct Ghost {
    /// How often it was used, as far as is known, while all of memory was replaced once.
    pub(crate) uses: f32,
    /// How many blocks had come when it went.
    pub(crate) at: u64,
}

/// Blocks evicted lately.
#[derive(Default)]
pub(crate) struct GhostList {
    blocks: HashMap<Key, Ghost>,
    /// In the order in which they went. Those that came back, or went again, stay, and are passed over.
    order: VecDeque<(Key, u64)>,
}

impl GhostList {
    /// Forgets a block that came back.
    pub(crate) fn take(&mut self, block: Key) -> Option<Ghost> {
        self.blocks.remove(&block)
    }

    /// Remembers a block, and at most `most` of all.
    pub(crate) fn insert(&mut self, block: Key, ghost: Ghost, most: usize) {
        self.blocks.insert(block, ghost);
        self.order.push_back((block, ghost.at));
        let GhostList { blocks, order } = self;
        if order.len() > 2 * most {
            order.retain(|(block, at)| blocks.get(block).is_some_and(|ghost| ghost.at == *at));
        }
        while blocks.len() > most
            && let Some((oldest, at)) = order.pop_front()
        {
            if blocks.get(&oldest).is_some_and(|ghost| ghost.at == at) {
                blocks.remove(&oldest);
            }
        }
    }

    /// How many are remembered, and how many entries that takes.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.blocks.len(), self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_and_those_that_came_back_take_no_place() {
        let mut ghosts = GhostList::default();
        let went = |ghosts: &mut GhostList, block, at| ghosts.insert((1, block), Ghost { uses: 0.0, at }, 2);
        went(&mut ghosts, 1, 1);
        went(&mut ghosts, 2, 2);
        assert!(ghosts.take((1, 1)).is_some_and(|ghost| ghost.at == 1) && ghosts.take((1, 1)).is_none());
        went(&mut ghosts, 3, 3);
        assert_eq!(ghosts.sizes().0, 2);
        went(&mut ghosts, 2, 4); // gone again: it is the latest now
        went(&mut ghosts, 4, 5);
        assert!(ghosts.take((1, 3)).is_none() && ghosts.take((1, 2)).is_some() && ghosts.take((1, 4)).is_some());
        (0..1000).for_each(|at| went(&mut ghosts, at % 2, 6 + at));
        let (remembered, entries) = ghosts.sizes();
        assert!(remembered == 2 && entries <= 2 * 2 + 1, "{entries}");
    }
}
