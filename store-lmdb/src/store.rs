//! The store as core sees it.

use std::sync::Arc;

use bigarray_core::Result;
use bigarray_core::store::{Change, Committed, Snapshot, Store, Turn};

use crate::opening;
use crate::options::Options;
use crate::shared::Shared;
use crate::snapshot::LmdbSnapshot;

/// An open database.
pub struct LmdbStore {
    pub(crate) shared: Arc<Shared>,
    read_only: bool,
}

impl LmdbStore {
    /// Opens the database that `options` describe, or creates it.
    ///
    /// # Errors
    /// Whatever keeps it from being opened, naming the path.
    pub fn open(options: &Options) -> Result<Arc<LmdbStore>> {
        let shared = opening::open(options)?;
        Ok(Arc::new(LmdbStore { shared, read_only: options.read_only }))
    }
}
