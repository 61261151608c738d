//! The loads of one span: which blocks each has, and whether it is queued.

use std::ops::Range;

/// Blocks that are being loaded, and the number of the load. A load that steals them has another number.
struct Run {
    load: u64,
    blocks: Range<u64>,
    /// The load is queued: a thread that needs one of the blocks may steal it.
    is_queued: bool,
}

/// Runs being loaded, apart from each other.
#[derive(Default)]
pub(crate) struct Loading {
    runs: Vec<Run>,
    /// Loads there were so far.
    loads: u64,
}

impl Loading {
    pub(crate) fn has(&self, block: u64) -> bool {
        self.runs.iter().any(|run| run.blocks.contains(&block))
    }

    /// A load of `block` and its neighbours in `around`, as far as no other load has them. Returns its number, and what
    /// it is to load.
    pub(crate) fn start(&mut self, block: u64, around: Range<u64>) -> (u64, Range<u64>) {
        let blocks = self.runs.iter().map(|other| &other.blocks).fold(around, |run, other| {
            if other.start > block { run.start..run.end.min(other.start) } else { run.start.max(other.end)..run.end }
        });
        self.loads += 1;
        self.runs.push(Run { load: self.loads, blocks: blocks.clone(), is_queued: false });
        (self.loads, blocks)
    }

    fn run_of(&mut self, load: u64) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.load == load)
    }

    /// The load waits in a queue from here on.
    pub(crate) fn enqueue(&mut self, load: u64) {
        if let Some(run) = self.run_of(load) {
            run.is_queued = true;
        }
    }

    /// The load runs from here on. `false` if there is nothing for it to do: its blocks are not needed, or were stolen.
    pub(crate) fn dequeue(&mut self, load: u64) -> bool {
        self.run_of(load).map(|run| run.is_queued = false).is_some()
    }

    /// Another load in place of the one of `block`, if that is queued. What storage told the queued one may not be so
    /// any more by the time it is dequeued: the block may have been spilled, and be loading again.
    pub(crate) fn steal(&mut self, block: u64) -> Option<(u64, Range<u64>)> {
        let run = self.runs.iter_mut().find(|run| run.is_queued && run.blocks.contains(&block))?;
        self.loads += 1;
        (run.load, run.is_queued) = (self.loads, false);
        Some((run.load, run.blocks.clone()))
    }

    /// Loading → Missing, for what was not installed meanwhile.
    pub(crate) fn finish(&mut self, load: u64) {
        self.runs.retain(|run| run.load != load);
    }

    /// Loading → Missing for all of the load's blocks but `kept`.
    pub(crate) fn narrow(&mut self, load: u64, kept: &Range<u64>) {
        if let Some(run) = self.run_of(load) {
            run.blocks = kept.clone();
        }
    }

    /// Drops all loads in flight.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queued_load_is_stolen_once() {
        let mut loading = Loading::default();
        let (load, blocks) = loading.start(3, 3..4);
        assert_eq!(loading.steal(3), None);
        loading.enqueue(load);
        let (taken, same) = loading.steal(3).unwrap();
        assert_eq!((same, loading.steal(3)), (blocks, None));
        // The queued load neither runs nor ends what was stolen, also when the block is to be loaded once more.
        assert!(!loading.dequeue(load));
        loading.finish(load);
        assert!(loading.has(3));
        loading.finish(taken);
        let (again, _) = loading.start(3, 3..4);
        loading.enqueue(again);
        assert!(!loading.dequeue(load) && loading.dequeue(again));
        loading.finish(again);
        assert!(!loading.has(3));
    }
}
