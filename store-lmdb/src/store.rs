//! The store as core sees it.

use std::sync::Arc;

use bigarray_core::store::{Change, CommitLock, Committed, Snapshot, SpillArea, Store};
use bigarray_core::{Codec, Error, ErrorKind, Progress, Report, Result};

use crate::check;
use crate::codec;
use crate::commit;
use crate::opening;
use crate::options::Options;
use crate::shared::Shared;
use crate::spill::LmdbSpillArea;

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

    fn check_writable(&self) -> Result<()> {
        self.shared.guards.check_process()?;
        if self.read_only {
            let text = format!("the database {} was opened with read_only(true)", self.shared.dir.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(())
    }
}

impl Store for LmdbStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.shared.snapshot()?)
    }

    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        self.check_writable()?;
        commit::commit(&self.shared, change, lock)
    }

    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        self.check_writable()?;
        Ok(Arc::new(LmdbSpillArea::new(&self.shared)))
    }

    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.check_writable()?;
        let guards = &self.shared.guards;
        Ok(Box::new(guards.commit_lock().take(guards.limit())?))
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        check::verify(&self.shared, progress)
    }

    fn check_codec(&self, codec: Codec) -> Result<()> {
        codec::check(codec)
    }
}
