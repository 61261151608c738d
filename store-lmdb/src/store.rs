//! The store as core sees it.

use std::sync::{Arc, Weak};

use bigarray_core::store::{Change, CommitLock, Committed, Snapshot, Space, SpillArea, Store, StoreDescription};
use bigarray_core::{Codec, Descriptor, Error, ErrorKind, Metrics, Progress, Report, Result, Version};

use crate::check::{self, CheckReport};
use crate::codec;
use crate::commit;
use crate::description;
use crate::opening;
use crate::options::Options;
use crate::shared::Shared;
use crate::snapshot::LmdbSnapshot;
use crate::space;
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
    /// Any error that keeps it from being opened, naming the path.
    pub fn open(options: &Options) -> Result<Arc<LmdbStore>> {
        let shared = opening::open(options)?;
        Ok(Arc::new(LmdbStore { shared, read_only: options.read_only }))
    }

    /// Checks the newest committed state: records, references, and that every page of the data file is in exactly one
    /// place; with `payload` also the bytes of every stored page. Other threads and processes may read and commit meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`], naming the first few findings.
    pub fn check(&self, payload: bool) -> Result<CheckReport> {
        check::check(&self.shared.index, &self.shared.data, payload)
            .map_err(|e| e.context(format!("check of {}", self.shared.dir.display())))
    }

    fn check_writable(&self) -> Result<()> {
        self.shared.locks.check_process()?;
        if self.read_only {
            let text = format!("the database {} was opened with read_only(true)", self.shared.dir.display());
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(())
    }
}

impl Store for LmdbStore {
    /// The newest committed state: the same value while nothing is committed and the value lives.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        let Shared { locks, index, newest, .. } = &*self.shared;
        locks.before_begin()?;
        let mut newest = newest.lock();
        let known = newest.as_ref().and_then(Weak::upgrade);
        if let Some(known) = &known
            && known.version() == index.newest()?
        {
            return Ok(Arc::clone(known));
        }
        locks.files.check_files(|| index.file())?;
        let snapshot = LmdbSnapshot::begin(&self.shared)?;
        // A commit shows in the index a little before a transaction can begin on it.
        if let Some(known) = known.filter(|known| known.version() == snapshot.version()) {
            return Ok(known);
        }
        let snapshot: Arc<dyn Snapshot> = Arc::new(snapshot);
        *newest = Some(Arc::downgrade(&snapshot));
        Ok(snapshot)
    }

    /// Until there is a commit, looks at the number in the meta pages of the index alone, which takes no system call.
    fn newer(&self, after: Version) -> Result<Option<Arc<dyn Snapshot>>> {
        self.shared.locks.check_process()?;
        if self.shared.index.newest()? <= after {
            return Ok(None);
        }
        Ok(Some(self.snapshot()?).filter(|snapshot| snapshot.version() > after))
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
        Ok(Box::new(self.shared.locks.commit_lock.take()?))
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        check::verify(&self.shared, progress)
    }

    fn describe(&self) -> Result<StoreDescription> {
        self.shared.locks.check_process()?;
        description::describe(&self.shared)
    }

    fn space(&self) -> Result<Space> {
        self.shared.locks.check_process()?;
        space::usage(&self.shared)
    }

    fn add_metrics(&self, metrics: &mut Metrics) {
        self.shared.add_metrics(metrics);
    }

    fn drops_front(&self) -> bool {
        true
    }

    fn check_fill(&self, _: &Descriptor) -> Result<()> {
        Ok(())
    }

    fn check_codec(&self, codec: Codec) -> Result<()> {
        codec::check(codec)
    }
}
