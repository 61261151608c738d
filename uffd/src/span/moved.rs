//! Pages of a span that are [aside](crate::aside): read there, and let go of or put back.

use std::ops::Range;

use bigarray_core::memory::{TakenOut, WrittenTo};
use bigarray_core::store::Bytes;
use bigarray_core::{Error, ErrorKind, PAGE, Result};
use nix::errno::Errno;
use userfaultfd::Uffd;

use super::UffdSpan;
use crate::aside::{PATIENCE, move_out};
use crate::ioctl::{copy_unprotected, move_pages};
use crate::mapping::{HUGE, Reservation};
use crate::shortage::{io_error, os_error};

/// How often memory is unlocked that the program locks meanwhile.
const UNLOCKED: usize = 16;

/// Pages of a block, and where they are meanwhile.
pub(super) struct Moved<'s> {
    span: &'s UffdSpan,
    uffd: &'s Uffd,
    /// Of the span.
    range: Range<usize>,
    /// `None` once it is given back.
    to: Option<Reservation>,
}

impl<'s> Moved<'s> {
    /// Takes out what is there of `range`, which is protected, and at most [`HUGE`] bytes.
    pub(super) fn out_of(span: &'s UffdSpan, uffd: &'s Uffd, range: Range<usize>) -> Result<Moved<'s>> {
        let refused = |errno| {
            let message = format!("taking {} bytes out of a span (UFFDIO_MOVE): {errno}", range.len());
            Error::new(ErrorKind::InUse, message)
        };
        if range.len() > HUGE {
            return Err(Error::new(ErrorKind::Invalid, format!("{} bytes are taken out at once", range.len())));
        }
        let to = span.inner.aside.take(uffd).map_err(refused)?;
        let moved = Moved { span, uffd, range: range.clone(), to: Some(to) };
        let (mut done, mut tries) = (0, 0);
        let outcome = loop {
            let outcome =
                move_out(uffd, &span.inner.page_table, span.range.addresses(&range), moved.start(), &mut done);
            // What the program locked of it stays unlocked until it gives way.
            let unlock = || span.range.unlock(&range).and_then(|()| moved.to().unlock(&(0..HUGE)));
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

    /// The bytes of the span that are at `addresses` meanwhile.
    fn bytes_of(&self, addresses: Range<usize>) -> Range<usize> {
        let start = self.start();
        self.range.start + (addresses.start - start)..self.range.start + (addresses.end - start)
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
        let table = &self.span.inner.page_table;
        let searched = table.written(self.addresses(), WrittenTo::Zero, |run| found.push(self.bytes_of(run)));
        searched.map_err(|error| io_error(format_args!("finding written pages in {} bytes", self.range.len()), error))
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        let table = &self.span.inner.page_table;
        // A run that ends where the block does may be of a huge page that others have a part of.
        let goes_on = |at: usize, next: usize| {
            let mut is_own = false;
            let asked = match at.is_multiple_of(HUGE) {
                true => Ok(()),
                false => table.brought_by_stores(self.span.range.addresses(&(next..next + PAGE)), |_| is_own = true),
            };
            is_own || asked.is_err()
        };
        let mut is_certain = false;
        let look = |run: Range<usize>| {
            let run = self.bytes_of(run);
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
        let (mut there, len) = (Vec::new(), self.range.len());
        let looked = self.span.inner.page_table.present(self.addresses(), |run| there.push(run));
        looked.map_err(|error| io_error(format_args!("finding what was taken out of {len} bytes"), error))?;
        for run in there {
            self.move_back(run.start - self.start()..run.end - self.start())
                .map_err(|errno| os_error(format_args!("putting {len} bytes back where they were"), errno))?;
        }
        Ok(())
    }
}

impl Moved<'_> {
    /// Moves pages back, `within` those that were taken out.
    fn move_back(&self, within: Range<usize>) -> Result<(), Errno> {
        let home = self.span.range.addresses(&self.range).start;
        let (mut at, mut most, mut tries) = (within.start, within.len(), 0);
        while at < within.end {
            let len = most.min(within.end - at);
            let (done, outcome) = move_pages(self.uffd, home + at, self.start() + at, len);
            at += done;
            match outcome {
                Ok(()) => most = within.len(),
                Err(Errno::EAGAIN | Errno::EINTR) if done > 0 || tries < PATIENCE => tries += 1,
                Err(_) if len > PAGE => most = PAGE,
                // It is at home: moved there and not counted, or a zero page that stayed. What is here came by locking
                // then.
                Err(Errno::EEXIST) => at += PAGE,
                // Merged by the system meanwhile, for example. No thread stores to it here, so a copy is as good.
                Err(_) => {
                    self.to().with_bytes(&(at..at + PAGE), |bytes| copy_unprotected(self.uffd, home + at, bytes))?;
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
            self.span.inner.aside.put(to);
        }
    }
}
