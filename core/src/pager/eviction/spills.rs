//! The blocks of one span that are being spilled while views live, and whether another one may be.

/// Installed blocks that are being spilled: the table says Loading, and stores to them wait.
#[derive(Default)]
pub(crate) struct Spills {
    /// Nothing is evicted.
    pub(crate) is_pinned: bool,
    blocks: Vec<u64>,
    /// So many blocks are refused before one is spilled again, because the last spill failed.
    refused: u32,
}

impl Spills {
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
    fn after_a_failure_so_many_blocks_are_not_spilled() {
        let mut spills = Spills::default();
        spills.refuse(2);
        assert_eq!([(); 4].map(|()| spills.admits()), [false, false, true, true]);
    }
}
