//! Loading: the life of a fault, how far one reaches, and what is laid into memory.

pub(crate) mod ahead;
pub(crate) mod fault;
pub(crate) mod futile;
pub(crate) mod install;
pub(crate) mod loading;
pub(crate) mod plan;
pub(crate) mod prefetch;
pub(crate) mod progress;
pub(crate) mod readahead;
pub(crate) mod resident;
pub(crate) mod streams;

use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crate::memory::Install;
use crate::pager::Access;

/// What only this room reaches of a pager.
pub(super) struct LoadPart {
    span: Arc<dyn Install>,
    /// What accesses to expect.
    access: AtomicU8,
}

impl LoadPart {
    pub(super) fn new(span: Arc<dyn Install>) -> LoadPart {
        LoadPart { span, access: AtomicU8::new(Access::Normal as u8) }
    }
}
