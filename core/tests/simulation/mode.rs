//! What the simulation runs with.

use bigarray_testing::Versions;

/// What a run meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mode {
    pub(crate) copy: bool,
    pub(crate) faults: bool,
    pub(crate) kernel_faults: bool,
    pub(crate) mappings: usize,
    pub(crate) produced: u64,
    /// Blocks of memory of their own that all spans may have; 0 is any number.
    pub(crate) budget: usize,
    pub(crate) compressed: bool,
    /// The system merges equal pages.
    pub(crate) merges: bool,
    /// Devices store to pages that are held back, or would be.
    pub(crate) devices: bool,
    /// Pages can be taken out, and those that devices store to stay.
    pub(crate) moves: bool,
    /// Steps of a transaction at most.
    pub(crate) steps: usize,
    pub(crate) versions: Versions,
    /// Look-ups may block, so that the monitor asks nothing.
    pub(crate) lookups_may_block: bool,
    /// As a rule files have what is produced.
    pub(crate) caches: bool,
    /// The store is unavailable to faults now and then.
    pub(crate) hiccups: bool,
    /// Arrays have the fill value `FILL`.
    pub(crate) fill: bool,
}

/// Blocks are mapped, all faults arrive, nothing is short.
pub(crate) const MAP: Mode = Mode {
    copy: false,
    faults: true,
    kernel_faults: true,
    mappings: 60_000,
    produced: 0,
    budget: 0,
    compressed: false,
    merges: false,
    devices: false,
    moves: true,
    steps: 4,
    versions: Versions::Numbers,
    lookups_may_block: false,
    caches: false,
    hiccups: false,
    fill: false,
};
