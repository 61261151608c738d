//! The memory of Linux as core sees it: it reserves spans, and says what this kernel lets the process do.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bigarray_core::memory::{Job, Memory, Residency, Span};
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::aside::Aside;
use crate::description::MemoryDescription;
use crate::inner::Inner;
use crate::ioctl::{ASYNCHRONOUS, SYNCHRONOUS};
use crate::limits::MappingCount;
use crate::mapping::HUGE;
use crate::memory_file::memory_file;
use crate::monitor::Shared;
use crate::options::MemoryOptions;
use crate::pagemap::{PageTable, Reader};
use crate::probe::{self, Probe, Source};
use crate::read_ahead;
use crate::self_test;
use crate::shortage::{io_error, os_error};
use crate::signals;
use crate::span::UffdSpan;
use crate::threads::{self, Threads};

/// Memory of Linux: lazy spans by userfaultfd where the kernel lets this process have it, eager ones everywhere.
///
/// Its threads end when it and every span it gave out are dropped.
///
/// # Examples
/// ```
/// use bigarray_core::memory::{Memory, Residency};
/// use bigarray_uffd::{MemoryOptions, UffdMemory};
///
/// let memory = UffdMemory::new(MemoryOptions::default())?;
/// println!("{}", memory.describe());
/// // A terabyte of addresses, no memory.
/// let span = memory.reserve(0..1 << 40, Residency::Eager)?;
/// span.write(1 << 39, &[1, 2, 3]);
/// # Ok::<(), bigarray_core::Error>(())
/// ```
pub struct UffdMemory {
    inner: Arc<Inner>,
    /// Its clock.
    began: Instant,
}

impl UffdMemory {
    /// Finds out what the kernel allows (once a process) and starts the threads.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for an environment variable that is not understood or 0 resolvers;
    /// [`ErrorKind::Unsupported`] on a kernel without what even eager spans need (pages of 4 KiB,
    /// `/proc/self/pagemap`); [`ErrorKind::Io`] where threads or descriptors cannot be had.
    pub fn new(options: MemoryOptions) -> Result<Arc<UffdMemory>> {
        let options = options.resolved()?;
        probe::page_size()?;
        signals::provide();
        let probe = probe::userfaultfd(options.userfaultfd)?;
        let reader = probe::page_table(options.pagemap)?;
        let open = |source: Source, features| {
            source.open(features).map_err(|errno| os_error(format!("opening a {}", source.name()), errno))
        };
        let uffd = probe.source.map(|source| open(source, SYNCHRONOUS)).transpose()?;
        // Marks in the page table are searched for by PAGEMAP_SCAN alone.
        let tracks = probe.tracks.is_ok() && reader == Reader::Scan;
        let write_tracking = probe.source.filter(|_| tracks).map(|source| open(source, ASYNCHRONOUS)).transpose()?;
        let page_table = PageTable::open(reader).map_err(|error| io_error("opening /proc/self/pagemap", error))?;
        let tells_protection = uffd.as_ref().map_or(Ok(true), |uffd| self_test::tells_protection(uffd, reader));
        let page_table = page_table.telling_protection(
            tells_protection
                .map_err(|errno| os_error("finding out whether the page table tells of protection", errno))?,
        );
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| os_error("creating an eventfd", errno))?;
        let empty = memory_file("bigarray-poison")?;
        let shared = Arc::new(Shared::new(uffd, stop));
        let threads = Threads::start(&shared, options.resolvers)?;
        Ok(Arc::new(UffdMemory {
            began: Instant::now(),
            inner: Arc::new(Inner {
                threads,
                shared,
                mappings: MappingCount::new(options.max_mappings),
                page_table,
                write_tracking,
                moves: probe.moves.is_ok(),
                aside: Aside::default(),
                empty,
                source: probe.source,
                reader,
                resolvers: options.resolvers,
                description: describe(probe, reader),
            }),
        }))
    }

    /// What this memory is made of and what was refused, in a line for messages.
    pub fn describe(&self) -> &str {
        &self.inner.description
    }

    /// The same part by part, and the limits of the process as they are now.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] in a forked child.
    pub fn description(&self) -> Result<MemoryDescription> {
        self.inner.describe()
    }
}

impl fmt::Debug for UffdMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UffdMemory").field(&self.inner.description).finish()
    }
}

fn describe(probe: &Probe, reader: Reader) -> String {
    let faults = match (probe.source, probe.refused.as_str()) {
        (Some(source), "") => source.name().to_owned(),
        (Some(Source::UserMode), refused) => {
            format!("{} (refused: {refused}). {}", Source::UserMode.name(), probe::KNOBS)
        }
        (Some(source), refused) => format!("{} (refused: {refused})", source.name()),
        (None, "") => "no page faults, as asked for".to_owned(),
        (None, refused) => format!("no page faults (refused: {refused}). {}", probe::KNOBS),
    };
    let pages = match reader {
        Reader::Scan => "PAGEMAP_SCAN",
        Reader::Entries => "reading /proc/self/pagemap",
    };
    let tracked = match (&probe.tracks, reader) {
        (Ok(()), Reader::Scan) => ", in tracked ranges by asynchronous write protection".to_owned(),
        (Err(why), Reader::Scan) if !why.is_empty() => format!("; nothing is tracked ({why})"),
        _ => String::new(),
    };
    let moved = match &probe.moves {
        Ok(()) => "; blocks give way by UFFDIO_MOVE".to_owned(),
        Err(why) if probe.source.is_some() => {
            format!("; what a device stores to a block that gives way is lost, since UFFDIO_MOVE cannot be had ({why})")
        }
        Err(_) => String::new(),
    };
    format!("{faults}; written pages by {pages}{tracked}{moved}")
}

impl Memory for UffdMemory {
    fn delivers_faults(&self) -> bool {
        self.inner.source.is_some()
    }

    fn delivers_kernel_faults(&self) -> bool {
        matches!(self.inner.source, Some(Source::Device | Source::Call))
    }

    fn reserve(&self, bytes: Range<usize>, residency: Residency) -> Result<Box<dyn Span>> {
        if bytes.is_empty() || ![bytes.start, bytes.end].iter().all(|end| end.is_multiple_of(HUGE)) {
            let message =
                format!("a span of bytes {bytes:?}: both ends must be multiples of {HUGE} (2 MiB), and differ");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.inner.check_process()?;
        if residency == Residency::Lazy {
            if self.inner.source.is_none() {
                let message = format!("a lazy span: {}", self.inner.description);
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            self.inner.shared.failure.check("no new memory until the database is opened in a new process")?;
        }
        let len = bytes.len();
        let span = UffdSpan::reserve(&self.inner, bytes, residency)
            .map_err(|errno| os_error(format!("reserving {len} bytes of addresses"), errno))?;
        Ok(Box::new(span))
    }

    fn check_process(&self) -> Result<()> {
        self.inner.check_process()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn run_ahead(&self, job: Job) {
        self.inner.threads.run_ahead(job);
    }

    fn read_ahead(&self, file: &Arc<dyn DataFile>, bytes: Range<u64>, exactly: bool) -> Result<()> {
        let is_over = || self.inner.shared.stopping.load(Ordering::Relaxed);
        read_ahead::read_in(&**file, bytes, exactly, is_over)
    }

    fn report(&self, report: Job) {
        threads::report_later(report);
    }

    fn has_room_for_mappings(&self, n: usize) -> bool {
        self.inner.mappings.has_room_for(n)
    }

    fn most_mappings(&self) -> usize {
        self.inner.mappings.limit()
    }
}
