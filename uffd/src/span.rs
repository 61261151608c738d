//! One reserved range and what a pager does with it.
//!
//! Races, and why each cannot hurt:
//!
//! - *An operation and a fault in its range.* What is laid over missing pages arrives by one move (see `mapping`), so a
//!   thread sees a missing page or its bytes, and a failure has changed nothing. `copy` fills page by page: a thread
//!   that runs into a page just copied goes on early with right bytes; if it writes, it waits, because the page arrived
//!   protected, so nothing is lost if what was copied has to be taken back.
//! - *A fault between the steps of `reset`.* Memory laid over a range is inaccessible until it is registered, so that
//!   it never looks like zeros that were loaded. No thread may be using the range, else its access would end in
//!   SIGSEGV.
//! - *`evict` while others use the range*: one `MADV_DONTNEED` of pages that stay registered and are protected (see
//!   `write_protect`). A reader finds the bytes, or a missing page and waits; a writer waits before and after.
//! - *`drop` and the monitor.* The span leaves the table of addresses first, so what the monitor looks up from then on
//!   is not this span; a pager it found before is kept alive by that very look-up, and this span with it.
//! - *A forked child.* It has none of these addresses, and the userfaultfd it inherited acts on its parent: there every
//!   operation refuses, and dropping leaks.

mod moved;

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};

use bigarray_core::memory::{
    Faults, Install, Protect, Replace, Residency, Span, SpanBytes, TakenOut, TrackWrites, WrittenTo,
};
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use userfaultfd::Uffd;

use self::moved::Moved;
use crate::inner::Inner;
use crate::ioctl::copy_protected;
use crate::mapping::{Access, HUGE, HarmlessAdvice, Reservation, Scratch, is_whole_pages, populate};
use crate::memory_file::memory_file;
use crate::read_ahead;
use crate::shortage::{io_error, os_error};
use crate::stderr::{fatal, log_raw};
use crate::write_protect;
use crate::write_tracking::track_writes;

/// Where the whole of a range is too much at once, it is emptied in steps, not smaller than this.
const SMALLEST_STEP: usize = 64 << 20;

/// Bytes emptied at once from which on many mappings may go.
const MANY_MAPPINGS: usize = 16 << 20;

/// A reserved range of addresses.
pub(crate) struct UffdSpan {
    // Before `inner`: the range goes while the userfaultfd is still open.
    range: Reservation,
    residency: Residency,
    /// Of an eager span: where copied bytes are, counted from its first byte, once there are any.
    copies: OnceLock<File>,
    // After `range`: mappings are counted anew only when those of the range are gone.
    _release: Release,
    inner: Arc<Inner>,
}

/// Says when it is dropped that many mappings may have gone.
struct Release(Arc<Inner>);

impl Drop for Release {
    fn drop(&mut self) {
        self.0.mappings.released();
    }
}

impl UffdSpan {
    pub(crate) fn reserve(inner: &Arc<Inner>, bytes: Range<usize>, residency: Residency) -> Result<UffdSpan, Errno> {
        let span = UffdSpan {
            range: Reservation::new(bytes.clone(), Access::Nothing)?,
            residency,
            copies: OnceLock::new(),
            _release: Release(inner.clone()),
            inner: inner.clone(),
        };
        if residency == Residency::Lazy {
            span.register(&bytes)?;
            inner.shared.spans.insert(span.start(), bytes.clone());
        }
        span.range.open_up(&bytes)?;
        inner.mappings.installed();
        Ok(span)
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        self.range.addresses(range)
    }

    /// Unlocks what the program locked of `range`.
    pub(crate) fn unlock(&self, range: &Range<usize>) -> Result<(), Errno> {
        self.range.unlock(range)
    }

    /// The userfaultfd that lazy spans are registered with.
    pub(crate) fn lazy_uffd(&self) -> Result<&Uffd> {
        self.uffd().map_err(|errno| os_error("write-protecting", errno))
    }

