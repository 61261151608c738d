//! A span: addresses for bytes of an array. One trait for each of its users: what is laid over missing pages, what is laid
//! in place of others, what is protected and taken away, which pages were written, the bytes themselves.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use super::Faults;
use crate::contract::store::{Bytes, DataFile};
use crate::error::Result;

/// A reserved range of addresses. All offsets are bytes of the array that it was reserved for; ranges are whole pages.
///
/// [`Install`], [`Replace`], [`unprotect`](Protect::unprotect), [`write_protect`](Protect::write_protect),
/// [`unprotect_zero`](Protect::unprotect_zero), [`evict`](Protect::evict) and
/// [`track_writes`](TrackWrites::track_writes) are called under the lock of the one pager that owns the span, so never
/// two at once. None of them reads or writes the span's memory.
pub trait Span: Install + Replace + Protect + TrackWrites + SpanBytes {
    /// The bytes that it was reserved for.
    fn bytes(&self) -> Range<usize>;

    /// The pager that is told of faults; called once, before any access. A span whose pager is gone is not told of
    /// anything.
    fn attach(&self, faults: Weak<dyn Faults>);
}

/// What is laid over missing pages, and poison.
pub trait Install: Send + Sync {
    /// Lays zero memory over missing pages; a write to it goes unnoticed until [`written`](TrackWrites::written). The first
    /// access may take memory for all of a huge page.
    ///
    /// # Errors
    /// Then nothing was laid. [`Io`](crate::ErrorKind::Io) naming the limit that is short.
    fn zero(&self, range: Range<usize>) -> Result<()>;

    /// The same in small pages: an access takes memory for its page, and for none around it.
    ///
    /// # Errors
    /// As [`zero`](Install::zero).
    fn zero_in_pages(&self, range: Range<usize>) -> Result<()>;

    /// Maps `file` from byte `offset` on, privately, over missing pages; a write goes unnoticed until
    /// [`written`](TrackWrites::written). `read_ahead` starts reading it from disk, but not in an eager span, which is
    /// mapped long before it is used; without, the system is told to expect random access.
    ///
    /// # Errors
    /// Then nothing was mapped. [`Io`](crate::ErrorKind::Io) naming the limit that is short;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a file that cannot be mapped.
    fn map(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, read_ahead: bool) -> Result<()>;

    /// Copies whole pages of `bytes` over missing pages. In a lazy span they arrive write-protected: the first write
    /// waits for [`Faults::protected`], unless the system took the protection away: [`written`](TrackWrites::written)
    /// with [`WrittenTo::Copied`] finds these. In an eager span they count as file pages do in `written`.
    ///
    /// # Errors
    /// Then the pages are missing still. [`Io`](crate::ErrorKind::Io) where memory is short.
    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()>;

    /// Makes any access to the pages end the process loudly (SIGBUS) rather than see wrong bytes, and wakes. Logs
    /// `why` first. Cannot fail: where even that cannot be had, the process is aborted.
    fn poison(&self, range: Range<usize>, why: &str);

    /// Makes any access to missing pages end in SIGBUS, or in an error where the kernel makes it, until they are
    /// [reset](Replace::reset): for ranges that no view shows. Threads that wait there are to be
    /// [woken](Install::wake).
    ///
    /// # Errors
    /// Then they are missing still.
    fn withdraw(&self, range: Range<usize>) -> Result<()>;

    /// Lets threads that wait in a missing page of the range try again.
    fn wake(&self, range: Range<usize>);

    /// Tells the system to expect random accesses to `range`, which is mapped, and to read no more from disk than is
    /// touched; or, without `random`, to read around that as it sees fit. Changes no byte, so nothing can fail.
    fn advise(&self, range: Range<usize>, random: bool);

    /// Bytes of `range`, which is mapped, that an access finds in memory, without a read from disk; or, of zero memory, those
    /// that were accessed.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the system does not say.
    fn cached(&self, range: Range<usize>) -> Result<usize>;

