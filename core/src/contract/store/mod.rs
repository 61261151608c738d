//! What the pager and the transactions ask of storage.

mod change;
mod commit_lock;
mod description;
mod history;
mod names;
mod snapshot;
mod space;
mod spill;
pub mod waiting;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptor::{Codec, Descriptor, Version};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::verify::{Progress, Report};
pub use change::{ArrayChange, AttrChange, BlockChange, Bytes, Change, Committed, PageRun, PageSource};
pub use commit_lock::{CommitLock, LocalCommitLock, LocalCommitLockGuard};
pub use description::StoreDescription;
pub use history::{Commit, Compacted, History};
pub use names::{check_array_name, check_attr_name};
pub use snapshot::{BlockRecord, CachedPages, DataFile, Origin, Segment, Snapshot, State};
pub use space::{OldestSnapshot, Space};
pub use spill::{SpillArea, SpillSlot, SpilledPages};

/// Stores committed states.
pub trait Store: Send + Sync {
    /// The newest committed state. While nothing is committed, every call gives the same `Arc`, as long as one lives.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) in a process forked from the one that opened the store, and past the limit of
    /// waiting for another process; [`Io`](crate::ErrorKind::Io), [`Corrupt`](crate::ErrorKind::Corrupt).
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;

    /// The newest committed state that is known without asking another machine. It is none before those that this store
    /// has shown or committed.
    ///
    /// # Errors
    /// As [`snapshot`](Store::snapshot).
    fn known(&self) -> Result<Arc<dyn Snapshot>> {
        self.snapshot()
    }

    /// The newest committed state: none that was committed before this call is missing. What [`snapshot`](Store::snapshot)
    /// shows may be older where the user allows that.
    ///
    /// # Errors
    /// As [`snapshot`](Store::snapshot).
    fn newest(&self) -> Result<Arc<dyn Snapshot>> {
        self.snapshot()
    }

    /// What [`snapshot`](Store::snapshot) shows, if that is a later state than the one with the number `after`. A thread that
    /// waits for a commit asks this over and over.
    ///
    /// # Errors
    /// As [`snapshot`](Store::snapshot).
    fn newer(&self, after: Version) -> Result<Option<Arc<dyn Snapshot>>> {
        Ok(Some(self.snapshot()?).filter(|snapshot| snapshot.version() > after))
    }

    /// The shortest and the longest pause between two calls of [`newer`](Store::newer), by what one costs. By default right
    /// for some microseconds.
    fn pauses(&self) -> RangeInclusive<Duration> {
        Duration::from_micros(100)..=Duration::from_millis(5)
    }

    /// Makes `change` visible, all or nothing.
    ///
    /// Calls [`conflict::check`](crate::conflict::check) against the state that the commit replaces, where nothing can
    /// change any more. `lock` is the caller's, if it holds one; otherwise the store waits for it.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict): nothing is stored. [`StoreFull`](crate::ErrorKind::StoreFull): nothing
    /// is stored, the store goes on. [`InUse`](crate::ErrorKind::InUse): this thread holds the commit lock for another
    /// transaction. After [`Io`](crate::ErrorKind::Io) from the final sync the store refuses to write until reopened.
    fn commit(&self, change: &Change<'_>, lock: Option<&dyn CommitLock>) -> Result<Committed>;

    /// Waits until no other commit can run, of any thread or process that the store can make wait, and holds that until
    /// the guard is dropped.
    ///
    /// It reaches as far as the store does: a store on a disk makes all processes of the machine wait, one that many
    /// machines share may make no more than this process. Then a commit under the lock can still meet a conflict.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse): this thread holds the commit lock already, and would wait for itself.
    fn commit_lock(&self) -> Result<Box<dyn CommitLock>>;

    /// Where a transaction writes before its commit. Costs nothing until it does.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a store that cannot spill, [`Invalid`](crate::ErrorKind::Invalid)
    /// for one that is open for reading only.
    fn spill_area(&self) -> Result<Arc<dyn SpillArea>> {
        Err(Error::new(ErrorKind::Unsupported, "this store cannot spill"))
    }

    /// Looks at everything that the newest committed state consists of, and goes on after what is damaged. Others read
    /// and commit meanwhile. `progress` is told how far it is, again and again, by the calling thread.
    ///
    /// # Errors
    /// A failure that keeps it from looking; damage is none.
    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
        let _ = progress;
        Err(Error::new(ErrorKind::Unsupported, "this store cannot verify what it holds"))
    }

    /// What there is to say of it, for people.
    ///
    /// # Errors
    /// A failure to find out.
    fn describe(&self) -> Result<StoreDescription> {
        Ok(StoreDescription::default())
    }

    /// What its files are used for.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a store that is not in files of its own; a failure to find out.
    fn space(&self) -> Result<Space> {
        let why = "this database is not in files of its own, whose space could be told of";
        Err(Error::new(ErrorKind::Unsupported, why))
    }

    /// Adds what it counted so far.
    fn add_metrics(&self, metrics: &mut Metrics) {
        let _ = metrics;
    }

    /// Whether it stores arrays whose first rows were dropped ([`Descriptor::skip`]): other programs may count them from the
    /// first.
    ///
    /// [`Descriptor::skip`]: crate::Descriptor::skip
    fn drops_front(&self) -> bool {
        false
    }

    /// Refuses a name that no array can have here. A store may have rules beyond [`check_array_name`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the name and the rule that it breaks.
    fn check_array_name(&self, name: &str) -> Result<()> {
        check_array_name(name)
    }

    /// Refuses a name that no attribute can have here. A store may have rules beyond [`check_attr_name`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) with the name and the rule that it breaks.
    fn check_attr_name(&self, name: &str) -> Result<()> {
        check_attr_name(name)
    }

    /// What it keeps of its past; `None` if that is the states that snapshots hold.
    fn history(&self) -> Option<&dyn History> {
        None
    }

    /// Refuses an array whose [fill value](Descriptor::fill) cannot be kept here.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    fn check_fill(&self, array: &Descriptor) -> Result<()> {
        match &array.fill {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, "this store does not keep fill values other than zero")),
            None => Ok(()),
        }
    }

    /// Refuses a codec that this build does not have.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) with its name.
    fn check_codec(&self, codec: Codec) -> Result<()> {
        match codec {
            Codec::None => Ok(()),
            _ => Err(Error::new(ErrorKind::Unsupported, format!("this store does not have the codec {codec}"))),
        }
    }
}