    /// Gives back the memory of `range`, which is protected. Refuses pages that are not registered, whose bytes would
    /// become zeros.
    pub(crate) fn discard_protected(&self, range: &Range<usize>) -> Result<()> {
        let addresses = self.range.addresses(range);
        self.uffd()
            .and_then(|uffd| write_protect::protect(uffd, &addresses))
            .and_then(|()| self.range.discard(range))
            .map_err(|errno| {
                os_error(format!("giving back the memory of {} bytes in use (MADV_DONTNEED)", range.len()), errno)
            })
    }

    fn start(&self) -> usize {
        self.range.base().as_ptr() as usize
    }

    fn uffd(&self) -> Result<&Uffd, Errno> {
        // `reserve` gives no lazy span without one.
        self.inner.shared.uffd.as_deref().ok_or(Errno::EBADF)
    }

    fn register(&self, range: &Range<usize>) -> Result<(), Errno> {
        write_protect::register(self.uffd()?, &self.range.addresses(range))
    }

    /// Refuses what could harm memory that is not the span's.
    fn check(&self, range: &Range<usize>) -> Result<()> {
        self.inner.check_process()?;
        if !self.range.has(range) || !is_whole_pages(range) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("bytes {range:?} of a span of {:?}: not whole pages of it", self.range.bytes()),
            ));
        }
        Ok(())
    }

    /// The userfaultfd that `range` is registered with, and its addresses; `None` if the range is empty.
    fn held(&self, range: &Range<usize>) -> Result<Option<(&Uffd, Range<usize>)>> {
        self.check(range)?;
        match &self.inner.shared.uffd {
            Some(uffd) if self.residency == Residency::Lazy => {
                Ok(Some((&**uffd, self.range.addresses(range))).filter(|_| !range.is_empty()))
            }
            _ => Err(Error::new(ErrorKind::Unsupported, "an eager span cannot be write-protected")),
        }
    }

    /// The error of a mapping that could not be had.
    fn refused(&self, what: String, errno: Errno) -> Error {
        if errno == Errno::ENOMEM {
            self.inner.mappings.refused();
        }
        os_error(what, errno)
    }

    /// Lays fresh anonymous memory over `range`. At once if the scratch mapping, which counts against RLIMIT_AS and the
    /// address space beside the range itself, can be had that large.
    fn lay_anonymous(&self, range: &Range<usize>, access: Access) -> Result<(), Errno> {
        let (mut at, mut step) = (range.start, range.end - range.start);
        while at < range.end {
            let scratch = match Scratch::anonymous(step.min(range.end - at), access) {
                Err(Errno::ENOMEM) if step > SMALLEST_STEP => {
                    step = (step / 8).next_multiple_of(SMALLEST_STEP);
                    continue;
                }
                other => other?,
            };
            let len = scratch.len();
            self.range.install(at, scratch)?;
            self.inner.mappings.installed();
            at += len;
        }
        Ok(())
    }

    /// Missing again, whatever was there.
    fn make_missing(&self, range: &Range<usize>) -> Result<(), Errno> {
        let addresses = self.range.addresses(range);
        // Protecting works only if the whole range is registered, that is, untouched, copied or protected; then the
        // pages can go in place. If it stops half way, the pages that it protected go below. It would also work for
        // tracked mappings, which are registered with another userfaultfd, and whose pages would be back from the file
        // at once.
        let tracked =
            self.inner.write_tracking.is_some() && self.inner.page_table.is_tracked(addresses.clone()).unwrap_or(true);
        let in_place = || write_protect::protect(self.uffd()?, &addresses).and_then(|()| self.range.discard(range));
        if !tracked && in_place().is_ok() {
            return Ok(());
        }
        self.lay_anonymous(range, Access::Nothing)?;
        self.register(range)?;
        self.range.open_up(range)
    }

    /// Zero memory again, whatever was there.
    fn make_zero(&self, range: &Range<usize>) -> Result<(), Errno> {
        self.lay_anonymous(range, Access::ReadWrite)?;
        self.forget_copies(range)
    }

    /// Gives back the memory of bytes copied into an eager span.
    fn forget_copies(&self, range: &Range<usize>) -> Result<(), Errno> {
        match self.copies.get() {
            Some(copies) => {
                let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(copies, punch, self.in_copies(range.start) as i64, (range.end - range.start) as i64)
            }
            None => Ok(()),
        }
    }

    /// Maps a part of the file over whatever is there, at once.
    fn lay_file(&self, range: Range<usize>, data: &Arc<dyn DataFile>, offset: u64, random: bool) -> Result<()> {
        self.check(&range)?;
        let Some(file) = data.as_file() else {
            return Err(Error::new(ErrorKind::Unsupported, "this store has no file that can be mapped"));
        };
        if range.is_empty() {
            return Ok(());
        }
        let len = range.end - range.start;
        let laid = Scratch::file(file.as_fd(), offset, len).and_then(|scratch| {
            if random {
                scratch.advise(HarmlessAdvice::Random);
            }
            self.range.install(range.start, scratch)
        });
        laid.map_err(|errno| {
            self.refused(format!("mapping {len} bytes of the data file from byte {offset} on"), errno)
        })?;
        self.inner.mappings.installed();
        Ok(())
    }

    fn copy_lazy(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let uffd = self.uffd().map_err(|errno| os_error("copying", errno))?;
        let (done, outcome) = copy_protected(uffd, self.range.addresses(&(at..at + bytes.len())).start, bytes);
        outcome.map_err(|errno| {
            // Missing again. It never was anything else to a reader: what arrived was right, and is loaded again.
            // EEXIST is no success either: pages that are there are of another load, and this one is not to mix with
            // them.
            let undone = self.range.discard(&(at..at + done));
            let error = os_error(format!("copying {} bytes into a span (UFFDIO_COPY)", bytes.len()), errno);
            match undone {
                Ok(()) => error,
                Err(errno) => error.context(format!("{done} bytes copied cannot be taken back: {errno}")),
            }
        })
    }

    fn copy_eager(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let copies = self.copies()?;
        let short = |error| Error::io(format!("holding {} bytes in memory", bytes.len()), error);
        copies.write_all_at(bytes, self.in_copies(at)).map_err(short)?;
        let scratch = Scratch::file(copies.as_fd(), self.in_copies(at), bytes.len());
        scratch
            .and_then(|scratch| self.range.install(at, scratch))
            .map_err(|errno| self.refused(format!("mapping {} bytes held in memory", bytes.len()), errno))?;
        self.inner.mappings.installed();
        Ok(())
    }

    /// Where the file of copied bytes has byte `at`.
    fn in_copies(&self, at: usize) -> u64 {
        (at - self.range.bytes().start) as u64
    }

    /// The file that holds copied bytes, sparse.
    fn copies(&self) -> Result<&File> {
        match self.copies.get() {
            Some(copies) => Ok(copies),
            None => memory_file("bigarray-copies").map(|file| self.copies.get_or_init(|| file)),
        }
    }
}

