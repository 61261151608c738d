//! The lazy spans of one memory, by address: which pager a fault belongs to.
//!
//! The lock is held for a look-up or a change of the table only, never while a pager is called, a mapping changes or
//! span memory is touched, so the monitor never waits for a faulting thread here (invariant B).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Weak;

use bigarray_core::memory::Faults;
use bigarray_core::sync::Mutex;

/// The lazy spans that live.
#[derive(Default)]
pub(crate) struct Spans(Mutex<BTreeMap<usize, Entry>>);

struct Entry {
    /// The bytes of the array that its addresses are for.
    bytes: Range<usize>,
    faults: Option<Weak<dyn Faults>>,
}

/// The pager of a span, and where in the span an address lies.
pub(crate) struct Owner {
    pub(crate) faults: Weak<dyn Faults>,
    /// The byte of the array at the address.
    pub(crate) offset: usize,
}

impl Spans {
    pub(crate) fn insert(&self, base: usize, bytes: Range<usize>) {
        self.0.lock().insert(base, Entry { bytes, faults: None });
    }

    pub(crate) fn attach(&self, base: usize, faults: Weak<dyn Faults>) {
        if let Some(entry) = self.0.lock().get_mut(&base) {
            entry.faults = Some(faults);
        }
    }

    pub(crate) fn remove(&self, base: usize) {
        // The entry is dropped after the lock: a pager's last weak reference may go with it.
        let _entry = self.0.lock().remove(&base);
    }

    pub(crate) fn owner(&self, address: usize) -> Option<Owner> {
        let spans = self.0.lock();
        let (&base, entry) = spans.range(..=address).next_back()?;
        let offset = entry.bytes.start + (address - base);
        let faults = entry.faults.as_ref().filter(|_| offset < entry.bytes.end)?.clone();
        Some(Owner { faults, offset })
    }

    /// The pagers of all spans.
    pub(crate) fn all(&self) -> Vec<Weak<dyn Faults>> {
        self.0.lock().values().filter_map(|entry| entry.faults.clone()).collect()
    }
}
