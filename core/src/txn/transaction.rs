//! A transaction: the arrays that it knows, each in a place of its own, so that no two spans show the changes of one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Engine;
use super::open_array::{Metadata, OpenArray};
use super::reader::not_found;
use super::untracked::UntrackedWrites;
use super::windows::Windows;
use crate::descriptor::{Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Ranges;
use crate::pager::{LazySpillArea, SpillMap};
use crate::signals;
use crate::store::Snapshot;
use crate::sync::Mutex;

/// Closed arrays of a transaction may together have this part of the budget in memory untracked.
const CLOSED_PART: usize = 4;

/// A snapshot and private changes to it, committed as one or not at all. Dropping it aborts.
pub struct Transaction {
    pub(super) engine: Arc<Engine>,
    pub(super) snapshot: Arc<dyn Snapshot>,
    pub(super) arrays: Mutex<Arrays>,
    /// Where it writes before its commit. After `arrays`: their spans let go of what they mapped of it first.
    pub(super) spill_area: Arc<LazySpillArea>,
    /// Savepoints that it can go back to, ascending.
    pub(super) savepoints: Vec<u64>,
    /// It was committed, or aborted on purpose: nothing is lost unawares.
    pub(super) is_ended: bool,
}

/// What a transaction has had to do with: arrays, and attributes of the database.
#[derive(Default)]
pub(super) struct Arrays {
    /// The place of the array that has a name now; `None` if none has it any more. A name without entry is as the
    /// snapshot has it.
    pub(super) names: BTreeMap<String, Option<usize>>,
    pub(super) places: Vec<Place>,
    /// What those at home may have in memory that no fault told of: at most so many bytes.
    pub(super) untracked_bytes: usize,
    /// Attributes of the database that were set, whether or not that changed anything; `None` if they were removed.
    pub(super) attrs_set: BTreeMap<String, Option<Value>>,
}

/// An array at home, or in the hands of a [`Writer`].
pub(super) enum Place {
    Idle(Box<OpenArray>),
    /// Name and descriptor, kept up to date.
    CheckedOut(Box<(String, Descriptor)>),
}

impl Place {
    /// Name and descriptor of the array now; `None` once removed.
    fn now(&self) -> Option<&(String, Descriptor)> {
        match self {
            Place::Idle(array) => array.metadata.after.as_ref(),
            Place::CheckedOut(now) => Some(now),
        }
    }
}

impl Arrays {
    /// Those that no handle has.
    pub(super) fn idle(&mut self) -> impl Iterator<Item = &mut OpenArray> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Idle(array) => Some(&mut **array),
            Place::CheckedOut(_) => None,
        })
    }

    /// All of them, once the caller has given up what handles borrow.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) after a handle was leaked.
    pub(super) fn all(&mut self) -> Result<Vec<&mut OpenArray>> {
        if self.places.iter().any(|place| matches!(place, Place::CheckedOut(_))) {
            let why = "an array handle of this transaction was leaked (mem::forget): what was written through it is not \
                       known, and cannot be stored";
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(self.idle().collect())
    }
}

impl Transaction {
    pub(super) fn new(engine: Arc<Engine>, snapshot: Arc<dyn Snapshot>) -> Transaction {
        let spill_area = LazySpillArea::new(&engine.store);
        Transaction { engine, snapshot, arrays: Mutex::default(), spill_area, savepoints: Vec::new(), is_ended: false }
    }

    /// The committed state it began on.
    pub fn base(&self) -> Version {
        self.snapshot.version()
    }

    /// Every array as this transaction sees them, in order of names.
    pub fn arrays(&self) -> Result<Vec<(String, Descriptor)>> {
        let arrays = self.arrays.lock();
        let mut all: BTreeMap<String, Descriptor> = self.snapshot.arrays()?.into_iter().collect();
        for (name, at) in &arrays.names {
            match at.and_then(|at| arrays.places[at].now()) {
                Some((name, now)) => all.insert(name.clone(), now.clone()),
                None => all.remove(name),
            };
        }
        Ok(all.into_iter().collect())
    }

    /// Removes an array.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`InUse`](ErrorKind::InUse) while it is open.
    pub fn remove(&self, name: &str) -> Result<()> {
        let mut arrays = self.arrays.lock();
        let at = self.place_of(&mut arrays, name)?;
        let Place::Idle(array) = &mut arrays.places[at] else { return Err(in_use(name, "removed")) };
        array.abandon();
        array.metadata.after = None;
        array.metadata.dropped_from = Some(0);
        array.spill_map.truncate(0);
        arrays.names.insert(name.to_owned(), None);
        Ok(())
    }

