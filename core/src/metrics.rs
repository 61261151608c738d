//! Metrics: what an engine and its store did so far, as plain numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Declares [`Metrics`], so that its fields are named once.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a database did since it was opened. Each number only grows; the difference of two takes is what
        /// happened between them ([`since`](Metrics::since)).
        ///
        /// The numbers are counted one by one, so two of one take may be of moments that lie a little apart. What the
        /// kernel does by itself is not among them: of a block that is mapped, it reads the pages without a fault that
        /// the monitor sees.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Metrics {
            /// What happened since `earlier`; of two takes in the wrong order, zeros.
            pub fn since(&self, earlier: &Metrics) -> Metrics {
                Metrics { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

metrics! {
    /// Faults of missing pages. Threads that wait for one block send one each.
    faults_missing,
    /// Faults of stores to write-protected pages.
    faults_protected,
    /// Faults of both kinds that found the block in memory, and were answered by a wake alone.
    faults_futile,
    /// Blocks that were mapped, from the data file or a disk cache.
    blocks_mapped,
    /// Blocks that became zero memory, since all or nothing of them is stored as a hole.
    blocks_zeroed,
    /// Blocks that were copied into memory: decompressed, fetched, or read back from where they were spilled.
    blocks_copied,
    /// Blocks that were evicted without a write.
    blocks_evicted,
    /// Blocks that were evicted, of which something was written to the spill area.
    blocks_spilled,
    /// Blocks that could not be loaded, or kept: an access to one of them ends the process.
    blocks_poisoned,
    /// Bytes of the data file that were mapped.
    bytes_mapped,
    /// Bytes of the blocks that were copied.
    bytes_copied,
    /// Bytes of pages that were spilled, before compression; by `flush` and savepoints, too.
    bytes_spilled,
    /// Commits that stored something.
    commits,
    /// Commits that were refused because of another one.
    conflicts,
    /// Bytes of changed pages that were committed, before compression. Pages that became zero are none.
    bytes_committed,
    /// Nanoseconds in commits, refused ones included: from the call to its return.
    commit_nanos,
    /// Bytes that were read from the data file, or came from object storage; what is mapped is not.
    bytes_read,
    /// Bytes that were written to the data file, or sent to object storage. In a directory, by all handles of it in this
    /// process, as all that follows.
    bytes_written,
    /// Calls of `fdatasync` for the data file. None on object storage.
    syncs,
    /// Nanoseconds in these calls.
    sync_nanos,
    /// Nanoseconds in commits of the index, its own `fdatasync` included. None on object storage.
    index_commit_nanos,
    /// Requests to object storage. None in a directory.
    requests,
}

/// A number that any thread may raise at any time.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Raises it by `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Raises it by the nanoseconds of `time`.
    pub fn add_nanos(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What core counts itself. Blocks that are copied, evicted and spilled are counted by the budget.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) faults_missing: Counter,
    pub(crate) faults_protected: Counter,
    pub(crate) faults_futile: Counter,
    pub(crate) blocks_mapped: Counter,
    pub(crate) blocks_zeroed: Counter,
    pub(crate) blocks_poisoned: Counter,
    pub(crate) bytes_mapped: Counter,
    pub(crate) bytes_copied: Counter,
    pub(crate) bytes_spilled: Counter,
    pub(crate) commits: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) bytes_committed: Counter,
    pub(crate) commit_nanos: Counter,
}

impl Counters {
    pub(crate) fn read(&self) -> Metrics {
        Metrics {
            faults_missing: self.faults_missing.get(),
            faults_protected: self.faults_protected.get(),
            faults_futile: self.faults_futile.get(),
            blocks_mapped: self.blocks_mapped.get(),
            blocks_zeroed: self.blocks_zeroed.get(),
            blocks_poisoned: self.blocks_poisoned.get(),
            bytes_mapped: self.bytes_mapped.get(),
            bytes_copied: self.bytes_copied.get(),
            bytes_spilled: self.bytes_spilled.get(),
            commits: self.commits.get(),
            conflicts: self.conflicts.get(),
            bytes_committed: self.bytes_committed.get(),
            commit_nanos: self.commit_nanos.get(),
            ..Metrics::default()
        }
    }
}
