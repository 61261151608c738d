//! Pages taken out of a span: moved, as they are, to a range of addresses that nobody else knows of (UFFDIO_MOVE, Linux
//! 6.8), where they are read and then given back.
//!
//! Protection alone holds stores back that go through the page table, as long as the page's entry is marked. A device that
//! was given a page stores by its physical address, and a page that the system merged with an equal one has lost its mark.
//! A move does not lose either: it takes the page out of the table in one step, and refuses a page that is pinned or that
//! another entry refers to (EBUSY). What was stored before is in the page, also what was stored while it was unprotected;
//! what comes later finds nothing there, and waits as for any missing page.
//!
//! What may be found on the way:
//!
//! - *A hole* in zero memory moves as nothing. *A page in swap* moves as its entry.
//! - *A huge page* moves whole where it is all of the range, and is split up first where it is not.
//! - *The zero page* moves as such from Linux 6.9 on; before, it stays (EBUSY), protected, and is discarded in the end.
//!   Nobody can have pinned it to store to it.
//! - *A refusal half way*: all that is there aside is moved back, or copied where even that is refused.
//! - *More is moved than is told*, on Linux 6.18: where a page has to be tried again inside the call, as one does that is
//!   just being migrated (compaction), `move_pages` keeps that error (EAGAIN). So it does not count the pages that it moves
//!   next, and then finds them in its way (EEXIST). Therefore nothing aside is discarded before it is at home, and what is
//!   aside is asked of the page table.
//! - *Locked memory*: a page moves only from unlocked memory to unlocked memory, so both are unlocked. To lock a range aside
//!   is to fill it with zeros, where nothing can be moved to: a range is emptied before it is used.
//!
//! Pages arrive without protection, either way: who puts them back lets writes through, or counts them as written to.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bigarray_core::memory::{TakenOut, WrittenTo};
use bigarray_core::store::Bytes;
use bigarray_core::{Error, ErrorKind, PAGE, Result};
use nix::errno::Errno;
use userfaultfd::{RegisterMode, Uffd};

use crate::ioctl::{copy_unprotected, move_pages};
use crate::mapping::{Access, HUGE, Reservation};
use crate::pagemap::PageTable;
use crate::shortage::{errno_of, io_error, os_error};
use crate::span::UffdSpan;

/// How often a page is tried that the system is at just then.
const PATIENCE: usize = 1000;

/// How often memory is unlocked that the program locks meanwhile.
const UNLOCKED: usize = 16;

/// Ranges to move pages to, each for one block; as many as were needed at once.
pub(crate) struct Aside {
    free: Mutex<Vec<Reservation>>,
}

impl Aside {
    pub(crate) fn new() -> Aside {
        Aside { free: Mutex::new(Vec::new()) }
    }

    /// An empty range of [`HUGE`] bytes. What is read of it and is not there is zero: it waits for no missing pages.
    pub(crate) fn take(&self, uffd: &Uffd) -> Result<Reservation, Errno> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // `mlockall` locks it as any memory, and fills it.
        let empty = |range: &Reservation| range.unlock(&(0..HUGE)).and_then(|()| range.discard(&(0..HUGE))).is_ok();
        if let Some(range) = free.filter(empty) {
            return Ok(range);
        }
        let range = Reservation::new(HUGE, Access::Nothing)?;
        let at = range.addresses(&(0..HUGE)).start;
        uffd.register_with_mode(at as *mut _, HUGE, RegisterMode::WRITE_PROTECT).map_err(|error| errno_of(&error))?;
        range.open_up(&(0..HUGE))?;
        Ok(range)
    }

    /// Gives its memory back. A range that cannot be emptied is not used again.
    fn put(&self, range: Reservation) {
        if range.discard(&(0..HUGE)).is_ok() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(range);
        }
    }
}

/// Pages of a block, and where they are meanwhile.
pub(crate) struct Moved<'s> {
    span: &'s UffdSpan,
    /// Of the span.
    range: Range<usize>,
    /// `None` once it is given back.
    to: Option<Reservation>,
}

impl<'s> Moved<'s> {
    /// Takes out what is there of `range`, which is protected, and at most [`HUGE`] bytes.
    pub(crate) fn out_of(span: &'s UffdSpan, uffd: &Uffd, range: Range<usize>) -> Result<Moved<'s>> {
        let refused = |errno| {
            let message = format!("taking {} bytes out of a span (UFFDIO_MOVE): {errno}", range.len());
            Error::new(ErrorKind::InUse, message)
        };
        if range.len() > HUGE {
            return Err(Error::new(ErrorKind::Invalid, format!("{} bytes are taken out at once", range.len())));
        }
        let to = span.inner().aside.take(uffd).map_err(refused)?;
        let moved = Moved { span, range: range.clone(), to: Some(to) };
        let (mut done, mut tries) = (0, 0);
        let outcome = loop {
            let outcome = move_out(uffd, &span.inner().page_table, span.addresses(&range), moved.start(), &mut done);
            // What the program locked of it stays unlocked until it gives way.
            let unlock = || span.unlock(&range).and_then(|()| moved.to().unlock(&(0..HUGE)));
            if outcome != Err(Errno::EINVAL) || tries == UNLOCKED || unlock().is_err() {
                break outcome;
            }
            tries += 1;
        };
        match outcome {
            Ok(()) => Ok(moved),
            Err(errno) => {
                let undone = Box::new(moved).put_back();
                // Not in use: it is lost.
                Err(undone.map_or_else(|error| error.context(refused(errno)), |()| refused(errno)))
            }
        }
    }

    fn to(&self) -> &Reservation {
        self.to.as_ref().expect("it is there until it is given back")
    }

    /// Where the first of its pages is.
    fn start(&self) -> usize {
        self.to().addresses(&(0..HUGE)).start
    }

    fn addresses(&self) -> Range<usize> {
        self.start()..self.start() + self.range.len()
    }
}

impl Bytes for Moved<'_> {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if range.start < self.range.start || range.end > self.range.end || range.start > range.end {
            let message = format!("bytes {}..{} of {:?}, which were taken out", range.start, range.end, self.range);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.to().with_bytes(&(range.start - self.range.start..range.end - self.range.start), f)
    }
}

