//! Stores to a span: held back while its memory is taken away, and found after.

use std::ops::Range;

use bigarray_core::memory::{Protect, Residency, TakenOut, TrackWrites, WrittenTo};
use bigarray_core::{Error, ErrorKind, Result};
use userfaultfd::Uffd;

use super::UffdSpan;
use super::moved::Moved;
use crate::mapping::HUGE;
use crate::shortage::{io_error, os_error};
use crate::write_protect;
use crate::write_tracking::track_writes;

impl UffdSpan {
    /// Gives back the memory of `range`, which is protected. Refuses pages that are not registered, whose bytes would
    /// become zeros.
    pub(super) fn discard_protected(&self, range: &Range<usize>) -> Result<()> {
        let addresses = self.range.addresses(range);
        self.uffd()
            .and_then(|uffd| write_protect::protect(uffd, &addresses))
            .and_then(|()| self.range.discard(range))
            .map_err(|errno| {
                os_error(format_args!("giving back the memory of {} bytes in use (MADV_DONTNEED)", range.len()), errno)
            })
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
}

impl Protect for UffdSpan {
    fn unprotect(&self, range: Range<usize>) -> Result<()> {
        self.check(&range)?;
        if self.residency == Residency::Eager || range.is_empty() {
            return Ok(());
        }
        let let_through = self.uffd().and_then(|uffd| write_protect::let_through(uffd, &self.range.addresses(&range)));
        let_through.map_err(|errno| {
            os_error(format_args!("letting writes through to {} bytes (UFFDIO_WRITEPROTECT)", range.len()), errno)
        })
    }

    fn write_protect(&self, range: Range<usize>) -> Result<()> {
        let Some((uffd, addresses)) = self.held(&range)? else { return Ok(()) };
        match write_protect::register_and_protect(uffd, &addresses) {
            Ok(false) => Ok(()),
            splits => self.mapped(
                splits.map(drop),
                format_args!("write-protecting {} bytes (UFFDIO_REGISTER, UFFDIO_WRITEPROTECT)", range.len()),
            ),
        }
    }

    fn unprotect_zero(&self, range: Range<usize>) -> Result<()> {
        let Some((uffd, addresses)) = self.held(&range)? else { return Ok(()) };
        write_protect::unprotect_and_unregister(uffd, &addresses).map_err(|errno| {
            os_error(format_args!("taking the write protection off {} bytes (UFFDIO_UNREGISTER)", range.len()), errno)
        })
    }

    fn evict(&self, range: Range<usize>) -> Result<()> {
        let Some((_, addresses)) = self.held(&range)? else { return Ok(()) };
        let mut lost = false;
        let looked = self.inner.page_table.written(addresses, WrittenTo::Copied, |_| lost = true);
        looked.map_err(|error| io_error(format_args!("finding what is protected in {} bytes", range.len()), error))?;
        if lost {
            let message = "a page was merged with an equal one, and may have been written to";
            return Err(Error::new(ErrorKind::InUse, message));
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
        let searched = self.inner.page_table.written(addresses.clone(), origin, collect);
        searched.map_err(|error| Error::io(format_args!("finding written pages in {} bytes", range.len()), error))
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        self.check(&range)?;
        let huge = self.range.addresses(&(range.start / HUGE * HUGE..range.end.next_multiple_of(HUGE)));
        let found = self.inner.page_table.stored_to(self.range.addresses(&range), huge);
        found.map_err(|error| Error::io(format_args!("finding stores to {} bytes", range.len()), error))
    }

    fn resident(&self, range: Range<usize>) -> Result<usize> {
        self.check(&range)?;
        let found = self.inner.page_table.resident(self.range.addresses(&range));
        found.map_err(|error| Error::io(format_args!("finding what is resident of {} bytes", range.len()), error))
    }

    fn track_writes(&self, range: Range<usize>) -> Result<bool> {
        self.check(&range)?;
        let Some(uffd) = self.inner.write_tracking.as_ref().filter(|_| self.residency == Residency::Lazy) else {
            return Ok(false);
        };
        if range.is_empty() {
            return Ok(true);
        }
        let tracked = track_writes(uffd, &self.inner.page_table, self.range.addresses(&range));
        self.mapped(tracked, format_args!("tracking {} bytes (UFFDIO_REGISTER)", range.len())).map(|()| true)
    }
}
