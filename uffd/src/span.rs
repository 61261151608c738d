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

mod install;
mod moved;
mod stores;

use std::fmt::Display;
use std::fs::File;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};

use bigarray_core::memory::{Faults, Residency, Span, SpanBytes};
use bigarray_core::{Error, ErrorKind, Result};
use nix::errno::Errno;
use userfaultfd::Uffd;

use crate::inner::Inner;
use crate::mapping::{Access, Reservation, is_whole_pages};
use crate::shortage::os_error;
use crate::write_protect;

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

    /// Counts a mapping that was to be laid over a part of another one, or that it was refused. `what` is for the error.
    fn mapped(&self, outcome: Result<(), Errno>, what: impl Display) -> Result<()> {
        match outcome {
            Ok(()) => self.inner.mappings.installed(),
            Err(Errno::ENOMEM) => self.inner.mappings.refused(),
            Err(_) => {}
        }
        outcome.map_err(|errno| os_error(what, errno))
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