    /// Gives an array another name.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`AlreadyExists`](ErrorKind::AlreadyExists), [`InUse`](ErrorKind::InUse)
    /// while it is open, [`Invalid`](ErrorKind::Invalid) for a name that no array can have.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.engine.store.check_array_name(to)?;
        let mut arrays = self.arrays.lock();
        let at = self.place_of(&mut arrays, from)?;
        let is_taken = self.is_taken(&arrays, to)?;
        let Place::Idle(array) = &mut arrays.places[at] else { return Err(in_use(from, "renamed")) };
        let Some((name, _)) = &mut array.metadata.after else { return Err(not_found(from)) };
        if from == to {
            return Ok(());
        }
        if is_taken {
            let why = format!("array {from:?} cannot be renamed to {to:?}: an array of that name exists");
            return Err(Error::new(ErrorKind::AlreadyExists, why));
        }
        to.clone_into(name);
        arrays.names.insert(from.to_owned(), None);
        arrays.names.insert(to.to_owned(), Some(at));
        Ok(())
    }

    /// Forgets all changes, on purpose.
    pub fn abort(mut self) {
        self.is_ended = true;
    }

    /// Tells of changes that go with a transaction that was dropped.
    fn report_loss(&mut self) {
        let changed: Vec<_> = self.arrays.get_mut().idle().filter_map(|array| array.changed_name()).collect();
        if let [first, others @ ..] = &changed[..] {
            let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            tracing::warn!(
                "a transaction was dropped, and with it what it changed of array {first:?}{others}: commit() keeps changes, \
                 abort() says that they are not wanted"
            );
        }
    }

    /// To be called before another array is opened: of those that are closed some are spilled if together they may
    /// have much in memory. Each of them alone is searched when it is used again, which may never be.
    ///
    /// # Errors
    /// Of spilling, also earlier, if there is more in memory than may be since.
    pub(super) fn spill_closed_arrays(&self, arrays: &mut Arrays) -> Result<()> {
        if self.engine.budget.is_exceeded() {
            arrays.idle().try_for_each(|array| array.refuse_if_hopeless())?;
        }
        let most = self.engine.budget.limit_bytes() / CLOSED_PART;
        // A transaction may open very many arrays, one after the other.
        if arrays.untracked_bytes <= most {
            return Ok(());
        }
        let mut all = arrays.idle().map(|array| array.untracked.bytes()).fold(0, usize::saturating_add);
        for array in arrays.idle().filter(|array| array.untracked.bytes() > 0) {
            if all <= most {
                break;
            }
            all = all.saturating_sub(array.untracked.bytes());
            array.spill()?;
        }
        arrays.untracked_bytes = arrays.idle().map(|array| array.untracked.bytes()).fold(0, usize::saturating_add);
        Ok(())
    }

    pub(super) fn check_codec(&self, name: &str, array: &Descriptor) -> Result<()> {
        let checked = self.engine.store.check_codec(array.codec);
        checked.map_err(|e| e.context(format_args!("array {name:?}")))
    }

    pub(super) fn is_taken(&self, arrays: &Arrays, name: &str) -> Result<bool> {
        Ok(match arrays.names.get(name) {
            Some(at) => at.is_some(),
            None => self.snapshot.array(name)?.is_some(),
        })
    }

    /// An array that this transaction creates.
    pub(super) fn created(&self, name: &str, descriptor: Descriptor) -> OpenArray {
        OpenArray {
            engine: self.engine.clone(),
            snapshot: self.snapshot.clone(),
            spill_map: SpillMap::new(&descriptor, &self.spill_area),
            untracked: UntrackedWrites::default(),
            windows: Windows::default(),
            before: None,
            metadata: Metadata { after: Some((name.to_owned(), descriptor)), ..Metadata::default() },
            pager: Ok(None),
            exposed: Ranges::default(),
        }
    }

    /// The place of the array that has `name` now.
    pub(super) fn place_of(&self, arrays: &mut Arrays, name: &str) -> Result<usize> {
        match arrays.names.get(name) {
            Some(Some(at)) => Ok(*at),
            Some(None) => Err(not_found(name)),
            None => {
                let Some(descriptor) = self.snapshot.array(name)? else { return Err(not_found(name)) };
                self.engine.check_records(&*self.snapshot, name)?;
                let attrs = self.snapshot.attrs(descriptor.id)?.into_iter().collect();
                let mut array = self.created(name, descriptor);
                array.before.clone_from(&array.metadata.after);
                array.metadata.attrs = attrs;
                let at = arrays.places.len();
                arrays.places.push(Place::Idle(Box::new(array)));
                arrays.names.insert(name.to_owned(), Some(at));
                Ok(at)
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.is_ended && !std::thread::panicking() {
            self.report_loss();
        }
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        self.arrays.get_mut().idle().for_each(OpenArray::abandon);
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("base", &self.base()).finish_non_exhaustive()
    }
}

pub(super) fn in_use(name: &str, what: &str) -> Error {
    let why = format!("array {name:?} is open in this transaction and cannot be {what}; drop its handle first");
    Error::new(ErrorKind::InUse, why)
}
