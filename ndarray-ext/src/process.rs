//! Handles in a forked child.

use std::ops::{Deref, DerefMut};

/// What has a destructor that only the process may run which made it. A forked child has a copy of every handle and of
/// every lock, some of them held by threads that it does not have: there it leaks.
pub(crate) struct OfProcess<T> {
    /// `None` only while it is dropped or taken.
    value: Option<T>,
    pid: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> OfProcess<T> {
        OfProcess { value: Some(value), pid: std::process::id() }
    }

    /// The process that made it.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
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
        OfProcess { value: self.value.clone(), pid: self.pid }
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if std::process::id() != self.pid {
            std::mem::forget(self.value.take());
        }
    }
}
