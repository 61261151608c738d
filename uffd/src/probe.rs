//! What this kernel lets this process do, found out by trying once.
//!
//! Versions say little: a container's seccomp filter, a sysctl, the mode of a device or a back-ported patch decide. So
//! every way to a userfaultfd is tried in turn with what spans need of it, and so are write tracking and PAGEMAP_SCAN.
//!
//! A refusal is remembered. A shortage (of descriptors, memory, threads) is an error of this call, and the next one
//! tries again.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use bigarray_core::memory::WrittenTo;
use bigarray_core::{Error, ErrorKind, PAGE, Result};
use bigarray_process::{PerProcess, Unshared};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{SysconfVar, sysconf};
use std::os::fd::AsFd;
use userfaultfd::{Event, FaultKind, FeatureFlags, IoctlFlags, RegisterMode, Uffd, UffdBuilder};

use crate::mapping::{Access, HUGE, HarmlessAdvice, Reservation, Scratch};
use crate::memory_file::memory_file;
use crate::options::{Pagemap, Userfaultfd};
use crate::pagemap::{PageTable, Reader};
use crate::shortage::{Failure, SELF_TEST, errno_of, failed, failed_io, thread_error};
use crate::write_tracking::track_writes;
use crate::{ioctl, self_test, write_protect};

/// How long the self-test waits for a fault before it counts as not delivered. Only a machine in trouble, or a kernel
/// that does not do what it says, needs so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ways to a userfaultfd, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `/dev/userfaultfd`, where its file mode lets this process open it; where there is no such device, the system call.
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

    pub(crate) fn open(self, features: FeatureFlags) -> Result<Unshared<Uffd>, Errno> {
        Unshared::open(|| match self {
            Source::Device => UffdBuilder::new()
                .close_on_exec(true)
                .non_blocking(true)
                .user_mode_only(false)
                .require_features(features)
                .create()
                .map_err(errno_of),
            Source::Call => ioctl::userfaultfd(false, features),
            Source::UserMode => ioctl::userfaultfd(true, features),
        })
    }

    fn tried(self, features: FeatureFlags) -> Result<Unshared<Uffd>, Failure> {
        self.open(features).map_err(|errno| Failure::of(&format!("trying out {}", self.name()), errno))
    }
}

/// The outcome for faults.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The first way that works.
    pub(crate) source: Option<Source>,
    /// Why those before it do not, for people.
    pub(crate) refused: String,
    /// Whether the same way leads to a userfaultfd that tracks, or why not.
    pub(crate) tracks: Result<(), String>,
    /// Whether pages can be moved out of spans, or why not.
    pub(crate) moves: Result<(), String>,
}

/// Tries the ways that `choice` allows; once a process and choice.
///
/// # Errors
/// Something was too short to find out.
pub(crate) fn userfaultfd(choice: Userfaultfd) -> Result<&'static Probe> {
    static AUTO: PerProcess<OnceLock<Probe>> = PerProcess::new();
    static USER_MODE: PerProcess<OnceLock<Probe>> = PerProcess::new();
    static NONE: Probe =
        Probe { source: None, refused: String::new(), tracks: Err(String::new()), moves: Err(String::new()) };
    match choice {
        Userfaultfd::Auto | Userfaultfd::Environment => {
            once(&AUTO, || first_of(&[Source::Device, Source::Call, Source::UserMode]))
        }
        Userfaultfd::UserMode => once(&USER_MODE, || first_of(&[Source::UserMode])),
        Userfaultfd::None => Ok(&NONE),
    }
}

/// What was found out before, or is now; an error is not remembered.
fn once<T: Send + Sync>(
    known: &'static PerProcess<OnceLock<T>>,
    find_out: impl FnOnce() -> Result<T>,
) -> Result<&'static T> {
    let known = known.get();
    match known.get() {
        Some(known) => Ok(known),
        None => find_out().map(|found| known.get_or_init(|| found)),
    }
}

/// Whether something works, or why it is refused.
///
/// # Errors
/// Something was too short to find out.
fn works(outcome: Result<(), Failure>) -> Result<Result<(), String>> {
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(Failure::Refused(why)) => Ok(Err(why)),
        Err(Failure::Short(error)) => Err(error),
    }
}

