//! The accesses of a program to a simulated span.

use std::ops::Range;

use bigarray_core::PAGE;

use super::contract::refuse_unless;
use super::handle::SimSpan;
use super::page::{Access, Outcome};
use super::world::{Fault, World};
use crate::role::{Role, role};

/// Where pages are merged: one merge before this many accesses to a page, on average.
const MERGED: usize = 3;

/// How an access ends that cannot end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGBUS: the page is poisoned or withdrawn, or mapped from behind the end of the file.
    Bus,
    /// EFAULT: a system call was handed a page that only a thread of the program may wait for.
    Efault,
}

impl SimSpan {
    /// Loads bytes, as a program's reads would, faults included.
    ///
    /// # Errors
    /// [`Signal::Bus`], where the process would have ended.
    ///
    /// # Panics
    /// If the pager broke the contract of memory, or leaves the thread waiting for ever.
    pub fn load(&self, range: Range<usize>) -> Result<Vec<u8>, Signal> {
        let mut bytes = vec![0; range.len()];
        let mut rest = &mut bytes[..];
        for (at, len) in pieces(range) {
            let (piece, behind) = std::mem::take(&mut rest).split_at_mut(len);
            self.access(at, Access::Read(piece))?;
            rest = behind;
        }
        Ok(bytes)
    }

    /// Stores bytes, as a program's writes would, faults included.
    ///
    /// # Errors
    /// As [`load`](SimSpan::load), with what lies before already stored.
    ///
    /// # Panics
    /// As [`load`](SimSpan::load).
    pub fn store(&self, at: usize, bytes: &[u8]) -> Result<(), Signal> {
        let mut rest = bytes;
        for (at, len) in pieces(at..at + bytes.len()) {
            let (piece, behind) = rest.split_at(len);
            self.access(at, Access::Write(piece))?;
            rest = behind;
        }
        Ok(())
    }

    /// Hands bytes to a system call, as `write(fd, view)` would.
    ///
    /// # Errors
    /// [`Signal::Efault`] where the call cannot wait for a page, else as [`load`](SimSpan::load).
    ///
    /// # Panics
    /// As [`load`](SimSpan::load).
    pub fn load_in_kernel(&self, range: Range<usize>) -> Result<Vec<u8>, Signal> {
        if !self.shared.options.delivers_kernel_faults {
            let world = self.world();
            let table = &world.spans[&self.base].table;
            for (at, _) in pieces(range.clone()) {
                if table.probe(at / PAGE, false) == Outcome::Missing {
                    return Err(Signal::Efault);
                }
            }
        }
        self.load(range)
    }

    /// Whether an access to that byte would go through without a fault.
    pub fn is_present(&self, offset: usize) -> bool {
        self.world().spans[&self.base].table.probe(offset / PAGE, false) == Outcome::Done
    }

    pub(super) fn access(&self, at: usize, mut access: Access<'_>) -> Result<(), Signal> {
        let as_whom = role();
        refuse_unless(as_whom != Role::Monitor, || {
            format!("the thread that receives faults touches the span's byte {at}")
        });
        let has = self.bytes.start <= at && at + access.len() <= self.bytes.end;
        refuse_unless(has, || format!("access to byte {at} of a span of {:?}", self.bytes));
        loop {
            let mut world = self.world();
            self.may_merge(&mut world);
            let table = &mut self.state(&mut world).table;
            let outcome = table.access(at / PAGE, at % PAGE, &mut access);
            drop(world);
            match outcome {
                Outcome::Done => return Ok(()),
                Outcome::Bus => return Err(Signal::Bus),
                what @ (Outcome::Missing | Outcome::Protected) => {
                    self.shared.fault(Fault { base: self.base, offset: at / PAGE * PAGE, what });
                }
            }
        }
    }

    /// Where the kernel merges pages: perhaps merges one of this span.
    fn may_merge(&self, world: &mut World) {
        if self.shared.options.merges && world.rng.one_in(MERGED) {
            let pages = self.state(world).table.pages.len();
            let nth = world.rng.below(pages.max(1));
            let n = self.state(world).table.pages.keys().nth(nth).copied();
            n.into_iter().for_each(|n| self.state(world).table.merge(n));
        }
    }
}

/// Parts of `range` that lie within one page: where each starts, and how long it is.
pub(super) fn pieces(range: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let len = (range.end - at).min(PAGE - at % PAGE);
        let piece = (at, len);
        at += len;
        (len != 0).then_some(piece)
    })
}
