//! A pager for tests, a watchdog, and ways to run a test's body in a process of its own.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bigarray_core::memory::{Faults, Job, Memory, Residency, Span};
use bigarray_core::store::DataFile;
use bigarray_core::sync::Mutex;
use bigarray_core::{PAGE, Result};
use bigarray_uffd::{MemoryOptions, Pagemap, UffdMemory, Userfaultfd};

pub(crate) const BLOCK: usize = 64 << 10;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn memory(userfaultfd: Userfaultfd) -> Arc<UffdMemory> {
    memory_with(userfaultfd, Pagemap::Auto)
}

pub(crate) fn memory_with(userfaultfd: Userfaultfd, pagemap: Pagemap) -> Arc<UffdMemory> {
    UffdMemory::new(MemoryOptions { userfaultfd, pagemap, ..MemoryOptions::default() }).unwrap()
}

/// Every mode in which this process gets faults.
pub(crate) fn lazy_memories() -> Vec<Arc<UffdMemory>> {
    let all = [Userfaultfd::Auto, Userfaultfd::UserMode].map(memory);
    let lazy: Vec<_> = all.into_iter().filter(|memory| memory.delivers_faults()).collect();
    if lazy.is_empty() {
        eprintln!("skipped: {}", memory(Userfaultfd::Auto).describe());
    }
    lazy
}

/// Byte `offset` of the content that tests page in: never zero, different in neighbouring pages.
pub(crate) fn content(offset: usize) -> u8 {
    (offset / PAGE * 7 + offset % 251) as u8 | 1
}

pub(crate) fn contents(range: Range<usize>) -> Vec<u8> {
    range.map(content).collect()
}

/// A file of content.
pub(crate) struct ContentFile(pub(crate) File);

impl ContentFile {
    pub(crate) fn make(len: usize) -> Arc<dyn DataFile> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&contents(0..len)).unwrap();
        Arc::new(ContentFile(file))
    }
}

impl DataFile for ContentFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buf, offset)
            .map_err(|error| bigarray_core::Error::io("reading", error))
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

/// How a fake pager resolves a missing block.
#[derive(Clone)]
pub(crate) enum How {
    Zero,
    Map(Arc<dyn DataFile>),
    Copy,
    /// Copy, by a job.
    Job,
    /// Panic in the monitor.
    Panic,
    /// Panic in a job.
    PanicInJob,
    Poison,
    /// Not until the test calls `load`.
    Never,
}

/// A pager that pages in `content` block by block.
pub(crate) struct Fake {
    pub(crate) span: Box<dyn Span>,
    pub(crate) how: How,
    /// Blocks loaded.
    pub(crate) loaded: Mutex<HashSet<usize>>,
    pub(crate) loads: AtomicUsize,
    pub(crate) missing: AtomicUsize,
    pub(crate) protected: AtomicUsize,
    pub(crate) failures: Mutex<Vec<String>>,
    myself: Weak<Fake>,
}

impl Fake {
    pub(crate) fn new(memory: &dyn Memory, len: usize, how: How) -> Arc<Fake> {
        let span = memory.reserve(0..len, Residency::Lazy).unwrap();
        let fake = Arc::new_cyclic(|myself| Fake {
            span,
            how,
            loaded: Mutex::default(),
            loads: AtomicUsize::new(0),
            missing: AtomicUsize::new(0),
            protected: AtomicUsize::new(0),
            failures: Mutex::default(),
            myself: myself.clone(),
        });
        fake.span.attach(fake.myself.clone());
        fake
    }

    pub(crate) fn read(&self, at: usize) -> u8 {
        let mut byte = 0;
        self.span
            .with_bytes(at..at + 1, &mut |bytes| {
                byte = bytes[0];
                Ok(())
            })
            .unwrap();
        byte
    }

