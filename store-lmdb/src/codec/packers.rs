//! The packers of a database, for all its threads, within a limit of memory.

use bigarray_core::sync::{Condvar, Mutex};
use bigarray_core::{Codec, signals};

use super::{Packer, packing_bytes};

/// Most memory of all packers together. Blocks that wait for a packer, one a resolver, and the memory of unpackers come on
/// top: all of it is to stay below 64 MiB.
pub(crate) const MOST_BYTES: usize = 48 << 20;

/// Lends packers. A thread for which there is no memory waits until another one gives its packer back.
///
/// No thread waits for ever, because a thread that has a packer never waits for one that asks for a packer. It compresses
/// and writes the result. For that it may claim chunks, so it waits for other claims, and for the gate *writing*. A thread
/// behind that gate asks for no packer here: compression inside the write transaction uses a packer of its own. The stage
/// of a claim is locked before a packer is asked for, never by a thread that has one: a commit holds it while it asks. A
/// commit compresses bytes of a span that are all in memory, so it does not wait for a thread that makes room.
#[derive(Default)]
pub(crate) struct Packers {
    state: Mutex<PackersState>,
    /// Signalled when a request was served, or a packer given back.
    changed: Condvar,
}

#[derive(Default)]
struct PackersState {
    /// Memory of all packers, lent or idle.
    bytes: usize,
    /// The packers that are not in use, and the memory that each may take.
    idle: Vec<(usize, Packer)>,
    /// Requests so far. They are served in order: a request for much memory is not passed over by those for little.
    asked: u64,
    served: u64,
}

/// A packer in use. Dropping this gives it back.
struct Lent<'p> {
    packers: &'p Packers,
    bytes: usize,
    packer: Packer,
}

impl Packers {
    /// Lends a packer to `f`, for blocks of `block_bytes`. Waits until there is memory for one.
    pub(crate) fn with<R>(&self, codec: Codec, block_bytes: usize, f: impl FnOnce(&mut Packer) -> R) -> R {
        // A resolver may need a packer: so no signal handler, which may fault, interrupts a thread that has one.
        let _held = signals::hold();
        f(&mut self.lend(packing_bytes(codec, block_bytes)).packer)
    }

    /// Frees the idle packers.
    pub(crate) fn forget_idle(&self) {
        let _held = signals::hold();
        self.state.lock().forget_idle(0);
        self.changed.notify_all();
    }

    fn lend(&self, bytes: usize) -> Lent<'_> {
        let mut state = self.state.lock();
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
            state = self.changed.wait(state);
        }
    }
}

impl PackersState {
    /// A packer that may take `bytes` of memory; `None` if there is too little. If none exists, there is always memory.
    fn find(&mut self, bytes: usize) -> Option<Packer> {
        // Only one of the same size: a reused packer of another size could take the memory of both.
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

    /// Drops idle packers until all together take no more than `most` bytes.
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
        self.packers.state.lock().idle.push((self.bytes, std::mem::take(&mut self.packer)));
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
        packers.state.lock().bytes
    }

    #[test]
    fn packers_are_lent_while_there_is_memory_and_later_requests_wait_in_order() {
        let packers = Packers::default();
        let (first, second) = (packers.lend(10 * MIB), packers.lend(10 * MIB));
        let (send, served) = channel();
        thread::scope(|scope| {
            let ask = |bytes| {
                let (packers, send) = (&packers, send.clone());
                let asked = packers.state.lock().asked;
                scope.spawn(move || {
                    let _lent = packers.lend(bytes);
                    assert!(bytes_of(packers) <= MOST_BYTES);
                    send.send(bytes).unwrap();
                });
                while packers.state.lock().asked == asked {
                    thread::yield_now();
                }
            };
            ask(40 * MIB);
            // There is memory for it, but another request was first.
            ask(20 * MIB);
            assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
            drop(first);
            assert!(served.recv_timeout(Duration::from_millis(50)).is_err());
            drop(second);
            assert_eq!((served.recv().unwrap(), served.recv().unwrap()), (40 * MIB, 20 * MIB));
        });
    }

    #[test]
    fn one_packer_is_always_lent_and_idle_ones_are_freed_for_it() {
        let packers = Packers::default();
        drop((packers.lend(18 * MIB), packers.lend(30 * MIB)));
        assert_eq!(bytes_of(&packers), 48 * MIB);
        drop(packers.lend(30 * MIB));
        assert_eq!(bytes_of(&packers), 48 * MIB, "the idle packer is reused");
        drop(packers.lend(2 * MOST_BYTES));
        assert_eq!(bytes_of(&packers), 2 * MOST_BYTES);
        packers.forget_idle();
        assert_eq!(bytes_of(&packers), 0);
    }
}