fn first_of(sources: &[Source]) -> Result<Probe> {
    let mut refused = Vec::new();
    for &source in sources {
        match works(source.tried(ioctl::SYNCHRONOUS).and_then(delivers_faults))? {
            Ok(()) => {
                let tracks = works(source.tried(ioctl::ASYNCHRONOUS).and_then(tracks))?;
                let moves = source.tried(ioctl::SYNCHRONOUS).and_then(|uffd| self_test::moves_pages(&uffd));
                let (refused, moves) = (refused.join("; "), works(moves)?);
                return Ok(Probe { source: Some(source), refused, tracks, moves });
            }
            Err(why) => refused.push(format!("{}: {why}", source.name())),
        }
    }
    let nothing = || Err("no page faults".to_owned());
    let probe = Probe { source: None, refused: refused.join("; "), tracks: nothing(), moves: nothing() };
    tracing::warn!(
        "no page faults can be had ({}): arrays are mapped when they are opened, and what must be decompressed is held \
         in memory. {KNOBS}",
        probe.refused
    );
    Ok(probe)
}

/// What to change where no way works.
pub(crate) const KNOBS: &str = "To change that, set the sysctl vm.unprivileged_userfaultfd=1, or give the process \
                                access to /dev/userfaultfd, or let the container's seccomp filter pass userfaultfd";

/// Two faults, as spans have them: a missing page that a moved mapping resolves, and a write to a copied page.
fn delivers_faults(uffd: Unshared<Uffd>) -> Result<(), Failure> {
    let range = Reservation::new(0..HUGE, Access::Nothing).map_err(failed)?;
    let base = range.addresses(&(0..HUGE)).start;
    let mode = RegisterMode::MISSING | RegisterMode::WRITE_PROTECT;
    let ioctls = uffd.register_with_mode(base as *mut _, HUGE, mode).map_err(errno_of).map_err(failed)?;
    if !ioctls.contains(IoctlFlags::COPY | IoctlFlags::WRITE_PROTECT | IoctlFlags::WAKE) {
        return Err(Failure::Refused(format!("lacks calls that are needed, has {ioctls:?}")));
    }
    range.open_up(&(0..HUGE)).map_err(failed)?;
    let (_, copied) = ioctl::copy_protected(&uffd, base + PAGE, &[7; PAGE]);
    copied.map_err(failed)?;

    thread::scope(|scope| {
        // A user: reads the missing page, then writes to the copied one.
        let user = thread::Builder::new().name("bigarray-probe".to_owned()).spawn_scoped(scope, || {
            let read = range.with_bytes(&(0..PAGE), |bytes| bytes[0]);
            range.write(PAGE + 1, &[read + 8]);
            range.with_bytes(&(PAGE..2 * PAGE), |bytes| (bytes[0], bytes[1]))
        });
        let user = user.map_err(|error| Failure::Short(thread_error("bigarray-probe", error)))?;
        let outcome = resolve_both(&uffd, &range, base);
        // A thread that still waits goes on, over zero memory.
        drop(uffd);
        let seen = user.join().map_err(|_| Failure::Refused("the self-test panicked".to_owned()))?;
        outcome?;
        if seen == (7, 8) { Ok(()) } else { Err(Failure::Refused(format!("the self-test saw {seen:?}"))) }
    })
}

fn resolve_both(uffd: &Uffd, range: &Reservation, base: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut resolved_missing = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(uffd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let _ = poll(&mut fds, timeout);
        let event = uffd.read_event().map_err(errno_of).map_err(failed)?;
        match event {
            None if left.is_zero() => {
                let why = format!(
                    "{SELF_TEST}: no fault was delivered in {} s. If this system never delivers any, do without them \
                     (BIGARRAY_USERFAULTFD=none)",
                    PATIENCE.as_secs()
                );
                return Err(Failure::Short(Error::new(ErrorKind::Io, why)));
            }
            Some(Event::Pagefault { kind: FaultKind::Missing, addr, .. }) if addr as usize == base => {
                let zeros = Scratch::anonymous(PAGE, Access::ReadWrite).map_err(failed)?;
                range.install(0, zeros).map_err(failed)?;
                uffd.wake(base as *mut _, PAGE).map_err(errno_of).map_err(failed)?;
                resolved_missing = true;
            }
            Some(Event::Pagefault { kind: FaultKind::WriteProtected, addr, .. })
                if addr as usize == base + PAGE && resolved_missing =>
            {
                return write_protect::let_through(uffd, &(base + PAGE..base + 2 * PAGE)).map_err(failed);
            }
            None => {}
            Some(event) => return Err(Failure::Refused(format!("unexpected {event:?}"))),
        }
    }
}

