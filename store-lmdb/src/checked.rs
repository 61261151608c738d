//! Arrays whose records were found complete, so that each version is checked once.

use std::collections::BTreeMap;

use bigarray_core::ArrayId;
use bigarray_core::sync::Mutex;

use crate::record::Tallies;

/// Arrays whose records were all found, and their tallies then.
#[derive(Default)]
pub(crate) struct Checked(Mutex<BTreeMap<ArrayId, Tallies>>);

impl Checked {
    /// Whether all records of an array were found when it had these tallies.
    pub(crate) fn is(&self, array: ArrayId, records: &Tallies) -> bool {
        self.0.lock().get(&array) == Some(records)
    }

    /// Notes that all records of an array were found.
    pub(crate) fn add(&self, array: ArrayId, records: Tallies) {
        self.0.lock().insert(array, records);
    }

    /// Follows a commit of this process that changed an array from the tallies `before` to those of `now`, or removed it
    /// (`None`): records that it did not change are still there.
    pub(crate) fn follow(&self, array: ArrayId, before: &Tallies, now: Option<Tallies>) {
        let mut checked = self.0.lock();
        if checked.get(&array) == Some(before)
            && let Some(now) = now
        {
            checked.insert(array, now);
        } else {
            checked.remove(&array);
        }
    }
}
