//! What was seen to be complete, so that it is looked at once a version.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bigarray_core::ArrayId;

use crate::record::Tallies;

/// Arrays of which all records were found, and what was known of those then.
#[derive(Default)]
pub(crate) struct Checked(Mutex<BTreeMap<ArrayId, Tallies>>);

impl Checked {
    /// Whether all records of an array were found when this was known of them.
    pub(crate) fn is(&self, array: ArrayId, records: &Tallies) -> bool {
        self.lock().get(&array) == Some(records)
    }

    /// All records of an array were found.
    pub(crate) fn add(&self, array: ArrayId, records: Tallies) {
        self.lock().insert(array, records);
    }

    /// A commit of this process has changed an array, which it removed if there is nothing to be known of it `now`: what it
    /// left as it was is there still.
    pub(crate) fn follow(&self, array: ArrayId, before: &Tallies, now: Option<Tallies>) {
        let mut checked = self.lock();
        if checked.get(&array) == Some(before)
            && let Some(now) = now
        {
            checked.insert(array, now);
        } else {
            checked.remove(&array);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ArrayId, Tallies>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