impl Install for UffdSpan {
    fn zero(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        if self.residency == Residency::Eager {
            // Missing pages of an eager span are zero memory.
            return Ok(());
        }
        if range.is_empty() {
            return Ok(());
        }
        let len = range.end - range.start;
        // In one piece: a part of it might be written to before the rest turns out not to be had.
        let laid = Scratch::anonymous(len, Access::ReadWrite).and_then(|scratch| {
            // Only where a whole huge page fits, which is not so in smaller blocks.
            if range.start.next_multiple_of(HUGE) + HUGE <= range.end {
                scratch.advise(HarmlessAdvice::HugePages);
            }
            self.range.install(range.start, scratch)
        });
        laid.map_err(|errno| self.refused(format!("laying {len} bytes of zero memory"), errno))?;
        self.inner.mappings.installed();
        Ok(())
    }

    fn map(&self, range: Range<usize>, data: &Arc<dyn DataFile>, offset: u64, read_ahead: bool) -> Result<()> {
        let len = range.end.saturating_sub(range.start);
        self.lay_file(range, data, offset, !read_ahead)?;
        // An eager span is mapped whole when it is opened, and that reads nothing.
        if read_ahead && self.residency == Residency::Lazy {
            self.inner.threads.read_ahead(data, offset..offset + len as u64);
        }
        Ok(())
    }

    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()> {
        self.check(&(at..at.saturating_add(bytes.len())))?;
        match self.residency {
            _ if bytes.is_empty() => Ok(()),
            Residency::Lazy => self.copy_lazy(at, bytes),
            Residency::Eager => self.copy_eager(at, bytes),
        }
    }

