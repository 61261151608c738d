//! What is laid over a span, and taken away where no thread uses it.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bigarray_core::memory::{Install, Replace, Residency};
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::UffdSpan;
use crate::ioctl::copy_protected;
use crate::mapping::{Access, HUGE, HarmlessAdvice, Scratch, populate};
use crate::memory_file::memory_file;
use crate::read_ahead;
use crate::shortage::os_error;
use crate::stderr::{fatal, log_raw};
use crate::threads;
use crate::write_protect;

/// Where the whole of a range is too much at once, it is emptied in steps, not smaller than this.
const SMALLEST_STEP: usize = 64 << 20;

/// Bytes emptied at once from which on many mappings may go.
const MANY_MAPPINGS: usize = 16 << 20;

impl UffdSpan {
    /// Lays fresh anonymous memory over `range`. At once if the scratch mapping, which counts against RLIMIT_AS and the
    /// address space beside the range itself, can be had that large.
    fn lay_anonymous(&self, range: &Range<usize>, access: Access) -> Result<(), Errno> {
        let (mut at, mut step) = (range.start, range.len());
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
                fallocate(copies, punch, self.in_copies(range.start) as i64, range.len() as i64)
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
        let laid = Scratch::file(file.as_fd(), offset, range.len()).and_then(|scratch| {
            if random {
                scratch.advise(HarmlessAdvice::Random);
            }
            self.range.install(range.start, scratch)
        });
        self.mapped(laid, format_args!("mapping {} bytes of a file from byte {offset} on", range.len()))
    }

    fn lay_zero(&self, range: Range<usize>, pages: HarmlessAdvice) -> Result<()> {
        self.check(&range)?;
        // Missing pages of an eager span are zero memory.
        if self.residency == Residency::Eager || range.is_empty() {
            return Ok(());
        }
        // In one piece: a part of it might be written to before the rest turns out not to be had.
        let laid = Scratch::anonymous(range.len(), Access::ReadWrite).and_then(|scratch| {
            scratch.advise(pages);
            self.range.install(range.start, scratch)
        });
        self.mapped(laid, format_args!("laying {} bytes of zero memory", range.len()))
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
        let laid = scratch.and_then(|scratch| self.range.install(at, scratch));
        self.mapped(laid, format_args!("mapping {} bytes held in memory", bytes.len()))
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
        // Only where a whole huge page fits, which is not so in smaller blocks.
        let fits = range.start.next_multiple_of(HUGE) + HUGE <= range.end;
        self.lay_zero(range, if fits { HarmlessAdvice::HugePages } else { HarmlessAdvice::SmallPages })
    }

    fn zero_in_pages(&self, range: Range<usize>) -> Result<()> {
        self.lay_zero(range, HarmlessAdvice::SmallPages)
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
        threads::report_error(why.to_owned());
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
        let covered = self.range.cover(&range, self.inner.empty.as_fd());
        self.mapped(covered, format_args!("making {} bytes inaccessible", range.len()))
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

    fn cached(&self, range: Range<usize>) -> Result<usize> {
        self.check(&range)?;
        self.range.resident(&range).map_err(|errno| os_error("asking which pages are in memory", errno))
    }

    fn read_in(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, exactly: bool) -> Result<()> {
        self.check(&range)?;
        // First, since populating alone reads page by page where random access was advised, and not at all on an old
        // kernel.
        read_ahead::read_in(&**file, offset..offset + range.len() as u64, exactly, || false)?;
        self.populate(range)
    }

    fn populate(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        populate(self.range.addresses(&range)).map_err(|errno| match errno {
            // What an access would end in: SIGBUS.
            Errno::EFAULT | Errno::EHWPOISON => Error::new(
                ErrorKind::Corrupt,
                format!(
                    "bytes {}..{} cannot be read from the file that they are mapped from: the disk fails, or it was cut off",
                    range.start, range.end
                ),
            ),
            errno => os_error(format_args!("reading in {} bytes", range.len()), errno),
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
        .map_err(|errno| os_error(format_args!("emptying {} bytes of a span", range.len()), errno))?;
        if range.len() >= MANY_MAPPINGS {
            self.inner.mappings.released();
        }
        Ok(())
    }
}