    /// Reads all of `range` in, which is mapped from byte `offset` of `file` on. What would end the process at an
    /// access comes back as an error here. `exactly`: not a byte more is read from disk, where the system would else
    /// read ahead.
    ///
    /// # Errors
    /// As [`DataFile::read_at`]; [`Corrupt`](crate::ErrorKind::Corrupt) for bytes that cannot be accessed.
    fn read_in(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, exactly: bool) -> Result<()>;

    /// The same for what is mapped from a file that is not at hand: as the system reads it for accesses.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for bytes that cannot be accessed.
    fn populate(&self, range: Range<usize>) -> Result<()>;
}

/// What is laid in place of other memory, or takes it away, where no view lives: no thread may be using the range.
pub trait Replace: Send + Sync {
    /// Maps `file` from byte `offset` on, privately, in place of mapped pages, zero memory, or pages that were copied
    /// into an eager span. Its writes are not [tracked](TrackWrites::track_writes) any more.
    ///
    /// # Errors
    /// As [`map`](Install::map); then the range holds anything.
    fn remap(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64) -> Result<()>;

    /// Back to missing (lazy) or zeros (eager), whatever was there.
    ///
    /// # Errors
    /// Then the range holds anything.
    fn reset(&self, range: Range<usize>) -> Result<()>;
}

/// Stores wait, so that memory may be taken away under its readers. In an eager span, and where no fault is delivered,
/// all of it but `unprotect` is refused as [`Unsupported`](crate::ErrorKind::Unsupported).
pub trait Protect: Send + Sync {
    /// Lets writes to copied pages through from now on, and wakes threads that wait to write.
    ///
    /// # Errors
    /// Then writers wait still.
    fn unprotect(&self, range: Range<usize>) -> Result<()>;

    /// From here on a thread that writes to `range`, either zero memory or copied pages of a lazy span, waits for
    /// [`Faults::protected`], and one that touches a page that was never touched for [`Faults::missing`]. Reads of
    /// pages that are there go on, and [`written`](TrackWrites::written) and [`with_bytes`](SpanBytes::with_bytes) see
    /// bytes that stand still.
    ///
    /// # Errors
    /// Then `range` is as it was.
    fn write_protect(&self, range: Range<usize>) -> Result<()>;

    /// Zero memory that was [write-protected](Protect::write_protect) is as it was before; threads that wait try again.
    /// (Copied pages: [`unprotect`](Protect::unprotect).)
    ///
    /// # Errors
    /// Then threads may wait in it for ever, and it is to be poisoned.
    fn unprotect_zero(&self, range: Range<usize>) -> Result<()>;

    /// Write-protected pages, zero memory or copied, are missing again. Other threads may be reading them: each finds
    /// the bytes, or waits for [`Faults::missing`]; a thread that waited to write goes on waiting until it is
    /// [woken](Install::wake). The memory is free then.
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) if a page is not protected any more, as after the system merged it with an
    /// equal one: it may have been written to, and all is as it was. Other errors: each page is missing or as it was.
    fn evict(&self, range: Range<usize>) -> Result<()>;

    /// Takes the pages of `range`, which is write-protected, out of it, each in one step: a thread that touches one
    /// from here on waits for [`Faults::missing`]. So no store is lost, whatever it went past: it was made before the
    /// page was taken out, and is in it, or waits. `None` where this memory has no such means: then `range` stands
    /// still as [`write_protect`](Protect::write_protect) says.
    ///
    /// Called by the thread that protected `range`, with no lock held, and so is all of [`TakenOut`].
    ///
    /// # Errors
    /// [`InUse`](crate::ErrorKind::InUse) if a page must stay where it is for now, as one that a device stores to does:
    /// then `range` is as before, but for protection: stores may go through. After another error some of it is missing,
    /// and lost.
    fn take_out(&self, range: Range<usize>) -> Result<Option<Box<dyn TakenOut + '_>>>;
}

/// Which pages were written.
pub trait TrackWrites: Send + Sync {
    /// Appends to `found`, ascending, the pages of `range` that were written since `zero` (or since an eager span was
    /// reserved or reset), respectively since `map` or `copy`. May also report zero pages that were only read, and
    /// copied ones that were not written to; never misses a written one. No thread may be writing meanwhile.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the page table cannot be read; what was found so far is appended.
    fn written(&self, range: Range<usize>, written_to: WrittenTo, found: &mut Vec<Range<usize>>) -> Result<()>;

