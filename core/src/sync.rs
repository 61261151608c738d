//! The locks of all crates: those of std, taken all the same where a thread panicked that had one.
//!
//! In std such a lock is an error from then on. Here it is not, for two reasons. What a lock guards changes by single
//! steps, each of which leaves it whole. And what ends an operation must get through after a panic: the monitor, which
//! fails every pager, and each drop, which gives back what its value has.
//!
//! parking_lot has no such error either. It was considered and is not taken: its table of waiting threads is global to
//! the process, so a child of `fork` could wait for ever for a bucket that another thread had locked.
//!
//! No other file names the locks of std, so that a model checker can take their place here.

use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::signals::{self, Held};

/// One thread at a time.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex that guards `value`.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, which no other thread can have.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread that writes, or any number that read.
#[derive(Debug, Default)]
pub struct RwLock<T>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock that guards `value`.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(std::sync::RwLock::new(value))
    }

    /// Waits until no thread writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other thread reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for a change of what a mutex guards. Each wait unlocks the mutex meanwhile, and may end for no reason, but for
/// those with a condition.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// One that no thread waits for.
    pub const fn new() -> Condvar {
        Condvar(std::sync::Condvar::new())
    }

    /// Waits for a notification.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `condition` holds.
    pub fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a notification, no longer than `at_most`.
    pub fn wait_timeout<'a, T>(&self, guard: MutexGuard<'a, T>, at_most: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, at_most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits while `condition` holds, no longer than `at_most`.
    pub fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        at_most: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        self.0.wait_timeout_while(guard, at_most, condition).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the wait of one thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Ends the waits of all threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A mutex that resolving a fault takes too: while a thread has it, its [signals] wait.
#[derive(Debug, Default)]
pub struct FaultMutex<T>(Mutex<T>);

impl<T> FaultMutex<T> {
    /// A mutex that guards `value`.
    pub const fn new(value: T) -> FaultMutex<T> {
        FaultMutex(Mutex::new(value))
    }

    /// Waits for the lock. Signals to this thread wait from before that until it is unlocked.
    pub fn lock(&self) -> FaultMutexGuard<'_, T> {
        self.lock_where(true)
    }

    /// The same; signals wait only where faults are delivered.
    pub(crate) fn lock_where(&self, faults: bool) -> FaultMutexGuard<'_, T> {
        let held = faults.then(signals::hold);
        FaultMutexGuard { guard: self.0.lock(), held }
    }
}

/// A locked [`FaultMutex`].
#[derive(Debug)]
pub struct FaultMutexGuard<'a, T> {
    // Before `held`: signals arrive when it is unlocked.
    guard: MutexGuard<'a, T>,
    held: Option<Held>,
}

impl<T> FaultMutexGuard<'_, T> {
    /// Unlocked until `condvar` is notified.
    pub(crate) fn wait(self, condvar: &Condvar) -> Self {
        let FaultMutexGuard { guard, held } = self;
        FaultMutexGuard { guard: condvar.wait(guard), held }
    }
}

impl<T> Deref for FaultMutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for FaultMutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A mutex and a lock that guard what a thread put there that panicked then.
    fn after_a_panic() -> (Mutex<u8>, RwLock<u8>) {
        let (mutex, lock) = (Mutex::new(0), RwLock::new(0));
        let outcome = thread::scope(|scope| {
            let panics = || {
                let (mut first, mut second) = (mutex.lock(), lock.write());
                (*first, *second) = (1, 2);
                panic!("a test says so");
            };
            scope.spawn(panics).join()
        });
        outcome.unwrap_err();
        assert!(mutex.0.is_poisoned() && lock.0.is_poisoned());
        (mutex, lock)
    }

    #[test]
    fn the_lock_of_a_thread_that_panicked_is_taken_all_the_same() {
        let (mut mutex, lock) = after_a_panic();
        assert_eq!(*mutex.lock(), 1);
        assert_eq!(*mutex.get_mut(), 1);
        assert_eq!(*lock.read(), 2);
        assert_eq!(*lock.write(), 2);
        assert_eq!(mutex.into_inner(), 1);
    }

    #[test]
    fn a_wait_ends_all_the_same_after_a_panic() {
        let (mutex, condvar) = (after_a_panic().0, Condvar::new());
        let soon = Duration::from_millis(1);
        let guard = condvar.wait_timeout(mutex.lock(), soon);
        let guard = condvar.wait_timeout_while(guard, soon, |value| *value == 1);
        let mut guard = condvar.wait_while(guard, |value| *value == 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                *mutex.lock() = 3;
                condvar.notify_all();
            });
            while *guard == 1 {
                guard = condvar.wait(guard);
            }
            assert_eq!(*guard, 3);
            drop(guard);
        });
    }
}
