//! What the pager asks of memory: address ranges whose missing pages it is told of.

mod faults;
mod span;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::store::DataFile;
use crate::error::Result;
pub use faults::{Faults, Job};
pub use span::{Install, Protect, Replace, Span, SpanBytes, TakenOut, TrackWrites, WrittenTo};

/// Gives out spans.
pub trait Memory: Send + Sync {
    /// Whether lazy spans can be had: faults are delivered. Otherwise every span must be [`Residency::Eager`].
    fn delivers_faults(&self) -> bool;

    /// Whether a system call that is handed a missing or protected page of a lazy span waits as a load does. If not it
    /// fails with EFAULT.
    fn delivers_kernel_faults(&self) -> bool;

    /// Reserves addresses for `bytes` of an array, aligned to 2 MiB; both ends are multiples of that. Costs neither
    /// memory nor time.
    ///
    /// # Errors
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where addresses are short, naming the limit to raise.
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a lazy span where no fault is delivered, and
    /// [`Io`](crate::ErrorKind::Io) where that ended. As [`check_process`](Memory::check_process) in a forked child.
    fn reserve(&self, bytes: Range<usize>, residency: Residency) -> Result<Box<dyn Span>>;

    /// Refuses in a process forked from the one that made this memory: it has neither the threads nor the addresses.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) in a forked child.
    fn check_process(&self) -> Result<()>;

    /// The time since some moment, by which waiting for storage that does not answer ends.
    fn now(&self) -> Duration;

    /// Lets that much time pass, in a thread that may wait.
    fn pause(&self, time: Duration);

    /// Runs `job` in a thread that may wait. Threads that answer faults are left to them, however many such jobs there are and
    /// however long they take. Those that are not run when the memory ends are dropped.
    fn run_ahead(&self, job: Job);

    /// Reads `bytes` of `file` into the system's cache, so that a touch of what is mapped from there waits for no disk; if
    /// they are there, that costs little. It touches no span, so it meets no fault. `exactly`: not a byte more is read, where
    /// the system would else read ahead.
    ///
    /// # Errors
    /// As [`DataFile::read_at`].
    fn read_ahead(&self, file: &Arc<dyn DataFile>, bytes: Range<u64>, exactly: bool) -> Result<()>;

    /// Runs `report` a moment later in a thread that no other waits for. It may run code of the program, which may touch
    /// spans, and wait for locks whose holders do. A memory that is short of threads may drop it.
    fn report(&self, report: Job);

    /// Whether about `n` more mappings fit under the system's limit for one process.
    fn has_room_for_mappings(&self, n: usize) -> bool;

    /// The mappings that one process may have by that: those there are, and those that there is room for.
    fn most_mappings(&self) -> usize;
}

/// What an address of a span holds before anything was installed there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// Nothing: the first access waits for [`Faults::missing`].
    #[default]
    Lazy,
    /// Zeros. No fault is ever delivered.
    Eager,
}
