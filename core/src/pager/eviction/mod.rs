//! Memory that gives way: the budget, which block is evicted, and how a block that was written to is spilled.

pub(crate) mod budget;
pub(crate) mod evict;
pub(crate) mod flush;
pub(crate) mod ghosts;
pub(crate) mod policy;
pub(crate) mod spills;
pub(crate) mod writers;

use std::sync::Arc;

use crate::memory::Protect;

/// What only this room reaches of a pager.
pub(super) struct EvictionPart {
    span: Arc<dyn Protect>,
}

impl EvictionPart {
    pub(super) fn new(span: Arc<dyn Protect>) -> EvictionPart {
        EvictionPart { span }
    }
}
