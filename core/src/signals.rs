//! Signals wait while their thread has what a page fault needs.
//!
//! A handler of the program may touch a view, and waits for its page as any code does. If its thread had a lock just
//! then that loading the page takes, or was loading the page itself, it would wait for itself. So a thread of the
//! program holds signals back for as long as that: a look at a table, one load, one block spilled.
//!
//! To allocate takes locks too, which loading a page needs. So signals are also held through calls that allocate all
//! along, a commit above all, but let through wherever such a call waits for a disk or for another process. What a
//! program itself allocates is its own affair: its handlers must not touch what is not there if they may interrupt
//! that.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// How this system holds signals back from the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// From here on they wait.
    pub hold: fn(),
    /// As it was before the last `hold`. Those that waited arrive.
    pub release: fn(),
}

static MEANS: OnceLock<Means> = OnceLock::new();

thread_local! {
    /// How many there are of each kind.
    static DEPTH: Cell<Depth> = const { Cell::new(Depth::NONE) };
}

#[derive(Clone, Copy)]
struct Depth {
    firm: usize,
    /// Signals may come where the thread waits.
    soft: usize,
}

impl Depth {
    const NONE: Depth = Depth { firm: 0, soft: 0 };

    fn is_none(self) -> bool {
        self.firm + self.soft == 0
    }
}

/// Says how, once a process. Until then, and where no faults are delivered, signals need not wait.
pub fn provide(means: Means) {
    let _ = MEANS.set(means);
}

/// Signals to this thread wait until this is dropped; those that are held within another cost nothing.
#[derive(Debug)]
pub struct Held {
    means: Option<Means>,
    is_firm: bool,
    /// Of its thread.
    _here: PhantomData<*const ()>,
}

/// Holds signals back from the calling thread. Those of faults of its own are not meant.
#[must_use]
pub fn hold() -> Held {
    Held::new(true)
}

/// The same, but where what the thread waits for is [let through](let_through).
#[must_use]
pub fn hold_between_waits() -> Held {
    Held::new(false)
}

/// Runs `wait`, which may take long. Signals arrive meanwhile, unless the thread has what a fault needs. A lock that is
/// taken inside holds them back again.
pub fn let_through<R>(wait: impl FnOnce() -> R) -> R {
    let depth = DEPTH.get();
    let _again = match MEANS.get() {
        Some(&means) if depth.firm == 0 && depth.soft > 0 => {
            DEPTH.set(Depth::NONE);
            (means.release)();
            Some(HeldAgain { means, depth })
        }
        _ => None,
    };
    wait()
}

/// Signals are held as before when this is dropped, after a panic too.
struct HeldAgain {
    means: Means,
    depth: Depth,
}

impl Drop for HeldAgain {
    fn drop(&mut self) {
        (self.means.hold)();
        DEPTH.set(self.depth);
    }
}

impl Held {
    fn new(is_firm: bool) -> Held {
        let means = MEANS.get().copied();
        if let Some(means) = means {
            let mut depth = DEPTH.get();
            if depth.is_none() {
                (means.hold)();
            }
            *(if is_firm { &mut depth.firm } else { &mut depth.soft }) += 1;
            DEPTH.set(depth);
        }
        Held { means, is_firm, _here: PhantomData }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(means) = self.means {
            let mut depth = DEPTH.get();
            *(if self.is_firm { &mut depth.firm } else { &mut depth.soft }) -= 1;
            DEPTH.set(depth);
            if depth.is_none() {
                (means.release)();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::FaultMutex;

    thread_local! {
        static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }

    #[test]
    fn signals_are_held_once_from_the_first_lock_to_the_last() {
        provide(Means {
            hold: || HELD.set((HELD.get().0 + 1, HELD.get().1)),
            release: || HELD.set((HELD.get().0, HELD.get().1 + 1)),
        });
        let (one, other) = (FaultMutex::new(1), FaultMutex::new(2));
        let locked = one.lock();
        let within = other.lock();
        assert_eq!((*locked, *within, HELD.get()), (1, 2, (1, 0)));
        drop(locked);
        assert_eq!(HELD.get(), (1, 0));
        drop(within);
        assert_eq!(HELD.get(), (1, 1));
        drop(one.lock_where(false));
        assert_eq!(HELD.get(), (1, 1));
        // A wait lets them through, unless there is a lock.
        let call = hold_between_waits();
        assert_eq!(let_through(|| HELD.get()), (2, 2));
        assert_eq!(HELD.get(), (3, 2));
        // A lock that is taken in the wait holds them back again.
        let_through(|| {
            let locked = one.lock();
            assert_eq!((*locked, HELD.get()), (1, (4, 3)));
            drop(locked);
            assert_eq!(HELD.get(), (4, 4));
        });
        assert_eq!(HELD.get(), (5, 4));
        let locked = one.lock();
        assert_eq!(let_through(|| HELD.get()), (5, 4));
        drop((locked, call));
        assert_eq!(HELD.get(), (5, 5));
    }
}