    /// Whether a store to `range`, pages of zero memory that [`written`](TrackWrites::written) reported, is certain:
    /// neither a read nor a store next to it can have brought what is there.
    ///
    /// # Errors
    /// As [`written`](TrackWrites::written).
    fn stored_to(&self, range: Range<usize>) -> Result<bool>;

    /// Bytes of `range`, which is mapped, that are resident so that `written` has to look at them one by one: about
    /// what [`track_writes`](TrackWrites::track_writes) would save. Those that the system holds as huge pages cost a
    /// search next to nothing, and do not count where they can be told apart.
    ///
    /// # Errors
    /// As [`written`](TrackWrites::written).
    fn resident(&self, range: Range<usize>) -> Result<usize>;

    /// Prepares `range`, which is mapped, for being searched again and again: from here on `written` with
    /// [`WrittenTo::Tracked`], and no other, finds what is written and what was before, at a cost by what was written
    /// or read for the first time since the last search rather than by what is resident. What is not resident yet
    /// becomes slower to fault in. Until the next `reset`.
    ///
    /// `false` where the system has no such means, and in an eager span; then the range is searched as before.
    /// Neighbours that are tracked together need no more mappings than they have.
    ///
    /// # Errors
    /// Then the range is searched as before.
    fn track_writes(&self, range: Range<usize>) -> Result<bool>;
}

/// The bytes of a span, as a program's loads and stores reach them: an access may fault, so no lock that the fault
/// needs may be held.
pub trait SpanBytes: Send + Sync {
    /// Address of the first of its bytes; never changes.
    fn base(&self) -> NonNull<u8>;

    /// Calls `f` with the bytes of `range`. No thread may be writing to it meanwhile.
    ///
    /// # Errors
    /// As `f`; [`Invalid`](crate::ErrorKind::Invalid) for bytes that the span does not have.
    fn with_bytes(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;

    /// Writes as a user's store would. No other thread may be using the range.
    fn write(&self, at: usize, bytes: &[u8]);

    /// Writes zeros as a user's store would. No other thread may be using the range.
    fn fill_zero(&self, range: Range<usize>);
}

/// Pages that were [taken out](Protect::take_out) of a span, where no other thread reaches them. Ranges are those of
/// the span.
///
/// If it is dropped, its pages are lost, and missing.
pub trait TakenOut: Bytes {
    /// As [`TrackWrites::written`] with [`WrittenTo::Zero`], of all that was taken out.
    ///
    /// # Errors
    /// As [`TrackWrites::written`].
    fn written(&self, found: &mut Vec<Range<usize>>) -> Result<()>;

    /// As [`TrackWrites::stored_to`], of all that was taken out.
    ///
    /// # Errors
    /// As [`TrackWrites::written`].
    fn stored_to(&self, range: Range<usize>) -> Result<bool>;

    /// Gives up its memory: all of the range is missing, and waiting threads go on waiting until they are
    /// [woken](Install::wake).
    ///
    /// # Errors
    /// Then each page is missing, or zero.
    fn let_go(self: Box<Self>) -> Result<()>;

    /// Puts everything back where it was. The range is as before, but for protection: stores may go through.
    ///
    /// # Errors
    /// Then some of it is missing, and lost.
    fn put_back(self: Box<Self>) -> Result<()>;
}

/// What [`TrackWrites::written`] is to look for: how the pages came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenTo {
    /// Zero memory.
    Zero,
    /// Mapped or, in an eager span, copied.
    Mapped,
    /// Mapped, and [tracked](TrackWrites::track_writes) since.
    Tracked,
    /// Copied into a lazy span, where a write waits for [`Faults::protected`]: pages that are protected no more, though
    /// writes were not [let through](Protect::unprotect). A system that merges pages of equal bytes takes protection
    /// away, and reports no write to such a page. Where that cannot be found out, none.
    Copied,
}
