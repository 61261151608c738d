//! How a database is opened.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bigarray_core::{Error, ErrorKind, Result};
use bigarray_store_lmdb::Durability;

/// How stored blocks become memory.
///
/// ```
/// use bigarray::Pager;
///
/// assert_eq!("copy".parse::<Pager>()?, Pager::Copy);
/// assert_eq!(Pager::Map.to_string(), "map");
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pager {
    /// Mapped from the data file: no copy, and the kernel's page cache, shared by all processes, is the cache.
    #[default]
    Map,
    /// Copied: every page in memory is this process's own.
    Copy,
}

impl Pager {
    /// The default: what the environment variable `BIGARRAY_PAGER` says (`map` or `copy`), else [`Pager::Map`].
    pub(crate) fn from_env() -> Result<Pager> {
        match std::env::var_os("BIGARRAY_PAGER") {
            None => Ok(Pager::default()),
            Some(value) => value.to_string_lossy().parse().map_err(|e: Error| e.context("BIGARRAY_PAGER")),
        }
    }
}

impl fmt::Display for Pager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pager::Map => "map",
            Pager::Copy => "copy",
        })
    }
}

impl FromStr for Pager {
    type Err = Error;

    fn from_str(name: &str) -> Result<Pager> {
        match name {
            "map" => Ok(Pager::Map),
            "copy" => Ok(Pager::Copy),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                format!("no pager is called {name:?}: there are \"map\" and \"copy\""),
            )),
        }
    }
}

/// How to open a database; made by [`Database::options`](crate::Database::options).
///
/// ```
/// use bigarray::{Database, Durability, Pager};
///
/// # let dir = tempfile::tempdir().unwrap();
/// let db = Database::options()
///     .durability(Durability::LastCommitMayBeLost)
///     .pager(Pager::Copy)
///     .open(dir.path().join("a.bigarray"))?;
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options open nothing by themselves"]
pub struct OpenOptions {
    pub(crate) read_only: bool,
    pub(crate) create: bool,
    pub(crate) map_size: Option<usize>,
    pub(crate) memory_budget: Option<usize>,
    pub(crate) spill_under_views: bool,
    pub(crate) durability: Durability,
    pub(crate) pager: Option<Pager>,
    pub(crate) resolvers: Option<usize>,
    pub(crate) verify: bool,
    pub(crate) allow_network_fs: bool,
    pub(crate) wait_timeout: Option<Duration>,
    pub(crate) patience: Option<Duration>,
    #[cfg(feature = "icechunk")]
    pub(crate) remote: bigarray_store_icechunk::Options,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            read_only: false,
            create: true,
            map_size: None,
            memory_budget: None,
            spill_under_views: true,
            durability: Durability::default(),
            pager: None,
            resolvers: None,
            verify: false,
            allow_network_fs: false,
            wait_timeout: None,
            patience: None,
            #[cfg(feature = "icechunk")]
            remote: bigarray_store_icechunk::Options::default(),
        }
    }
}

