//! What all handles of one open database share: one value a directory and process.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use bigarray_core::Result;

use crate::data::Data;
use crate::index::Index;
use crate::opening::{Guards, Opened};
use crate::snapshot::LmdbSnapshot;

/// An open database. Lives as long as a store or a snapshot of it does.
pub(crate) struct Shared {
    /// The index.
    pub(crate) index: Arc<Index>,
    /// The data file.
    pub(crate) data: Arc<Data>,
    /// Where it is, for messages.
    pub(crate) dir: PathBuf,
    /// The newest committed state, as long as someone looks at it.
    pub(crate) newest: Mutex<Weak<LmdbSnapshot>>,
    /// What opening keeps until all of the above is closed. Last: fields drop in this order.
    pub(crate) guards: Guards,
}

impl Shared {
    /// Takes over what was opened: finds the index's tables and checks its format.
    pub(crate) fn new(opened: Opened) -> Result<Shared> {
        let Opened { env, data_rw, data_ro, dir, explicit_map_size, guards } = opened;
        let index = Index::new(env, &dir, false, explicit_map_size)?;
        Ok(Shared {
            index: Arc::new(index),
            data: Arc::new(Data::new(data_ro, data_rw, &dir, guards.durability().syncs_data())),
            dir,
            newest: Mutex::new(Weak::new()),
            guards,
        })
    }

    /// Refuses in a forked child.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.guards.check_process()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.guards.close(&self.index, self.data.has_failed());
    }
}
