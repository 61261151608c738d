//! What the memory and all of its spans share: it lives as long as any of them.

use std::fs::File;
use std::sync::Arc;

use bigarray_core::Result;
use bigarray_process::Unshared;
use userfaultfd::Uffd;

use crate::aside::Aside;
use crate::limits::MappingCount;
use crate::monitor::Shared;
use crate::pagemap::{PageTable, Reader};
use crate::probe::Source;
use crate::threads::Threads;

/// What lives as long as the memory or one of its spans.
pub(crate) struct Inner {
    // Stops the threads when dropped.
    pub(crate) threads: Threads,
    pub(crate) shared: Arc<Shared>,
    pub(crate) mappings: MappingCount,
    pub(crate) page_table: PageTable,
    /// The asynchronous userfaultfd; `None` where nothing can be tracked.
    pub(crate) write_tracking: Option<Unshared<Uffd>>,
    /// Whether pages can be [taken out](crate::aside) of spans.
    pub(crate) moves: bool,
    pub(crate) aside: Aside,
    /// A file without a byte: what is mapped of it cannot be accessed.
    pub(crate) empty: File,
    pub(crate) source: Option<Source>,
    pub(crate) reader: Reader,
    pub(crate) resolvers: usize,
    pub(crate) description: String,
}

impl Inner {
    /// Refuses in a forked child.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.shared.origin.check("the memory of a database")
    }
}