impl OpenOptions {
    /// Opens for reading only: nothing is written, not even the lock file where it cannot be; transactions can be begun
    /// but change nothing. Default: no.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// drop(Database::open(&path)?);
    /// let db = Database::options().read_only(true).open(&path)?;
    /// assert!(db.begin()?.create::<u8, _>("a", 1).unwrap_err().is_invalid());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Creates the database if there is none. Default: yes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// assert!(Database::options().create(false).open(&path).unwrap_err().is_not_found());
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Bytes that the index may reach; the elements themselves do not count. The default, as much as address space
    /// allows up to 1 TiB, is never full before the disk is.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// let db = Database::options().map_size(64 << 20).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn map_size(mut self, bytes: usize) -> Self {
        self.map_size = Some(bytes);
        self
    }

    /// Bytes of memory that all open arrays of this database may use besides the page cache: at least 4 MiB, two blocks.
    /// Each opening has its own budget; clones share it. Default: what the environment variable
    /// `BIGARRAY_MEMORY_BUDGET` says (bytes, or a number with the suffix K, M or G), else half of what the machine or
    /// the process's cgroup has.
    ///
    /// Counted are blocks that were copied ([`Pager::Copy`]) or decompressed (those of a [`Codec`](crate::Codec)), and memory of new
    /// data: blocks never stored, and pages that were written to. Not counted are stored blocks that are mapped, which
    /// are the kernel's page cache, and at most 64 MiB that a commit works with.
    ///
    /// Above the budget, blocks that were only read are evicted, and changes are spilled: they are saved to the data file
    /// early, where no snapshot shows them. Both are loaded again when they are touched. So a transaction may write many
    /// times the budget, through one view too.
    ///
    /// **Rewriting old data in place** needs RAM for what you changed while a view is alive, since the blocks are mapped.
    /// Work in [`rows_mut`](crate::BigArrayMut::rows_mut) windows, or call [`flush`](crate::BigArrayMut::flush):
    /// [`savepoint`](crate::Transaction::savepoint) and [`append`](crate::BigArrayMut::append) spill such changes, too,
    /// and so does opening another array once this one is closed. Or open the database with [`Pager::Copy`].
    ///
    /// **On a full disk** the next [`append`](crate::BigArrayMut::append), [`push`](crate::BigArrayMut::push),
    /// [`rows_mut`](crate::BigArrayMut::rows_mut) or [`flush`](crate::BigArrayMut::flush) fails with
    /// [`StoreFull`](crate::ErrorKind::StoreFull), and so does the commit. Through one view no error can be returned, and
    /// changes stay in memory: fill an array much larger than memory by windows.
    ///
    /// Several threads that use a few blocks each at one moment may exceed the budget for that moment.
    ///
    /// **Without page faults** ([which processes](crate::guide::safety#what-linux-lets-a-process-do)) only changes leave
    /// memory, and only while no view lives. An array with a [`Codec`](crate::Codec) is then held in memory whole, decompressed, as
    /// long as it is open. If it does not fit the budget, beside the other open arrays, opening it is
    /// [`Unsupported`](crate::ErrorKind::Unsupported), and the error says how many bytes would do.
    ///
    /// ```
    /// # use bigarray::Database;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// let db = Database::options().memory_budget(64 << 20).open(&path)?;
    /// let error = Database::options().memory_budget(1 << 20).open(&path).unwrap_err();
    /// assert!(error.is_invalid()); // ... and it says what would work
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// Whether changes may be spilled while views live, once they exceed the
    /// [`memory_budget`](Self::memory_budget). Default: yes.
    ///
    /// While a page is spilled, a write to it waits. A write that bypasses the processor's page tables, to memory that
    /// the kernel pinned earlier, does not wait. From Linux 6.8 on such pages stay until they are not pinned. Before, with
    /// this on, the following are not supported *into* a **mutable view**, and may lose what they bring: reads from files
    /// opened with `O_DIRECT`, or that their file system does not cache (FUSE with `direct_io`, CIFS), io_uring with
    /// fixed (registered) buffers, and `process_vm_writev`. Uncached reads from 9p are not supported so on any Linux.
    /// Ordinary `read`s of other files are fine.
    ///
    /// With `false`, changes are spilled only while no view lives: in [`flush`](crate::BigArrayMut::flush),
    /// [`savepoint`](crate::Transaction::savepoint), [`append`](crate::BigArrayMut::append) and between windows
    /// ([`rows_mut`](crate::BigArrayMut::rows_mut)). Until then the budget may be exceeded.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// let db = Database::options().spill_under_views(false).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn spill_under_views(mut self, spill: bool) -> Self {
        self.spill_under_views = spill;
        self
    }

    /// What a commit survives. Default: everything, [`Durability::Full`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::{Database, Durability};
    ///
    /// let db = Database::options().durability(Durability::LastCommitMayBeLost).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How stored blocks become memory. Default: what the environment variable `BIGARRAY_PAGER` says (`map` or `copy`),
    /// else [`Pager::Map`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::{Database, Pager};
    ///
    /// let db = Database::options().pager(Pager::Copy).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn pager(mut self, pager: Pager) -> Self {
        self.pager = Some(pager);
        self
    }

    /// Threads that load blocks which cannot be mapped: compressed, copied or fetched ones. At least 1. Default: one a
    /// processor, 2 to 8.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// let db = Database::options().resolvers(4).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn resolvers(mut self, threads: usize) -> Self {
        self.resolvers = Some(threads);
        self
    }

    /// Whether stored pages are compared with their checksums when they are mapped (copied ones always are), and
    /// whether opening an array sees that no block of it is missing, which would read as zeros. The latter takes about
    /// a microsecond a stored block, once a version of the array. Default: no.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// let db = Database::options().verify(true).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Opens a database on a network file system, where locks and mappings are rarely what they promise: the caller
    /// knows that on this one they are. Default: no.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("a.bigarray");
    /// use bigarray::Database;
    ///
    /// let db = Database::options().allow_network_fs(true).open(&path)?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn allow_network_fs(mut self, allow: bool) -> Self {
        self.allow_network_fs = allow;
        self
    }

    /// How long to wait, at most, for what another process or thread holds: the commit lock, and the right to open,
    /// close or create the database. Past it is [`InUse`](ErrorKind::InUse), naming what was waited for and which
    /// process or thread holds it; nothing is stored then, and the call can be made again.
    /// [`Database::transact`](crate::Database::transact) does not run again after it.
    ///
    /// Default: as long as it takes. A wait that lasts is reported by a warning event of `tracing`, after a second (for
    /// another thread) or three (for another process), and again at growing intervals.
    ///
    /// It is no limit for a commit as a whole, whose own work takes as long as the disk does. Of several openings of
    /// one directory in one process the shortest limit counts for all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use bigarray::Database;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = Database::options().wait_timeout(Duration::from_secs(30)).open(dir.path().join("a.bigarray"))?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.wait_timeout = Some(limit);
        self
    }

    /// How long an access to a view waits for storage beyond a network that does not answer. The access is a load or a
    /// store, and no `Result` can be returned from it: while there is patience it is tried again, and goes on as if
    /// nothing had been once storage answers. Past it the process ends, as after any failure of storage
    /// ([safety](crate#safety)). The time counts from the first failure after which nothing of the array could be loaded.
    /// One attempt counts for half of it at most, since the process itself may have been stopped meanwhile. Default: two
    /// minutes.
    ///
    /// What can return an error does not wait so: [`prefetch`](crate::BigArray::prefetch), opening an array and
    /// [`commit`](crate::Transaction::commit) are [`Unavailable`](ErrorKind::Unavailable) when storage says so. A database
    /// in a directory never is.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use bigarray::Database;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = Database::options().patience(Duration::from_secs(600)).open(dir.path().join("a.bigarray"))?;
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = Some(limit);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pagers_have_names() {
        assert_eq!("map".parse::<Pager>().unwrap(), Pager::Map);
        assert_eq!("copy".parse::<Pager>().unwrap(), Pager::Copy);
        assert_eq!([Pager::Map, Pager::Copy].map(|pager| pager.to_string()), ["map", "copy"]);
        let error = "mmap".parse::<Pager>().unwrap_err();
        assert!(error.is_invalid() && error.to_string().contains("\"mmap\""), "{error}");
    }
}
