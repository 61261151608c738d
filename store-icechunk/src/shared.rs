//! An open store, shared by all that is taken from it, and the newest state that is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bigarray_core::store::{LocalCommitLock, Snapshot};
use bigarray_core::sync::Mutex;
use bigarray_core::{Error, ErrorKind, Result};
use icechunk::format::SnapshotId;
use icechunk::format::repo_info::RepoInfo;

use crate::options::Options;
use crate::snapshot::{IcechunkSnapshot, Source};

/// An open store.
pub(crate) struct Shared {
    source: Arc<Source>,
    options: Options,
    commit_lock: LocalCommitLock,
    /// Locked while storage is asked, so that all who wait take one answer.
    known: Mutex<Known>,
    /// Questions that were asked.
    asked: AtomicU64,
}

/// The newest state, and the log that it is in.
#[derive(Clone)]
pub(crate) struct Newest {
    pub(crate) log: Arc<RepoInfo>,
    pub(crate) snapshot: Arc<IcechunkSnapshot>,
}

/// What is known of the newest state.
#[derive(Default)]
struct Known {
    snapshot: Option<Arc<IcechunkSnapshot>>,
    answer: Option<Answer>,
}

struct Answer {
    newest: Newest,
    /// The number of the question.
    number: u64,
    /// When it was asked.
    at: Instant,
}

impl Shared {
    pub(crate) fn new(source: Arc<Source>, options: Options) -> Shared {
        let commit_lock = LocalCommitLock::new(source.url(), options.wait_timeout);
        Shared { source, options, commit_lock, known: Mutex::default(), asked: AtomicU64::new(0) }
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn commit_lock(&self) -> &LocalCommitLock {
        &self.commit_lock
    }

    /// Refuses where the database is open for reading only.
    ///
    /// # Errors
    /// [`Invalid`](bigarray_core::ErrorKind::Invalid).
    pub(crate) fn check_writable(&self) -> Result<()> {
        if !self.options.read_only {
            return Ok(());
        }
        let text = format!("database {} is open for reading only: nothing of it can be changed", self.source.url());
        Err(Error::new(ErrorKind::Invalid, text))
    }

    /// A state that was the newest at most `Options::max_staleness` ago.
    pub(crate) fn recent(&self) -> Result<Arc<IcechunkSnapshot>> {
        let max_staleness = self.options.max_staleness;
        if !max_staleness.is_zero() {
            let known = self.known.lock();
            if let (Some(snapshot), Some(answer)) = (&known.snapshot, &known.answer)
                && answer.at.elapsed() < max_staleness
            {
                return Ok(Arc::clone(snapshot));
            }
        }
        Ok(self.newest()?.snapshot)
    }

    /// The newest state: the answer to a question that was asked after this call began.
    pub(crate) fn newest(&self) -> Result<Newest> {
        self.source.check_process()?;
        let earlier = self.asked.load(Ordering::Acquire);
        let mut known = self.known.lock();
        if let Some(answer) = known.answer.as_ref().filter(|answer| answer.number > earlier) {
            return Ok(answer.newest.clone());
        }
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let at = Instant::now();
        let tip = self.source.repository.tip()?;
        let snapshot = match &known.snapshot {
            Some(known) if known.id == tip.snapshot.id() => Arc::clone(known),
            before => Arc::new(IcechunkSnapshot::new(&self.source, &tip.snapshot, before.as_deref())?),
        };
        known.snapshot = Some(Arc::clone(&snapshot));
        let newest = Newest { log: tip.log, snapshot };
        known.answer = Some(Answer { newest: newest.clone(), number, at });
        Ok(newest)
    }

    /// The newest state that was seen.
    pub(crate) fn known(&self) -> Option<Arc<IcechunkSnapshot>> {
        self.known.lock().snapshot.clone()
    }

    /// The state of that id.
    pub(crate) fn at(&self, id: &SnapshotId) -> Result<Arc<IcechunkSnapshot>> {
        let before = self.known.lock().snapshot.clone();
        if let Some(known) = before.as_ref().filter(|known| known.id == *id) {
            return Ok(Arc::clone(known));
        }
        let snapshot = self.source.repository.snapshot(id.clone())?;
        IcechunkSnapshot::new(&self.source, &snapshot, before.as_deref()).map(Arc::new)
    }

    /// The state of that id, which a commit of this process just made.
    pub(crate) fn landed(&self, id: &SnapshotId) -> Result<Arc<IcechunkSnapshot>> {
        let landed = self.at(id)?;
        let mut known = self.known.lock();
        if known.snapshot.as_ref().is_none_or(|known| known.version() < landed.version()) {
            *known = Known { snapshot: Some(Arc::clone(&landed)), answer: None };
        }
        Ok(landed)
    }
}
