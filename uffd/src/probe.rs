//! What this kernel lets this process do, found out by doing it once.
//!
//! Versions say little: a container's seccomp filter, a sysctl, the mode of a device or a back-ported patch decide. So
//! every way to a userfaultfd is tried in turn with what spans need of it, and so are arming and PAGEMAP_SCAN.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bigarray_core::memory::WrittenTo;
use bigarray_core::{Error, ErrorKind, PAGE, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};
use std::os::fd::AsFd;
use userfaultfd::{Event, FaultKind, FeatureFlags, IoctlFlags, RegisterMode, Uffd, UffdBuilder};

use crate::arming::arm;
use crate::ioctl;
use crate::limits::errno_of;
use crate::mapping::{Access, HUGE, HarmlessAdvice, Reservation, Scratch};
use crate::memory::memory_file;
use crate::options::{Pagemap, Userfaultfd};
use crate::pagemap::{PageTable, Reader};

/// How long the self-test waits for a fault before it counts as not delivered. Only a machine in trouble, or a kernel
/// that does not do what it says, needs so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ways to a userfaultfd, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `/dev/userfaultfd`, for whom its file mode lets; where there is no such device, the system call.
    Device,
    /// The system call: needs CAP_SYS_PTRACE or `vm.unprivileged_userfaultfd=1`.
    Call,
    /// The system call with UFFD_USER_MODE_ONLY: faults of user code only.
    UserMode,
}

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Device => "userfaultfd by /dev/userfaultfd",
            Source::Call => "userfaultfd by the system call",
            Source::UserMode => "userfaultfd for user code only (UFFD_USER_MODE_ONLY)",
        }
    }

    pub(crate) fn open(self, features: FeatureFlags) -> Result<Uffd, String> {
        match self {
            Source::Device => UffdBuilder::new()
                .close_on_exec(true)
                .non_blocking(true)
                .user_mode_only(false)
                .require_features(features)
                .create()
                .map_err(|error| errno_of(&error).desc().to_owned()),
            Source::Call => ioctl::userfaultfd(false, features).map_err(|errno| errno.desc().to_owned()),
            Source::UserMode => ioctl::userfaultfd(true, features).map_err(|errno| errno.desc().to_owned()),
        }
    }
}

/// The outcome for faults.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The first way that works.
    pub(crate) source: Option<Source>,
    /// Why those before it do not, for people.
    pub(crate) refused: String,
    /// Whether the same way leads to a userfaultfd that arms, or why not.
    pub(crate) arms: Result<(), String>,
}

/// Tries the ways that `choice` allows; once a process and choice.
pub(crate) fn userfaultfd(choice: Userfaultfd) -> &'static Probe {
    static AUTO: OnceLock<Probe> = OnceLock::new();
    static USER_MODE: OnceLock<Probe> = OnceLock::new();
    static NONE: Probe = Probe { source: None, refused: String::new(), arms: Err(String::new()) };
    match choice {
        Userfaultfd::Auto | Userfaultfd::Environment => {
            AUTO.get_or_init(|| first_of(&[Source::Device, Source::Call, Source::UserMode]))
        }
        Userfaultfd::UserMode => USER_MODE.get_or_init(|| first_of(&[Source::UserMode])),
        Userfaultfd::None => &NONE,
    }
}

fn first_of(sources: &[Source]) -> Probe {
    let mut refused = Vec::new();
    for &source in sources {
        match source.open(ioctl::SYNCHRONOUS).and_then(delivers_faults) {
            Ok(()) => {
                let arms = source.open(ioctl::ASYNCHRONOUS).and_then(arms);
                return Probe { source: Some(source), refused: refused.join("; "), arms };
            }
            Err(why) => refused.push(format!("{}: {why}", source.name())),
        }
    }
    let probe = Probe { source: None, refused: refused.join("; "), arms: Err("no page faults".to_owned()) };
    tracing::warn!(
        "no page faults can be had ({}): arrays are mapped when they are opened, and what must be decompressed is held \
         in memory. {KNOBS}",
        probe.refused
    );
    probe
}

/// What to change where no way works.
pub(crate) const KNOBS: &str = "To change that, set the sysctl vm.unprivileged_userfaultfd=1, or give the process \
                                access to /dev/userfaultfd, or let the container's seccomp filter pass userfaultfd";

/// Two faults, as spans have them: a missing page that a moved mapping resolves, and a write to a copied page.
fn delivers_faults(uffd: Uffd) -> Result<(), String> {
    let text = |error: nix::Error| error.desc().to_owned();
    let range = Reservation::new(HUGE).map_err(text)?;
    let base = range.addresses(&(0..HUGE)).start;
    let mode = RegisterMode::MISSING | RegisterMode::WRITE_PROTECT;
    let ioctls =
        uffd.register_with_mode(base as *mut _, HUGE, mode).map_err(|error| errno_of(&error).desc().to_owned())?;
    if !ioctls.contains(IoctlFlags::COPY | IoctlFlags::WRITE_PROTECT | IoctlFlags::WAKE) {
        return Err(format!("lacks calls that are needed, has {ioctls:?}"));
    }
    let (_, copied) = ioctl::copy_protected(&uffd, base + PAGE, &[7; PAGE]);
    copied.map_err(text)?;

    thread::scope(|scope| {
        // A user: reads the missing page, then writes to the copied one.
        let user = scope.spawn(|| {
            let read = range.with_bytes(&(0..PAGE), |bytes| bytes[0]);
            range.write(PAGE + 1, &[read + 8]);
            range.with_bytes(&(PAGE..2 * PAGE), |bytes| (bytes[0], bytes[1]))
        });
        let outcome = resolve_both(&uffd, &range, base);
        // Whoever still waits goes on, over zero memory.
        drop(uffd);
        let seen = user.join().map_err(|_| "the self-test panicked".to_owned())?;
        outcome?;
        if seen == (7, 8) { Ok(()) } else { Err(format!("the self-test saw {seen:?}")) }
    })
}

