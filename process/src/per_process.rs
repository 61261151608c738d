//! Statics that a forked child does not inherit, since a thread of the parent may have held a lock in them.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::origin::Origin;

/// A static value of which a forked child has its own, made anew on first use.
///
/// For what is behind a lock: another thread of the parent may have held it when the process forked, and then nothing
/// in the child would ever give it back.
///
/// ```
/// use bigarray_core::sync::Mutex;
/// use bigarray_process::PerProcess;
///
/// static OPEN: PerProcess<Mutex<Vec<String>>> = PerProcess::new();
/// OPEN.get().lock().push("a.bigarray".to_owned());
/// ```
pub struct PerProcess<T> {
    /// Never freed: one value a process. A child also keeps its parent's.
    made: AtomicPtr<Made<T>>,
}

struct Made<T> {
    origin: Origin,
    value: T,
}

impl<T> PerProcess<T> {
    /// Makes nothing yet.
    pub const fn new() -> PerProcess<T> {
        PerProcess { made: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}

impl<T: Default + Send + Sync> PerProcess<T> {
    /// The value of this process.
    pub fn get(&'static self) -> &'static T {
        let known = self.made.load(Ordering::Acquire);
        // SAFETY: values live for ever.
        if let Some(made) = unsafe { known.as_ref() }.filter(|made| made.origin.is_here()) {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made { origin: Origin::here(), value: T::default() }));
        match self.made.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: as above; from here on it is one of them.
            Ok(_) => unsafe { &(*new).value },
            Err(first) => {
                // SAFETY: it was not published.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: as above. Another thread of this process made it, just now.
                unsafe { &(*first).value }
            }
        }
    }
}