    fn poison(&self, range: Range<usize>, why: &str) {
        if !self.range.is_ours() || range.is_empty() {
            return;
        }
        // First of all: the process may be gone a moment later.
        log_raw(why);
        self.inner.threads.report(why.to_owned());
        if let Err(error) = self.check(&range) {
            fatal(&format!("{error}; it was to be made inaccessible because: {why}"));
        }
        if let Err(errno) = self.range.cover(&range, self.inner.empty.as_fd()) {
            fatal(&format!("memory cannot even be made inaccessible ({errno}), which is needed because: {why}"));
        }
        self.inner.mappings.installed();
        self.wake(range);
    }

    fn withdraw(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.range
            .cover(&range, self.inner.empty.as_fd())
            .map_err(|errno| self.refused(format!("making {} bytes inaccessible", range.end - range.start), errno))?;
        self.inner.mappings.installed();
        Ok(())
    }

    fn wake(&self, range: Range<usize>) {
        if self.residency == Residency::Lazy && !range.is_empty() && self.range.is_ours() {
            let addresses = self.range.addresses(&range);
            self.inner.shared.wake(addresses.start, addresses.len());
        }
    }

    fn advise(&self, range: Range<usize>, random: bool) {
        if self.check(&range).is_ok() {
            self.range.advise(&range, if random { HarmlessAdvice::Random } else { HarmlessAdvice::Normal });
        }
    }

    fn read_in(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, exactly: bool) -> Result<()> {
        self.check(&range)?;
        // First, since populating alone reads page by page where random access was advised, and not at all on an old
        // kernel.
        let bytes = offset..offset + (range.end - range.start) as u64;
        if exactly {
            read_ahead::begin(&**file, bytes.clone());
        }
        read_ahead::read(&**file, bytes, || false)?;
        populate(self.range.addresses(&range)).map_err(|errno| match errno {
            // What an access would end in: SIGBUS.
            Errno::EFAULT | Errno::EHWPOISON => Error::new(
                ErrorKind::Corrupt,
                format!(
                    "bytes {}..{} cannot be read from the data file: the disk fails, or the file was cut off",
                    range.start, range.end
                ),
            ),
            errno => os_error(format!("reading in {} bytes", range.end - range.start), errno),
        })
    }
}

impl Replace for UffdSpan {
    fn remap(&self, range: Range<usize>, data: &Arc<dyn DataFile>, offset: u64) -> Result<()> {
        self.lay_file(range.clone(), data, offset, false)?;
        // What was copied there is mapped no more. It is only memory: the file's length and all else stay.
        let _ = self.forget_copies(&range);
        Ok(())
    }

    fn reset(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        match self.residency {
            Residency::Lazy => self.make_missing(&range),
            Residency::Eager => self.make_zero(&range),
        }
        .map_err(|errno| os_error(format!("emptying {} bytes of a span", range.end - range.start), errno))?;
        if range.end - range.start >= MANY_MAPPINGS {
            self.inner.mappings.released();
        }
        Ok(())
    }
}

impl Protect for UffdSpan {
    fn unprotect(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        if self.residency == Residency::Eager || range.is_empty() {
            return Ok(());
        }
        let addresses = self.range.addresses(&range);
        self.uffd().and_then(|uffd| write_protect::let_through(uffd, &addresses)).map_err(|errno| {
            os_error(format!("letting writes through to {} bytes (UFFDIO_WRITEPROTECT)", addresses.len()), errno)
        })
    }

    fn write_protect(&self, range: Range<usize>) -> Result<()> {
        let Some((uffd, addresses)) = self.held(&range)? else { return Ok(()) };
        let splits = write_protect::register_and_protect(uffd, &addresses).map_err(|errno| {
            self.refused(
                format!("write-protecting {} bytes (UFFDIO_REGISTER, UFFDIO_WRITEPROTECT)", addresses.len()),
                errno,
            )
        })?;
        if splits {
            self.inner.mappings.installed();
        }
        Ok(())
    }

    fn unprotect_zero(&self, range: Range<usize>) -> Result<()> {
        let Some((uffd, addresses)) = self.held(&range)? else { return Ok(()) };
        write_protect::unprotect_and_unregister(uffd, &addresses).map_err(|errno| {
            os_error(format!("taking the write protection off {} bytes (UFFDIO_UNREGISTER)", addresses.len()), errno)
        })
    }

