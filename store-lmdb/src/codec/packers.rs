//! Packers for all threads of a database, as many at once as there may be memory for.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bigarray_core::{Codec, signals};

use super::{Packer, packing_bytes};

/// Memory that all packers take together. Blocks that wait for one, one a thread that resolves faults, and what blocks are
/// decompressed in come on top: all of it is to stay below 64 MiB.
pub(crate) const MOST_BYTES: usize = 48 << 20;

/// Lends packers. Who finds no memory for one waits until others give theirs back.
///
/// Nobody waits for ever, because who has one waits for nobody who asks for one. He compresses, and writes what comes out:
/// for that he may claim chunks, so he waits for who claims, and for LMDB's writer mutex. Who has that asks for none here:
/// what is compressed inside the write transaction takes a packer of its own. The stage of a claim is asked for before a
/// packer, never by who has one: a commit keeps it while it asks. The bytes of a span that a commit compresses are all
/// there, so it waits for no thread that makes room.
#[derive(Default)]
pub(crate) struct Packers {
    state: Mutex<State>,
    /// Somebody was served, or gave one back.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Memory of all that there are, lent or not.
    bytes: usize,
    /// Those that nobody uses at the moment, and the memory that each may have.
    idle: Vec<(usize, Packer)>,
    /// How many asked. They are served in that order: who needs much memory is not passed over by those who need little.
    asked: u64,
    served: u64,
}

/// One that is in use. Dropping it gives it back.
struct Lent<'p> {
    packers: &'p Packers,
    bytes: usize,
    packer: Packer,
}

impl Packers {
    /// Lends one to `f`, for blocks of `block_bytes`. Waits for it.
    pub(crate) fn with<R>(&self, codec: Codec, block_bytes: usize, f: impl FnOnce(&mut Packer) -> R) -> R {
        // A thread that resolves faults may need a packer: none is kept by one that a signal handler interrupts.
        let _held = signals::hold();
        f(&mut self.lend(packing_bytes(codec, block_bytes)).packer)
    }

    /// Gives the memory of those that nobody uses back to the system.
    pub(crate) fn forget_idle(&self) {
        let _held = signals::hold();
        self.state().forget_idle(0);
        self.changed.notify_all();
    }

    fn lend(&self, bytes: usize) -> Lent<'_> {
        let mut state = self.state();
        let number = state.asked;
        state.asked += 1;
        loop {
            if state.served == number
                && let Some(packer) = state.find(bytes)
            {
                state.served += 1;
                self.changed.notify_all();
                return Lent { packers: self, bytes, packer };
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One that takes so much memory; `None` if there is too little. At least one there always is.
    fn find(&mut self, bytes: usize) -> Option<Packer> {
        // One of another size might come to take the memory of both.
        if let Some(at) = self.idle.iter().position(|(has, _)| *has == bytes) {
            return Some(self.idle.swap_remove(at).1);
        }
        self.forget_idle(MOST_BYTES.saturating_sub(bytes));
        if self.bytes > 0 && self.bytes + bytes > MOST_BYTES {
            return None;
        }
        self.bytes += bytes;
        Some(Packer::default())
    }

    /// Drops idle ones until all together take no more than `most` bytes.
    fn forget_idle(&mut self, most: usize) {
        while self.bytes > most
            && let Some((bytes, _)) = self.idle.pop()
        {
            self.bytes -= bytes;
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.packers.state().idle.push((self.bytes, std::mem::take(&mut self.packer)));
        self.packers.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1 << 20;

    fn bytes_of(packers: &Packers) -> usize {
        packers.state().bytes
    }

    #[test]
    fn as_many_are_lent_at_once_as_there_is_memory_for_and_others_wait_their_turn() {
        let packers = Packers::default();
        let (first, second) = (packers.lend(10 * MIB), packers.lend(10 * MIB));
        let (send, served) = channel();
        thread::scope(|scope| {
            let ask = |bytes| {
                let (packers, send) = (&packers, send.clone());
                let asked = packers.state().asked;
                scope.spawn(move || {
                    let _lent = packers.lend(bytes);
                    assert!(bytes_of(packers) <= MOST_BYTES);
                    send.send(bytes).unwrap();
                });
                while packers.state().asked == asked {
                    thread::yield_now();
                }
            };
            ask(40 * MIB);
            // There is memory for it, but another one was first.
            ask(20 * MIB);
            assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
            drop(first);
            assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
            drop(second);
            assert_eq!((served.recv().unwrap(), served.recv().unwrap()), (40 * MIB, 20 * MIB));
        });
    }

    #[test]
    fn one_is_lent_whatever_it_takes_and_idle_ones_go_for_it() {
        let packers = Packers::default();
        drop((packers.lend(18 * MIB), packers.lend(30 * MIB)));
        assert_eq!(bytes_of(&packers), 48 * MIB);
        drop(packers.lend(30 * MIB));
        assert_eq!(bytes_of(&packers), 48 * MIB, "it is used again");
        drop(packers.lend(2 * MOST_BYTES));
        assert_eq!(bytes_of(&packers), 2 * MOST_BYTES);
        packers.forget_idle();
        assert_eq!(bytes_of(&packers), 0);
    }
}