/// A private mapping of a file, tracked: pages written before, written after, given back by the system, first read and
/// first written after, never touched; and one where not even a page table was.
fn tracks(uffd: Unshared<Uffd>) -> Result<(), Failure> {
    const LEN: usize = 2 * HUGE;
    const AFAR: usize = HUGE + 7 * PAGE;
    let table = PageTable::open(Reader::Scan).map_err(failed_io)?;
    let file = memory_file("bigarray-probe").map_err(Failure::Short)?;
    file.set_len(LEN as u64).map_err(failed_io)?;
    let range = Reservation::new(0..LEN, Access::ReadWrite).map_err(failed)?;
    let scratch = Scratch::file(file.as_fd(), 0, LEN).map_err(failed)?;
    scratch.advise(HarmlessAdvice::SmallPages);
    range.install(0, scratch).map_err(failed)?;
    let read = |page: usize| range.with_bytes(&(page..page + 1), |bytes| std::hint::black_box(bytes[0]));

    for page in 0..3 {
        read(page * PAGE);
    }
    range.write(5 * PAGE, &[1]);
    track_writes(&uffd, &table, range.addresses(&(0..LEN))).map_err(failed)?;
    range.discard(&(2 * PAGE..3 * PAGE)).map_err(failed)?;
    range.write(PAGE, &[1]);
    read(3 * PAGE);
    range.write(4 * PAGE, &[1]);
    read(AFAR);
    let mut found = Vec::new();
    let addresses = range.addresses(&(0..LEN));
    table
        .written(addresses.clone(), WrittenTo::Tracked, |run| {
            found.extend(run.step_by(PAGE).map(|page| page - addresses.start));
        })
        .map_err(failed_io)?;
    if found != [PAGE, 4 * PAGE, 5 * PAGE] {
        return Err(Failure::Refused(format!("found {found:?} to be written")));
    }
    // And it was not for nothing.
    for (page, expected) in [(0, true), (PAGE, false), (2 * PAGE, true), (3 * PAGE, true), (AFAR, true)] {
        let is_protected = table.is_protected(range.addresses(&(page..page + PAGE))).map_err(failed_io)?;
        if is_protected != expected {
            return Err(Failure::Refused(format!("found page {page} to be protected: {is_protected}")));
        }
    }
    Ok(())
}

/// The best way to find written pages that works and that `choice` allows.
///
/// # Errors
/// None works, or something was too short to find out.
pub(crate) fn page_table(choice: Pagemap) -> Result<Reader> {
    static SCANS: PerProcess<OnceLock<bool>> = PerProcess::new();
    let scans = || works(finds_written_pages(Reader::Scan)).map(|works| works.is_ok());
    if choice != Pagemap::Legacy && *once(&SCANS, scans)? {
        return Ok(Reader::Scan);
    }
    works(finds_written_pages(Reader::Entries))?.map(|()| Reader::Entries).map_err(|why| {
        let message = format!(
            "written pages cannot be found by /proc/self/pagemap: {why}. /proc must be mounted, and a process that \
             changed its user must be dumpable again (prctl PR_SET_DUMPABLE)"
        );
        Error::new(ErrorKind::Unsupported, message)
    })
}

/// A page written, one only read, one untouched.
fn finds_written_pages(reader: Reader) -> Result<(), Failure> {
    let table = PageTable::open(reader).map_err(failed_io)?;
    let range = Reservation::new(0..HUGE, Access::ReadWrite).map_err(failed)?;
    range.advise(&(0..HUGE), HarmlessAdvice::SmallPages);
    range.write(0, &[1]);
    let _ = range.with_bytes(&(PAGE..2 * PAGE), |bytes| std::hint::black_box(bytes[0]));
    let addresses = range.addresses(&(0..HUGE));
    let mut pages = Vec::new();
    table.written(addresses.clone(), WrittenTo::Zero, |run| pages.extend(run.step_by(PAGE))).map_err(failed_io)?;
    pages.retain(|page| *page != addresses.start + PAGE || reader == Reader::Scan);
    if pages == [addresses.start] {
        Ok(())
    } else {
        Err(Failure::Refused(format!("found {} pages instead of 1", pages.len())))
    }
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