    fn evict(&self, range: Range<usize>) -> Result<()> {
        let Some((_, addresses)) = self.held(&range)? else { return Ok(()) };
        let mut lost = false;
        self.inner
            .page_table
            .written(addresses, WrittenTo::Copied, |_| lost = true)
            .map_err(|error| io_error(format!("finding what is protected in {} bytes", range.len()), error))?;
        if lost {
            return Err(Error::new(
                ErrorKind::InUse,
                "a page was merged with an equal one, and may have been written to",
            ));
        }
        self.discard_protected(&range)
    }

    fn take_out(&self, range: Range<usize>) -> Result<Option<Box<dyn TakenOut + '_>>> {
        match self.held(&range)? {
            Some((uffd, _)) if self.inner.moves => Ok(Some(Box::new(Moved::out_of(self, uffd, range)?))),
            _ => Ok(None),
        }
    }
}

impl TrackWrites for UffdSpan {
    fn written(&self, range: Range<usize>, origin: WrittenTo, found: &mut Vec<Range<usize>>) -> Result<()> {
        self.check(&range)?;
        let (addresses, first) = (self.range.addresses(&range), found.len());
        let collect = |run: Range<usize>| {
            // The kernel reports what it was asked for and no more; clipping makes that no matter of trust.
            let at = |address: usize| range.start + (address.clamp(addresses.start, addresses.end) - addresses.start);
            let run = at(run.start)..at(run.end);
            match found[first..].last_mut() {
                _ if run.is_empty() => {}
                Some(last) if last.end == run.start => last.end = run.end,
                _ => found.push(run),
            }
        };
        self.inner
            .page_table
            .written(addresses.clone(), origin, collect)
            .map_err(|error| Error::io(format!("finding written pages in {} bytes", range.end - range.start), error))
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        self.check(&range)?;
        let huge = self.range.addresses(&(range.start / HUGE * HUGE..range.end.next_multiple_of(HUGE)));
        let addresses = self.range.addresses(&range);
        self.inner
            .page_table
            .stored_to(addresses, huge)
            .map_err(|error| Error::io(format!("finding stores to {} bytes", range.end - range.start), error))
    }

    fn resident(&self, range: Range<usize>) -> Result<usize> {
        self.check(&range)?;
        self.inner
            .page_table
            .resident(self.range.addresses(&range))
            .map_err(|error| Error::io(format!("finding what is resident of {} bytes", range.end - range.start), error))
    }

    fn track_writes(&self, range: Range<usize>) -> Result<bool> {
        self.check(&range)?;
        let Some(uffd) = self.inner.write_tracking.as_ref().filter(|_| self.residency == Residency::Lazy) else {
            return Ok(false);
        };
        if range.is_empty() {
            return Ok(true);
        }
        track_writes(uffd, &self.inner.page_table, self.range.addresses(&range)).map_err(|errno| {
            os_error(format!("tracking {} bytes (UFFDIO_REGISTER)", range.end - range.start), errno)
        })?;
        self.inner.mappings.installed();
        Ok(true)
    }
}

impl SpanBytes for UffdSpan {
    fn base(&self) -> NonNull<u8> {
        self.range.base()
    }

    fn with_bytes(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if !self.range.has(&range) {
            let message = format!("bytes {range:?} of a span of {:?}", self.range.bytes());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.range.with_bytes(&range, f)
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.range.write(at, bytes);
    }

    fn fill_zero(&self, range: Range<usize>) {
        self.range.fill_zero(&range);
    }
}

impl Span for UffdSpan {
    fn bytes(&self) -> Range<usize> {
        self.range.bytes().clone()
    }

    fn attach(&self, faults: Weak<dyn Faults>) {
        self.inner.shared.spans.attach(self.start(), faults);
    }
}

impl Drop for UffdSpan {
    fn drop(&mut self) {
        if !self.range.is_ours() {
            // Not even a lock: another thread may have held it when the process forked.
            return;
        }
        if self.residency == Residency::Lazy {
            self.inner.shared.spans.remove(self.start());
        }
    }
}
