//! Handles in a forked child.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use bigarray_core::Result;
use bigarray_process::Origin;

/// What has a destructor that only the process may run which made it. A forked child has a copy of every handle and of
/// every lock, some of them held by threads that it does not have: there it leaks.
///
/// A child may read the value as far as no lock and no span is behind it. All else comes after a
/// [`check`](OfProcess::check).
pub(crate) struct OfProcess<T> {
    /// `None` only while it is dropped or taken.
    value: Option<T>,
    origin: Origin,
}

/// After a panic a handle shows what it showed before: all locks are taken also after one, and a first failure sticks.
impl<T> UnwindSafe for OfProcess<T> {}
impl<T> RefUnwindSafe for OfProcess<T> {}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> OfProcess<T> {
        OfProcess { value: Some(value), origin: Origin::here() }
    }

    /// Whether this process made it.
    pub(crate) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    /// Refuses in any other process; `what` names the database or array.
    ///
    /// # Errors
    /// [`InUse`](bigarray_core::ErrorKind::InUse).
    #[inline]
    pub(crate) fn check(&self, what: impl fmt::Display) -> Result<()> {
        self.origin.check(what)
    }

    /// The value; only to be called in the process that made it.
    pub(crate) fn into_inner(mut self) -> T {
        self.value.take().expect(HERE)
    }
}

const HERE: &str = "it is there until it is dropped";

impl<T> Deref for OfProcess<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(HERE)
    }
}

impl<T> DerefMut for OfProcess<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HERE)
    }
}

impl<T: Clone> Clone for OfProcess<T> {
    fn clone(&self) -> OfProcess<T> {
        OfProcess { value: self.value.clone(), origin: self.origin }
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            std::mem::forget(self.value.take());
        }
    }
}
