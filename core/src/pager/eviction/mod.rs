//! Memory that gives way: the budget, which block is evicted, and how a block that was written to is spilled.

pub(crate) mod budget;
pub(crate) mod evict;
pub(crate) mod flush;
pub(crate) mod policy;
