//! Signals are held back from threads that resolve faults, and from others while they have what those need.

use std::cell::Cell;

use bigarray_core::signals::{self, Held, Means};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

thread_local! {
    /// What the thread let through before.
    static BEFORE: Cell<Option<SigSet>> = const { Cell::new(None) };
}

/// Gives core the means to hold signals back.
pub(crate) fn provide() {
    signals::provide(Means { hold, release });
}

/// A signal handler of the program may touch a span; on a thread that resolves faults it would wait for itself.
pub(crate) fn hold_for_good() -> Held {
    signals::hold()
}

fn hold() {
    let mut signals = SigSet::all();
    // Faults of the thread itself, and system calls that a sandbox traps: where those are blocked the kernel ends the
    // process.
    use Signal::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    for fault in [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS] {
        signals.remove(fault);
    }
    // It fails for no mask that there is.
    BEFORE.set(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok());
}

fn release() {
    if let Some(before) = BEFORE.take() {
        let _ = before.thread_set_mask();
    }
}
