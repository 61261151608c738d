//! What the pager asks of memory: address ranges whose missing pages it is told of.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Bytes, DataFile};

/// Gives out spans.
pub trait Memory: Send + Sync {
    /// Whether lazy spans can be had: faults are delivered. Otherwise every span must be [`Residency::Eager`].
    fn delivers_faults(&self) -> bool;

    /// Whether a system call that is handed a missing or protected page of a lazy span waits as a load does. If not it
    /// fails with EFAULT.
    fn delivers_kernel_faults(&self) -> bool;

    /// Reserves addresses for `bytes` of an array, aligned to 2 MiB; both ends are multiples of that. Costs neither memory
    /// nor time.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] where addresses are short, naming the limit to raise.
    fn reserve(&self, bytes: Range<usize>, residency: Residency) -> Result<Box<dyn Span>>;

    /// Refuses in a process forked from the one that made this memory: it has neither the threads nor the addresses.
    fn check_process(&self) -> Result<()>;

    /// Whether about `n` more mappings fit under the system's limit for one process.
    fn has_room_for_mappings(&self, n: usize) -> bool;
}

/// What an address of a span holds before anything was installed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// Nothing: the first access waits for [`Faults::missing`].
    Lazy,
    /// Zeros. No fault is ever delivered.
    Eager,
}

/// A reserved range of addresses. All offsets are bytes of the array that it was reserved for; ranges are whole pages.
///
/// `zero`, `map`, `copy`, `unprotect`, `poison`, `track_writes`, `reset`, `write_protect`, `unprotect_zero` and
/// `evict` are called under the lock of the one pager that owns the span, so never two at once. None of them reads or
/// writes the span's memory.
pub trait Span: Send + Sync {
    /// Address of the first of its bytes; never changes.
    fn base(&self) -> NonNull<u8>;

    /// The bytes that it was reserved for.
    fn bytes(&self) -> Range<usize>;

    /// Whom to tell of faults; called once, before any access. A span whose pager is gone is not told of anything.
    fn attach(&self, faults: Weak<dyn Faults>);

    /// Lays zero memory over missing pages; a write to it goes unnoticed until [`written`](Span::written).
    fn zero(&self, range: Range<usize>) -> Result<()>;

    /// Maps `file` from byte `offset` on, privately, over missing pages; a write goes unnoticed until `written`.
    /// `read_ahead` starts reading it from disk, but in an eager span, which is mapped long before anybody touches it;
    /// without, the system is told to expect random access.
    fn map(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, read_ahead: bool) -> Result<()>;

    /// Maps `file` from byte `offset` on, privately, in place of what is mapped, or zero memory, or what was copied
    /// into an eager span. Nobody may be using the range. Its writes are not [tracked](Span::track_writes) any more.
    ///
    /// # Errors
    /// Then the range holds anything.
    fn remap(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64) -> Result<()>;

    /// Tells the system to expect random accesses to `range`, which is mapped, and to read no more from disk than is
    /// touched; or, without `random`, to read around that as it sees fit. Changes no byte, so nothing can fail.
    fn advise(&self, range: Range<usize>, random: bool);

    /// Copies whole pages of `bytes` over missing pages. In a lazy span they arrive write-protected: the first write
    /// waits for [`Faults::protected`], unless the system took the protection away: [`written`](Span::written) with
    /// [`WrittenTo::Copied`] finds these. In an eager span they count as file pages do in `written`.
    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()>;

    /// Lets writes to copied pages through from now on, and wakes who waits to write.
    fn unprotect(&self, range: Range<usize>) -> Result<()>;

    /// Makes any access to the pages end the process loudly (SIGBUS) rather than see wrong bytes, and wakes. Logs
    /// `why` first. Cannot fail: where even that cannot be had, the process is aborted.
    fn poison(&self, range: Range<usize>, why: &str);