fn resolve_both(uffd: &Uffd, range: &Reservation, base: usize) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    let mut resolved_missing = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        let event = uffd.read_event().map_err(|error| error.to_string())?;
        match event {
            None if left.is_zero() => return Err("faults are not delivered".to_owned()),
            Some(Event::Pagefault { kind: FaultKind::Missing, addr, .. }) if addr as usize == base => {
                let zeros = Scratch::anonymous(PAGE, Access::ReadWrite).map_err(|errno| errno.desc().to_owned())?;
                range.install(0, zeros).map_err(|errno| errno.desc().to_owned())?;
                uffd.wake(base as *mut _, PAGE).map_err(|error| error.to_string())?;
                resolved_missing = true;
            }
            Some(Event::Pagefault { kind: FaultKind::WriteProtected, addr, .. })
                if addr as usize == base + PAGE && resolved_missing =>
            {
                uffd.remove_write_protection((base + PAGE) as *mut _, PAGE, true).map_err(|error| error.to_string())?;
                return Ok(());
            }
            None => {}
            Some(event) => return Err(format!("unexpected {event:?}")),
        }
    }
}

/// A private mapping of a file, armed: pages written before, written after, given back by the system, first read and
/// first written after, never touched; and one where not even a page table was.
fn arms(uffd: Uffd) -> Result<(), String> {
    const LEN: usize = 2 * HUGE;
    const AFAR: usize = HUGE + 7 * PAGE;
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let table = PageTable::open(Reader::Scan).map_err(|error| text(&error))?;
    let file = memory_file("bigarray-probe").map_err(|error| text(&error))?;
    file.set_len(LEN as u64).map_err(|error| text(&error))?;
    let range = Reservation::new(LEN).map_err(|errno| text(&errno))?;
    let scratch = Scratch::file(file.as_fd(), 0, LEN).map_err(|errno| text(&errno))?;
    scratch.advise(HarmlessAdvice::SmallPages);
    range.install(0, scratch).map_err(|errno| text(&errno))?;
    let read = |page: usize| range.with_bytes(&(page..page + 1), |bytes| std::hint::black_box(bytes[0]));

    for page in 0..3 {
        read(page * PAGE);
    }
    range.write(5 * PAGE, &[1]);
    arm(&uffd, &table, range.addresses(&(0..LEN))).map_err(|errno| text(&errno))?;
    range.discard(&(2 * PAGE..3 * PAGE)).map_err(|errno| text(&errno))?;
    range.write(PAGE, &[1]);
    read(3 * PAGE);
    range.write(4 * PAGE, &[1]);
    read(AFAR);
    let mut found = Vec::new();
    let addresses = range.addresses(&(0..LEN));
    table
        .written(addresses.clone(), WrittenTo::Armed, |run| {
            found.extend(run.step_by(PAGE).map(|page| page - addresses.start));
        })
        .map_err(|error| text(&error))?;
    if found != [PAGE, 4 * PAGE, 5 * PAGE] {
        return Err(format!("found {found:?} to be written"));
    }
    // And it was not for nothing.
    for (page, expected) in [(0, true), (PAGE, false), (2 * PAGE, true), (3 * PAGE, true), (AFAR, true)] {
        let is_protected = table.is_protected(range.addresses(&(page..page + PAGE))).map_err(|error| text(&error))?;
        if is_protected != expected {
            return Err(format!("found page {page} to be protected: {is_protected}"));
        }
    }
    Ok(())
}

/// The best way to find written pages that works and that `choice` allows.
pub(crate) fn page_table(choice: Pagemap) -> Result<Reader> {
    static SCANS: OnceLock<bool> = OnceLock::new();
    if choice != Pagemap::Legacy && *SCANS.get_or_init(|| finds_written_pages(Reader::Scan).is_ok()) {
        return Ok(Reader::Scan);
    }
    finds_written_pages(Reader::Entries).map(|()| Reader::Entries).map_err(|why| {
        let message = format!(
            "written pages cannot be found by /proc/self/pagemap: {why}. /proc must be mounted, and a process that changed \
             its user must be dumpable again (prctl PR_SET_DUMPABLE)"
        );
        Error::new(ErrorKind::Unsupported, message)
    })
}

/// A page written, one only read, one untouched.
fn finds_written_pages(reader: Reader) -> Result<(), String> {
    let table = PageTable::open(reader).map_err(|error| error.to_string())?;
    let range = Reservation::new(HUGE).map_err(|errno| errno.desc().to_owned())?;
    range.advise(&(0..HUGE), HarmlessAdvice::SmallPages);
    range.write(0, &[1]);
    let _ = range.with_bytes(&(PAGE..2 * PAGE), |bytes| std::hint::black_box(bytes[0]));
    let addresses = range.addresses(&(0..HUGE));
    let mut pages = Vec::new();
    table
        .written(addresses.clone(), WrittenTo::Zero, |run| pages.extend(run.step_by(PAGE)))
        .map_err(|error| error.to_string())?;
    pages.retain(|page| *page != addresses.start + PAGE || reader == Reader::Scan);
    if pages == [addresses.start] { Ok(()) } else { Err(format!("found {} pages instead of 1", pages.len())) }
}

/// Whether this machine has the pages that everything else takes for granted.
pub(crate) fn page_size() -> Result<()> {
    match sysconf(SysconfVar::PAGE_SIZE) {
        Ok(Some(bytes)) if bytes as usize == PAGE => Ok(()),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!("pages of {:?} bytes: bigarray needs a kernel with pages of {PAGE}", other.ok().flatten()),
        )),
    }
}