impl TakenOut for Moved<'_> {
    fn written(&self, found: &mut Vec<Range<usize>>) -> Result<()> {
        let start = self.start();
        let collect = |run: Range<usize>| {
            let run = self.range.start + (run.start - start)..self.range.start + (run.end - start);
            found.push(run);
        };
        self.span
            .inner()
            .page_table
            .written(self.addresses(), WrittenTo::Zero, collect)
            .map_err(|error| io_error(format!("finding written pages in {} bytes", self.range.len()), error))
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        let start = self.start();
        let table = &self.span.inner().page_table;
        // A run that ends where the block does may be of a huge page that others have a part of.
        let goes_on = |at: usize, next: usize| {
            let mut is_own = false;
            let asked = match at.is_multiple_of(HUGE) {
                true => Ok(()),
                false => table.brought_by_stores(self.span.addresses(&(next..next + PAGE)), |_| is_own = true),
            };
            is_own || asked.is_err()
        };
        let mut is_certain = false;
        let look = |run: Range<usize>| {
            let run = self.range.start + (run.start - start)..self.range.start + (run.end - start);
            is_certain |= range.start <= run.start
                && run.end <= range.end
                && !(run.start == self.range.start && goes_on(run.start, run.start.wrapping_sub(PAGE)))
                && !(run.end == self.range.end && goes_on(run.end, run.end));
        };
        table
            .brought_by_stores(self.addresses(), look)
            .map_err(|error| io_error(format!("finding stores to {} bytes", range.len()), error))?;
        Ok(is_certain)
    }

    fn let_go(self: Box<Self>) -> Result<()> {
        // Zero pages may have stayed.
        self.span.discard_protected(&self.range)
    }

    fn put_back(self: Box<Self>) -> Result<()> {
        let (uffd, addresses) = (self.span.lazy_uffd()?, self.span.addresses(&self.range));
        let mut there = Vec::new();
        self.span
            .inner()
            .page_table
            .present(self.addresses(), |run| there.push(run))
            .map_err(|error| io_error(format!("finding what was taken out of {} bytes", self.range.len()), error))?;
        for run in there {
            let within = run.start - self.start()..run.end - self.start();
            self.move_back(uffd, within, addresses.start)
                .map_err(|errno| os_error(format!("putting {} bytes back where they were", self.range.len()), errno))?;
        }
        Ok(())
    }
}

impl Moved<'_> {
    /// Moves pages back, `within` those that were taken out of what begins at the address `home`.
    fn move_back(&self, uffd: &Uffd, within: Range<usize>, home: usize) -> Result<(), Errno> {
        let (mut at, mut most, mut tries) = (within.start, within.len(), 0);
        while at < within.end {
            let len = most.min(within.end - at);
            let (done, outcome) = move_pages(uffd, home + at, self.start() + at, len);
            at += done;
            match outcome {
                Ok(()) => most = within.len(),
                Err(Errno::EAGAIN | Errno::EINTR) if done > 0 || tries < PATIENCE => tries += 1,
                Err(_) if len > PAGE => most = PAGE,
                // It is at home: moved there and not counted, or a zero page that stayed. What is here came by locking then.
                Err(Errno::EEXIST) => at += PAGE,
                // Merged by the system while it was here, say. Nobody stores to it, so a copy is as good.
                Err(_) => {
                    self.to().with_bytes(&(at..at + PAGE), |bytes| copy_unprotected(uffd, home + at, bytes))?;
                    at += PAGE;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Moved<'_> {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            self.span.inner().aside.put(to);
        }
    }
}

/// Moves all that is there of `from` to what begins at `to`, but for zero pages that cannot be moved. `done` bytes of it
/// were moved before, and are left alone: where a page was moved to the next one is refused. It tells how far this came, also
/// after an error.
pub(crate) fn move_out(
    uffd: &Uffd,
    table: &PageTable,
    from: Range<usize>,
    to: usize,
    done: &mut usize,
) -> Result<(), Errno> {
    let (mut most, mut tries) = (from.len(), 0);
    while *done < from.len() {
        let (at, len) = (from.start + *done, most.min(from.len() - *done));
        let (moved, outcome) = move_pages(uffd, to + *done, at, len);
        *done += moved;
        match outcome {
            Ok(()) => most = from.len(),
            Err(Errno::EAGAIN | Errno::EINTR) if moved > 0 => {}
            Err(Errno::EAGAIN | Errno::EINTR) if tries < PATIENCE => {
                tries += 1;
                std::thread::yield_now();
            }
            // In two mappings, each of which is moved by itself.
            Err(Errno::EINVAL) if len > PAGE => most = (len / 2).next_multiple_of(PAGE),
            // Small pages move without the one that cannot; which that is shows when it is tried alone.
            Err(Errno::EBUSY) if len > PAGE => most = PAGE,
            Err(Errno::EBUSY) if table.is_zero_page(at) => *done += PAGE,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
