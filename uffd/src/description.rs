//! What a memory is made of, and the limits of its process, for people.

use std::{fmt, fs};

use bigarray_core::{Error, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::inner::Inner;
use crate::limits::{mappings, max_map_count};
use crate::pagemap::Reader;
use crate::probe::Source;

/// Which faults a process gets. Its `Display` is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultMode {
    /// All of them: a system call that is handed a missing page waits for it.
    KernelAndUser,
    /// Those of user code: a system call that is handed a missing page fails with EFAULT.
    UserOnly,
    /// None: everything that is stored is mapped when an array is opened.
    None,
}

impl fmt::Display for FaultMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultMode::KernelAndUser => "of user code and of system calls",
            FaultMode::UserOnly => "of user code only: prefetch what a system call is handed",
            FaultMode::None => "none: arrays are mapped when they are opened",
        })
    }
}

/// What the kernel lets this process do, and the limits that it meets. A limit that is infinite, or not known, is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDescription {
    /// Which faults arrive.
    pub faults: FaultMode,
    /// Written pages are found by `PAGEMAP_SCAN`; else `/proc/self/pagemap` is read.
    pub scans: bool,
    /// Mapped memory that is searched again and again is write-protected asynchronously.
    pub tracks_writes: bool,
    /// Blocks are taken out of their spans before they are spilled.
    pub moves_pages: bool,
    /// All of this in a line, with what was refused, and why.
    pub text: String,
    /// Threads that load blocks; 0 where no fault arrives.
    pub resolvers: usize,
    /// Mappings that the process has.
    pub mappings: usize,
    /// Mappings beyond which spans do without more of them.
    pub most_mappings: usize,
    /// `vm.max_map_count`.
    pub max_map_count: usize,
    /// Descriptors that the process has open.
    pub descriptors: Option<usize>,
    /// `RLIMIT_NOFILE`.
    pub max_descriptors: Option<u64>,
    /// `RLIMIT_AS`, in bytes.
    pub max_address_bytes: Option<u64>,
    /// The mode of transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

impl Inner {
    /// Looks at the limits now.
    pub(crate) fn describe(&self) -> Result<MemoryDescription> {
        self.check_process()?;
        let faults = match self.source {
            Some(Source::Device | Source::Call) => FaultMode::KernelAndUser,
            Some(Source::UserMode) => FaultMode::UserOnly,
            None => FaultMode::None,
        };
        Ok(MemoryDescription {
            faults,
            scans: self.reader == Reader::Scan,
            tracks_writes: self.write_tracking.is_some(),
            moves_pages: self.moves,
            text: self.description.clone(),
            resolvers: if self.source.is_some() { self.resolvers } else { 0 },
            mappings: mappings(),
            most_mappings: self.mappings.limit(),
            max_map_count: max_map_count(),
            descriptors: fs::read_dir("/proc/self/fd").ok().map(|open| open.count().saturating_sub(1)),
            max_descriptors: limit(Resource::RLIMIT_NOFILE)?,
            max_address_bytes: limit(Resource::RLIMIT_AS)?,
            huge_pages: huge_pages(),
        })
    }
}

fn limit(resource: Resource) -> Result<Option<u64>> {
    let (soft, _) = getrlimit(resource).map_err(|errno| Error::io("asking for a limit", errno.into()))?;
    Ok((soft != RLIM_INFINITY).then_some(soft))
}

/// The mode is the word in brackets.
fn huge_pages() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}
