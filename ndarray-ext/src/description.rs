//! How a database works on this machine, for people.

use std::fmt;
use std::path::PathBuf;

use bigarray_core::{Result, signals};
use bigarray_uffd::FaultMode;

use crate::database::Database;
use crate::options::Pager;

/// How a database works on this machine: what the kernel lets the process do, and the limits that it meets.
///
/// Its `Display` is a report for people, a line for each subject. A limit that is infinite, or not known, is `None`.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// let description = db.describe()?;
/// if description.mappings > description.most_mappings / 2 {
///     println!("raise vm.max_map_count: {}", description.max_map_count);
/// }
/// # Ok::<(), bigarray::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// The directory, or the URL.
    pub place: PathBuf,
    /// The kind of file system, or the service.
    pub storage: String,
    /// Bytes that are stored; `None` on object storage.
    pub stored_bytes: Option<u64>,
    /// Snapshots and transactions, of all processes of the machine, that keep a state from being forgotten; `None` on
    /// object storage.
    pub readers: Option<usize>,
    /// Where chunks that were fetched are kept, on object storage.
    pub cache: Option<String>,
    /// Whether it is open for reading only.
    pub read_only: bool,
    /// Which faults arrive.
    pub faults: FaultMode,
    /// How stored blocks become memory. Without a disk cache blocks on object storage are copied always, and with one those
    /// of transactions.
    pub pager: Pager,
    /// Written pages are found by `PAGEMAP_SCAN` (Linux 6.7); else the page table is read, which takes longer.
    pub pagemap_scan: bool,
    /// Memory that is searched for writes again and again is tracked (Linux 6.7).
    pub tracks_writes: bool,
    /// Pages are taken from the view's addresses before they are spilled (Linux 6.8), so that nothing that a device stores
    /// is lost.
    pub moves_pages: bool,
    /// What the kernel refused, and what to change, in a line.
    pub memory: String,
    /// Threads that load blocks.
    pub resolvers: usize,
    /// The memory budget in bytes; `usize::MAX` if there is none.
    pub budget_bytes: usize,
    /// Bytes of it that are in use.
    pub used_bytes: usize,
    /// Mappings that the process has.
    pub mappings: usize,
    /// Mappings beyond which blocks are copied instead.
    pub most_mappings: usize,
    /// The sysctl `vm.max_map_count`.
    pub max_map_count: usize,
    /// Descriptors that the process has open.
    pub descriptors: Option<usize>,
    /// Descriptors that it may have (`ulimit -n`).
    pub max_descriptors: Option<u64>,
    /// Bytes of addresses that it may have (`ulimit -v`). A view is below 128 TiB in any case; larger arrays are used by
    /// [`rows`](crate::BigArray::rows).
    pub max_address_bytes: Option<u64>,
    /// The kernel's mode of transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

impl Database {
    /// How this database works on this machine.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// let db = bigarray::Database::options().memory_budget(64 << 20).open(dir.path().join("a.bigarray"))?;
    /// let description = db.describe()?;
    /// assert_eq!(description.budget_bytes, 64 << 20);
    /// println!("{description}");
    /// // database     "a.bigarray" (ext4, or ext2 or ext3), 2.0 MiB stored, 0 readers
    /// // faults       of user code and of system calls
    /// // …
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// What storage reports; [`InUse`](crate::ErrorKind::InUse) in a forked process.
    pub fn describe(&self) -> Result<Description> {
        self.home.check_process()?;
        let _held = signals::hold_between_waits();
        let (memory, store) = (self.home.memory.description()?, self.home.engine.describe_store()?);
        let usage = self.home.engine.memory_use();
        Ok(Description {
            place: self.home.dir.clone(),
            storage: store.kind,
            stored_bytes: store.stored_bytes,
            readers: store.readers,
            cache: store.cache,
            read_only: self.home.read_only,
            faults: memory.faults,
            pager: if store.is_copied { Pager::Copy } else { self.home.pager },
            pagemap_scan: memory.scans,
            tracks_writes: memory.tracks_writes,
            moves_pages: memory.moves_pages,
            memory: memory.text,
            resolvers: memory.resolvers,
            budget_bytes: usage.budget_bytes,
            used_bytes: usage.used_bytes,
            mappings: memory.mappings,
            most_mappings: memory.most_mappings,
            max_map_count: memory.max_map_count,
            descriptors: memory.descriptors,
            max_descriptors: memory.max_descriptors,
            max_address_bytes: memory.max_address_bytes,
            huge_pages: memory.huge_pages,
        })
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database     {:?} ({})", self.place, self.storage)?;
        if let Some(bytes) = self.stored_bytes {
            write!(f, ", {} stored", Bytes(bytes))?;
        }
        if let Some(readers) = self.readers {
            write!(f, ", {readers} {}", if readers == 1 { "reader" } else { "readers" })?;
        }
        writeln!(f, "{}", if self.read_only { ", open for reading only" } else { "" })?;
        if let Some(cache) = &self.cache {
            writeln!(f, "cache        {cache}")?;
        }
        writeln!(f, "faults       {}", self.faults)?;
        writeln!(f, "memory       {}", self.memory)?;
        let pager = match self.pager {
            Pager::Map => "blocks are mapped",
            Pager::Copy => "blocks are copied",
        };
        writeln!(f, "pager        {pager}; {} resolver threads", self.resolvers)?;
        match self.budget_bytes {
            usize::MAX => writeln!(f, "budget       none, {} used", Bytes(self.used_bytes as u64))?,
            budget => {
                writeln!(f, "budget       {}, {} used", Bytes(budget as u64), Bytes(self.used_bytes as u64))?;
            }
        }
        writeln!(
            f,
            "mappings     {}, blocks are copied beyond {} (vm.max_map_count is {})",
            self.mappings, self.most_mappings, self.max_map_count
        )?;
        let descriptors = self.descriptors.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        match self.max_descriptors {
            Some(most) => writeln!(f, "descriptors  {descriptors} of {most} (ulimit -n)")?,
            None => writeln!(f, "descriptors  {descriptors}, no limit")?,
        }
        match self.max_address_bytes {
            Some(most) => writeln!(f, "addresses    {} at most (ulimit -v)", Bytes(most))?,
            None => writeln!(f, "addresses    no limit but the processor's")?,
        }
        write!(f, "huge pages   {}", self.huge_pages.as_deref().unwrap_or("unknown"))
    }
}

/// A number of bytes, with a unit that a person reads.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        let Some(last) = self.0.checked_ilog2().map(|log| log / 10).filter(|power| *power > 0) else {
            return write!(f, "{} bytes", self.0);
        };
        let power = last.min(UNITS.len() as u32);
        write!(f, "{:.1} {}", self.0 as f64 / (1_u64 << (10 * power)) as f64, UNITS[power as usize - 1])
    }
}
