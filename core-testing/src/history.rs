//! A store that remembers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bigarray_core::store::{
    Change, Commit, CommitLock, Committed, History, Snapshot, Space, SpillArea, Store, StoreDescription,
};
use bigarray_core::sync::Mutex;
use bigarray_core::{Codec, Descriptor, Error, ErrorKind, Metrics, Progress, Report, Result};

/// A store that remembers every state that is committed through it. A commit's id is `c` and the number of its state; it
/// was made so many seconds after 1970 began.
pub struct Remembering<S> {
    store: S,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    /// Oldest first.
    states: Vec<Arc<dyn Snapshot>>,
    tags: BTreeMap<String, String>,
}

impl<S> Remembering<S> {
    /// Wraps `store`, and remembers nothing yet.
    pub fn new(store: S) -> Remembering<S> {
        Remembering { store, past: Mutex::default() }
    }
}

impl<S: Store> Store for Remembering<S> {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        self.store.snapshot()
    }

    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed> {
        let committed = self.store.commit(change, lock)?;
        let state = self.store.snapshot()?;
        self.past.lock().states.push(state);
        Ok(committed)
    }

    fn commit_lock(&self) -> Result<Box<dyn CommitLock>> {
        self.store.commit_lock()
    }

    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        self.store.spill_area()
    }

    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        self.store.verify(progress)
    }

    fn check_array_name(&self, name: &str) -> Result<()> {
        self.store.check_array_name(name)
    }

    fn check_attr_name(&self, name: &str) -> Result<()> {
        self.store.check_attr_name(name)
    }

    fn drops_front(&self) -> bool {
        self.store.drops_front()
    }

    fn check_fill(&self, array: &Descriptor) -> Result<()> {
        self.store.check_fill(array)
    }

    fn check_codec(&self, codec: Codec) -> Result<()> {
        self.store.check_codec(codec)
    }

    fn describe(&self) -> Result<StoreDescription> {
        self.store.describe()
    }

    fn space(&self) -> Result<Space> {
        self.store.space()
    }

    fn add_metrics(&self, metrics: &mut Metrics) {
        self.store.add_metrics(metrics);
    }

    fn history(&self) -> Option<&dyn History> {
        Some(self)
    }
}

fn commit_of(state: &dyn Snapshot) -> Commit {
    let version = state.version();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(version.0);
    Commit::new(format!("c{}", version.0), version, time)
}

impl<S: Store> History for Remembering<S> {
    fn at(&self, commit: &str) -> Result<Arc<dyn Snapshot>> {
        let past = self.past.lock();
        let id = past.tags.get(commit).map_or(commit, String::as_str);
        let found = past.states.iter().find(|state| commit_of(&***state).id == id);
        found.cloned().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no commit or tag {commit:?}")))
    }

    fn log(&self, limit: usize) -> Result<Vec<Commit>> {
        Ok(self.past.lock().states.iter().rev().take(limit).map(|state| commit_of(&**state)).collect())
    }

    fn tags(&self) -> Result<Vec<(String, String)>> {
        Ok(self.past.lock().tags.iter().map(|(tag, id)| (tag.clone(), id.clone())).collect())
    }

    fn tag(&self, name: &str) -> Result<()> {
        let mut past = self.past.lock();
        let newest = past.states.last().map(|state| commit_of(&**state).id);
        let Some(id) = newest else { return Err(Error::new(ErrorKind::NotFound, "there is no commit yet")) };
        if *past.tags.entry(name.to_owned()).or_insert_with(|| id.clone()) != id {
            return Err(Error::new(ErrorKind::AlreadyExists, format!("another commit has the tag {name:?}")));
        }
        Ok(())
    }
}
