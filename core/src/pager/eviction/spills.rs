//! The blocks of one span that are being spilled while views live, and whether another one may be.

/// Installed blocks that are being spilled: the table says Loading, and stores to them wait.
#[derive(Default)]
pub(crate) struct Spills {
    /// How many threads need all to stay: while there are any nothing is evicted.
    pins: usize,
    blocks: Vec<u64>,
    /// So many blocks are refused before one is spilled again, because the last spill failed.
    refused: u32,
}

impl Spills {
    /// Nothing is evicted until this is [taken back](Spills::unpin), or the span is released.
    pub(crate) fn pin(&mut self) {
        self.pins += 1;
    }

    pub(crate) fn unpin(&mut self) {
        self.pins -= 1;
    }

    /// No thread needs anything of the span any more.
    pub(crate) fn unpin_all(&mut self) {
        self.pins = 0;
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pins > 0
    }

    pub(crate) fn begin(&mut self, block: u64) {
        self.blocks.push(block);
    }

    pub(crate) fn end(&mut self, block: u64) {
        self.blocks.retain(|other| *other != block);
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.blocks.contains(&block)
    }

    pub(crate) fn is_any(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The next `blocks` blocks are not to be spilled.
    pub(crate) fn refuse(&mut self, blocks: u32) {
        self.refused = blocks;
    }

    /// Whether a block may be spilled, or is one of those [refused](Spills::refuse).
    pub(crate) fn admits(&mut self) -> bool {
        let admits = self.refused == 0;
        self.refused = self.refused.saturating_sub(1);
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_pinned_stays_until_both_are_done() {
        let mut spills = Spills::default();
        spills.pin();
        spills.pin();
        spills.unpin();
        assert!(spills.is_pinned());
        spills.unpin();
        assert!(!spills.is_pinned());
    }

    #[test]
    fn after_a_failure_so_many_blocks_are_not_spilled() {
        let mut spills = Spills::default();
        spills.refuse(2);
        assert_eq!([(); 4].map(|()| spills.admits()), [false, false, true, true]);
    }
}