    /// Makes any access to missing pages end in SIGBUS, or in an error where the kernel makes it, until they are
    /// [reset](Span::reset): for ranges that no view shows. Whoever waits there is to be [woken](Span::wake).
    ///
    /// # Errors
    /// Then they are missing still.
    fn withdraw(&self, range: Range<usize>) -> Result<()>;

    /// Back to missing (lazy) or zeros (eager), whatever was there. Nobody may be using the range.
    ///
    /// # Errors
    /// Then the range holds anything.
    fn reset(&self, range: Range<usize>) -> Result<()>;

    /// From here on whoever writes to `range`, either zero memory or copied pages of a lazy span, waits for
    /// [`Faults::protected`], and whoever touches what was never touched of it for [`Faults::missing`]. Reads of what
    /// is there go on, and [`written`](Span::written) and [`with_bytes`](Span::with_bytes) see bytes that stand still.
    ///
    /// # Errors
    /// Then `range` is as it was.
    fn write_protect(&self, range: Range<usize>) -> Result<()> {
        let _ = range;
        Err(Error::new(ErrorKind::Unsupported, "this memory cannot be write-protected"))
    }

    /// Zero memory that was [write-protected](Span::write_protect) is as it was before; threads that wait try again.
    /// (Copied pages: [`unprotect`](Span::unprotect).)
    ///
    /// # Errors
    /// Then some may wait in it for ever, and it is to be poisoned.
    fn unprotect_zero(&self, range: Range<usize>) -> Result<()> {
        let _ = range;
        Err(Error::new(ErrorKind::Unsupported, "this memory cannot be write-protected"))
    }

    /// Back to missing what is write-protected, zero memory or copied. Others may be reading it: each of them
    /// finds the bytes, or waits for [`Faults::missing`]; who waited to write goes on waiting until it is
    /// [woken](Span::wake). The memory is free then.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if a page is not protected any more, as after the system merged it with an equal one:
    /// somebody may have written to it, and all is as it was. Other errors: each page is missing or as it was.
    fn evict(&self, range: Range<usize>) -> Result<()> {
        let _ = range;
        Err(Error::new(ErrorKind::Unsupported, "this memory cannot be taken back while it is in use"))
    }

    /// Takes what is there of `range`, which is protected, out of it, each page in one step: who touches it from here
    /// on waits for [`Faults::missing`]. So no store to it is lost, whatever it went past: it was made before the page
    /// was taken out, and is in it, or waits. `None` where this memory has no such means: then `range` stands still as
    /// [`write_protect`](Span::write_protect) says.
    ///
    /// Called by who protected `range`, with no lock held, and so is all of [`TakenOut`].
    ///
    /// # Errors
    /// [`ErrorKind::InUse`] if a page must stay where it is for now, as one that a device stores to does: then `range`
    /// is protected as before, but for protection: stores may go through. After another error some of it is missing,
    /// and lost.
    fn take_out(&self, range: Range<usize>) -> Result<Option<Box<dyn TakenOut + '_>>> {
        let _ = range;
        Ok(None)
    }

    /// Lets threads that wait in a missing page of the range try again.
    fn wake(&self, range: Range<usize>);

    /// How many bytes of `range`, which is mapped, are resident so that `written` has to look at them one by one: about
    /// what [`track_writes`](Span::track_writes) would save. Those that the system holds as huge pages cost a search
    /// next to nothing, and do not count where they can be told apart.
    fn resident(&self, range: Range<usize>) -> Result<usize>;

    /// Prepares `range`, which is mapped, for being searched again and again: from here on `written` with
    /// [`WrittenTo::Tracked`], and no other, finds what is written and what was before, at a cost by what was written
    /// or read for the first time since the last search rather than by what is resident. What is not resident yet
    /// becomes slower to fault in. Until the next `reset`.
    ///
    /// `false` where the system has no such means, and in an eager span; then, or after an error, the range is searched
    /// as before. Neighbours that are tracked together need no more mappings than they have.
    fn track_writes(&self, range: Range<usize>) -> Result<bool>;

    /// Appends to `found`, ascending, the pages of `range` that were written since `zero` (or since an eager span was
    /// reserved or reset), respectively since `map` or `copy`. May also report zero pages that were only read, and
    /// copied ones that were not written to; never misses a written one. Nobody may be writing meanwhile.
    fn written(&self, range: Range<usize>, origin: WrittenTo, found: &mut Vec<Range<usize>>) -> Result<()>;

    /// Whether a store to `range`, pages of zero memory that [`written`](Span::written) reported, is certain: what is
    /// there can have come neither by a read nor by a store next to it.
    fn stored_to(&self, range: Range<usize>) -> Result<bool>;

    /// Calls `f` with the bytes of `range`. May fault as any access does: no lock that the fault needs may be held.
    /// Nobody may be writing to it meanwhile.
    fn with_bytes(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Writes as a user's store would, faults included. Nobody else may be using the range.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Writes zeros as a user's store would, faults included. Nobody else may be using the range.
    fn fill_zero(&self, range: Range<usize>);

    /// Reads all of `range` in, which is mapped from byte `offset` of `file` on. What would end the process at an
    /// access comes back as an error here. `exactly`: not a byte more is read from disk, where the system would else
    /// read ahead.
    ///
    /// # Errors
    /// What [`DataFile::read_at`] says; [`Corrupt`](crate::ErrorKind::Corrupt) for bytes that cannot be accessed.
    fn read_in(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, exactly: bool) -> Result<()>;
}