    pub(crate) fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        bytes(&*self.span, range)
    }

    pub(crate) fn load(&self, block: usize, how: &How) {
        let range = block * BLOCK..(block + 1) * BLOCK;
        let mut loaded = self.loaded.lock();
        if loaded.insert(block) {
            self.loads.fetch_add(1, Ordering::SeqCst);
            match how {
                How::Zero => self.span.zero(range.clone()).unwrap(),
                How::Map(file) => self.span.map(range.clone(), file, range.start as u64, true).unwrap(),
                How::Copy | How::Job => self.span.copy(range.start, &contents(range.clone())).unwrap(),
                How::Poison => self.span.poison(range.clone(), "array \"a\": block 0 cannot be read: as the test asks"),
                How::Panic | How::PanicInJob => panic!("as the test asks"),
                How::Never => {}
            }
        }
        self.span.wake(range);
    }
}

pub(crate) fn bytes(span: &dyn Span, range: Range<usize>) -> Vec<u8> {
    let mut copy = Vec::new();
    span.with_bytes(range, &mut |bytes| {
        copy.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    copy
}

/// The bytes of `span` at `at`, as a counter.
pub(crate) fn counter(span: &dyn Span, at: usize) -> &AtomicU64 {
    assert!(at.is_multiple_of(8) && at < span.bytes().len());
    // SAFETY: the address is the span's and aligned; a test uses it as anything but a counter while no store can happen.
    unsafe { AtomicU64::from_ptr(span.base().as_ptr().add(at).cast()) }
}

impl Faults for Fake {
    fn missing(&self, offset: usize) -> Vec<Job> {
        self.missing.fetch_add(1, Ordering::SeqCst);
        let (block, how) = (offset / BLOCK, self.how.clone());
        match how {
            How::Never => Vec::new(),
            How::Job | How::PanicInJob => {
                let myself = self.myself.clone();
                vec![Box::new(move || {
                    if let Some(myself) = myself.upgrade() {
                        myself.load(block, &how);
                    }
                })]
            }
            _ => {
                self.load(block, &how);
                Vec::new()
            }
        }
    }

    fn protected(&self, offset: usize) {
        self.protected.fetch_add(1, Ordering::SeqCst);
        let block = offset / BLOCK;
        self.span.unprotect(block * BLOCK..(block + 1) * BLOCK).unwrap();
    }

    fn fail(&self, why: &str) {
        self.failures.lock().push(why.to_owned());
        // As a pager does: what may still be waited for can never come.
        self.span.poison(self.span.bytes(), why);
    }
}

/// Ends the process if a test hangs.
pub(crate) struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub(crate) fn new(limit: Duration) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let flag = done.clone();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        std::thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < limit {
                std::thread::sleep(Duration::from_millis(50));
                if flag.load(Ordering::SeqCst) {
                    return;
                }
            }
            nix::unistd::write(std::io::stderr(), format!("{test} hangs\n").as_bytes()).ok();
            std::process::abort();
        });
        Watchdog(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ends nothing but hangs, however busy the machine is.
pub(crate) fn watchdog() -> Watchdog {
    Watchdog::new(Duration::from_secs(600))
}

const ROLE: &str = "BIGARRAY_UFFD_TEST_ROLE";

/// Whether this process was started by [`child`] in that role.
pub(crate) fn is_child(role: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|it| it == role)
}

/// Runs the calling test once more in a process of its own, as `role`.
pub(crate) fn child(role: &str, environment: &[(&str, &str)]) -> Output {
    let test = std::thread::current().name().unwrap().to_owned();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The same, where the other process must succeed.
#[track_caller]
pub(crate) fn child_succeeds(role: &str, environment: &[(&str, &str)]) -> Output {
    let output = child(role, environment);
    assert!(output.status.success(), "{output:?}");
    output
}

/// The mappings that lie in `range`, by lines of `/proc/self/maps`.
pub(crate) fn mappings_in(span: &dyn Span, range: Range<usize>) -> usize {
    let base = span.base().as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
            start < base + range.end && base + range.start < end
        })
        .count()
}

/// Waits until `condition` holds. Fails before a [`watchdog`] would end the process, which could not say what it was.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(300), "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says that a means of the test is missing here; fails where that is not allowed.
pub(crate) fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("BIGARRAY_TEST_NO_SKIP").is_none(), "may not be skipped here: {why}");
}