/// Pages that were [taken out](Span::take_out) of a span, and that nobody else can get at. Ranges are those of the
/// span.
///
/// If it is dropped, what was taken out is lost, and missing.
pub trait TakenOut: Bytes {
    /// As [`Span::written`] with [`WrittenTo::Zero`], of all that was taken out.
    fn written(&self, found: &mut Vec<Range<usize>>) -> Result<()>;

    /// As [`Span::stored_to`], of all that was taken out.
    fn stored_to(&self, range: Range<usize>) -> Result<bool>;

    /// Gives up its memory: all of the range is missing, and who waits goes on waiting until it is [woken](Span::wake).
    ///
    /// # Errors
    /// Then each page is missing, or zero.
    fn let_go(self: Box<Self>) -> Result<()>;

    /// Puts everything back where it was. The range is protected as before, but for protection: stores may go through.
    ///
    /// # Errors
    /// Then some of it is missing, and lost.
    fn put_back(self: Box<Self>) -> Result<()>;
}

/// What [`Span::written`] is to look for: how the pages came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenTo {
    /// Zero memory.
    Zero,
    /// Mapped or, in an eager span, copied.
    Mapped,
    /// Mapped, and [tracked](Span::track_writes) since.
    Tracked,
    /// Copied into a lazy span, where a write waits for [`Faults::protected`]: pages that are protected no more, though
    /// nobody [let writes through](Span::unprotect). A system that merges pages of equal bytes takes protection away,
    /// and a write to such a page is told to nobody. Where that cannot be found out, none.
    Copied,
}

/// The pager, as its span sees it. Called by the thread that receives faults, which touches no span memory and holds
/// no lock that a thread can hold while touching one.
pub trait Faults: Send + Sync {
    /// A thread waits for the missing page at `offset`. Work that takes long comes back as jobs, for other threads, the
    /// most urgent first.
    fn missing(&self, offset: usize) -> Vec<Job>;

    /// A thread waits to write to the protected page at `offset`. It may be missing by now: after [`Span::evict`] a
    /// thread can still come to wait so, and is to be [woken](Span::wake), to find out.
    fn protected(&self, offset: usize);

    /// Faults are not delivered any more: poison what is missing.
    fn fail(&self, why: &str);
}

/// Work of the pager that may block on storage.
pub type Job = Box<dyn FnOnce() + Send>;
