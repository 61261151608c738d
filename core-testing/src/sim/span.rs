//! A reserved span: the calls of the pager.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use bigarray_core::memory::{
    Faults, Install, Protect, Replace, Residency, Span, SpanBytes, TakenOut, TrackWrites, WrittenTo,
};
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, PAGE, Result};

use super::SimOp;
use super::contract::{breaks, refuse_unless};
use super::handle::SimSpan;
use super::page::{Access, Mapped, Page};
use super::user::pieces;
use super::world::{Shared, World, page_of_file};

/// The owner of a span, which ends when this is dropped.
pub(super) struct Reserved(SimSpan);

impl Reserved {
    pub(super) fn new(shared: &Arc<Shared>, world: &mut World, bytes: Range<usize>, residency: Residency) -> Reserved {
        let (base, state) = world.place(bytes.clone(), residency);
        let span = SimSpan { shared: shared.clone(), base, bytes: bytes.clone() };
        world.spans.insert(base, state);
        world.log(base, SimOp::Reserve, bytes);
        Reserved(span)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut world = self.0.shared.world();
        world.log(self.0.base, SimOp::Drop, self.0.bytes.clone());
        world.spans.remove(&self.0.base);
        let waits = world.waiters.iter().any(|waiter| waiter.fault.base == self.0.base);
        drop(world);
        if !std::thread::panicking() {
            refuse_unless(!waits, || "a span was given back while a thread waits in it".to_owned());
        }
    }
}

/// A mapped page without any access so far.
fn mapped(file: &Arc<dyn DataFile>, offset: u64) -> Page {
    Page::Mapped { file: Mapped(file.clone()), offset, own: None, resident: false, tracked: false }
}

impl Install for Reserved {
    fn zero(&self, range: Range<usize>) -> Result<()> {
        self.0.install(SimOp::Zero, range, Page::counts_as_missing, |_| Page::zero(true))
    }

    fn zero_in_pages(&self, range: Range<usize>) -> Result<()> {
        self.zero(range)
    }

    fn map(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, _read_ahead: bool) -> Result<()> {
        self.0.check_file(file, offset, range.len());
        self.0.install(SimOp::Map, range, Page::counts_as_missing, |at| mapped(file, offset + at as u64))
    }

    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let protected = self.0.state(&mut self.0.world()).table.residency == Residency::Lazy;
        self.0.install(SimOp::Copy, at..at + bytes.len(), Page::counts_as_missing, |at| {
            let bytes = bytes[at..at + PAGE].try_into().expect("whole pages");
            Page::Copied { bytes: Box::new(bytes), protected, merged: false, written: false }
        })
    }

    fn poison(&self, range: Range<usize>, _why: &str) {
        let mut world = self.0.enter(SimOp::Poison, &range);
        let pages = range.start / PAGE..range.end / PAGE;
        self.0.state(&mut world).table.pages.extend(pages.map(|n| (n, Page::Poisoned)));
        self.0.wake_up(world, &range);
    }

    fn withdraw(&self, range: Range<usize>) -> Result<()> {
        let mut world = self.0.enter(SimOp::Withdraw, &range);
        world.fails(SimOp::Withdraw)?;
        let pages = range.start / PAGE..range.end / PAGE;
        // One entry for the whole range, which may be gigabytes of a span out of use.
        let table = &mut self.0.state(&mut world).table;
        let missing = table.pages.range(pages.clone()).all(|(_, page)| page.counts_as_missing());
        refuse_unless(missing, || format!("withdraw of {range:?}, where something is"));
        table.withdrawn.push(pages);
        Ok(())
    }

    fn wake(&self, range: Range<usize>) {
        let world = self.0.enter(SimOp::Wake, &range);
        self.0.wake_up(world, &range);
    }

    fn advise(&self, range: Range<usize>, _random: bool) {
        drop(self.0.enter(SimOp::Advise, &range));
    }

    fn cached(&self, range: Range<usize>) -> Result<usize> {
        let mut world = self.0.enter(SimOp::Resident, &range);
        let read_ahead = std::mem::take(&mut world.read_ahead);
        let pages = self.0.state(&mut world).table.pages.range(range.start / PAGE..range.end / PAGE);
        let is_cached = |page: &Page| match page {
            Page::Mapped { file, offset, resident, .. } => {
                *resident || read_ahead.contains(&page_of_file(&file.0, *offset))
            }
            Page::Zero { touched, .. } => *touched,
            _ => false,
        };
        let cached = pages.filter(|(_, page)| is_cached(page)).count() * PAGE;
        world.read_ahead = read_ahead;
        Ok(cached)
    }

    fn read_in(&self, range: Range<usize>, from_file: &Arc<dyn DataFile>, from: u64, _exactly: bool) -> Result<()> {
        let mut world = self.0.enter(SimOp::ReadIn, &range);
        world.fails(SimOp::ReadIn)?;
        let table = &mut self.0.state(&mut world).table;
        for (n, page) in table.pages.range_mut(range.start / PAGE..range.end / PAGE) {
            match page {
                Page::Mapped { file, offset, own, resident, .. } => {
                    refuse_unless(Arc::ptr_eq(&file.0, from_file), || "read_in of another file".to_owned());
                    let wanted = from + (n * PAGE - range.start) as u64;
                    refuse_unless(*offset == wanted, || format!("read_in of byte {wanted}, where {offset} is mapped"));
                    if own.is_none() {
                        from_file.read_at(*offset, &mut [0; PAGE])?;
                    }
                    *resident = true;
                }
                other => panic!("read_in over a page that is not mapped, but {}", other.name()),
            }
        }
        Ok(())
    }

    fn populate(&self, range: Range<usize>) -> Result<()> {
        let mut world = self.0.enter(SimOp::ReadIn, &range);
        world.fails(SimOp::ReadIn)?;
        let table = &mut self.0.state(&mut world).table;
        for (_, page) in table.pages.range_mut(range.start / PAGE..range.end / PAGE) {
            match page {
                Page::Mapped { resident, .. } => *resident = true,
                other => panic!("populate over a page that is not mapped, but {}", other.name()),
            }
        }
        Ok(())
    }
}

impl Replace for Reserved {
    fn remap(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64) -> Result<()> {
        self.0.check_file(file, offset, range.len());
        let eager = self.0.state(&mut self.0.world()).table.residency == Residency::Eager;
        self.0.install(
            SimOp::Remap,
            range,
            |there| match there {
                Page::Zero { protected: false, .. } | Page::Mapped { .. } => true,
                Page::Copied { .. } => eager,
                _ => false,
            },
            |at| mapped(file, offset + at as u64),
        )
    }

    fn reset(&self, range: Range<usize>) -> Result<()> {
        let mut world = self.0.enter(SimOp::Reset, &range);
        if let Err(error) = world.fails(SimOp::Reset) {
            self.0.take_half_away(&mut world, &range);
            return Err(error);
        }
        drop(self.0.take_away(&mut world, &range));
        self.0.state(&mut world).table.restore(&(range.start / PAGE..range.end / PAGE));
        Ok(())
    }
}

impl Protect for Reserved {
    fn unprotect(&self, range: Range<usize>) -> Result<()> {
        let mut world = self.0.enter(SimOp::Unprotect, &range);
        world.fails(SimOp::Unprotect)?;
        let table = &mut self.0.state(&mut world).table;
        for n in range.start / PAGE..range.end / PAGE {
            match table.pages.get_mut(&n) {
                Some(Page::Copied { protected, merged, .. }) => (*protected, *merged) = (false, false),
                other => {
                    let is = other.map_or("missing", |page| page.name());
                    panic!("the contract of memory is broken: unprotect of page {n}, which is {is}, not copied");
                }
            }
        }
        self.0.wake_up(world, &range);
        Ok(())
    }

    fn write_protect(&self, range: Range<usize>) -> Result<()> {
        let mut copied = None;
        let held = self.0.hold(SimOp::WriteProtect, &range, |n, page| {
            let is_copied = match page {
                Page::Zero { protected: protected @ false, merged, .. } => {
                    (*protected, *merged) = (true, false);
                    false
                }
                Page::Copied { protected, merged, .. } => {
                    (*protected, *merged) = (true, false);
                    true
                }
                other => breaks(SimOp::WriteProtect, n, other.name()),
            };
            let one_kind = *copied.get_or_insert(is_copied) == is_copied;
            refuse_unless(one_kind, || format!("write_protect of {range:?}: zero memory and copied pages at once"));
        });
        held.map(drop)
    }

    fn unprotect_zero(&self, range: Range<usize>) -> Result<()> {
        let world = self.0.hold(SimOp::UnprotectZero, &range, |n, page| match page {
            Page::Zero { protected: protected @ true, merged, .. } => (*protected, *merged) = (false, false),
            other => breaks(SimOp::UnprotectZero, n, other.name()),
        })?;
        self.0.wake_up(world, &range);
        Ok(())
    }

    fn evict(&self, range: Range<usize>) -> Result<()> {
        let mut merged = false;
        let mut world = self.0.enter(SimOp::Evict, &range);
        let table = &self.0.state(&mut world).table;
        if table.residency == Residency::Eager {
            return Err(Error::new(ErrorKind::Unsupported, "simulated: evict in an eager span"));
        }
        for (&n, page) in table.pages.range(range.start / PAGE..range.end / PAGE) {
            merged |= page.is_merged();
            if !page.is_merged() && !page.stands_still() {
                breaks(SimOp::Evict, n, page.name());
            }
        }
        if let Err(error) = world.fails(SimOp::Evict) {
            if !merged {
                self.0.take_half_away(&mut world, &range);
            }
            return Err(error);
        }
        if merged {
            return Err(Error::new(ErrorKind::InUse, "simulated: a page was merged with another"));
        }
        drop(self.0.take_away(&mut world, &range));
        Ok(())
    }

    fn take_out(&self, range: Range<usize>) -> Result<Option<Box<dyn TakenOut + '_>>> {
        Ok(self.0.take_pages_out(range)?.map(|taken| -> Box<dyn TakenOut + '_> { Box::new(taken) }))
    }
}

impl TrackWrites for Reserved {
    fn written(&self, range: Range<usize>, origin: WrittenTo, found: &mut Vec<Range<usize>>) -> Result<()> {
        let mut world = self.0.enter(SimOp::Written, &range);
        world.fails(SimOp::Written)?;
        let reads_too = self.0.shared.options.reports_read_zero_pages;
        let pages = range.start / PAGE..range.end / PAGE;
        self.0.state(&mut world).table.written(pages, origin, reads_too, found);
        Ok(())
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        let mut world = self.0.enter(SimOp::Written, &range);
        world.fails(SimOp::Written)?;
        let mut found = Vec::new();
        let pages = range.start / PAGE..range.end / PAGE;
        self.0.state(&mut world).table.written(pages, WrittenTo::Zero, false, &mut found);
        Ok(!found.is_empty())
    }

    fn resident(&self, range: Range<usize>) -> Result<usize> {
        let mut world = self.0.enter(SimOp::Resident, &range);
        world.fails(SimOp::Resident)?;
        let mut bytes = 0;
        for (n, page) in self.0.state(&mut world).table.pages.range(range.start / PAGE..range.end / PAGE) {
            match page {
                Page::Mapped { resident, .. } => bytes += PAGE * usize::from(*resident),
                other => panic!("resident over page {n}, which is not mapped, but {}", other.name()),
            }
        }
        Ok(bytes)
    }

    fn track_writes(&self, range: Range<usize>) -> Result<bool> {
        let mut world = self.0.enter(SimOp::TrackWrites, &range);
        world.fails(SimOp::TrackWrites)?;
        let table = &mut self.0.state(&mut world).table;
        let can = self.0.shared.options.tracks && table.residency == Residency::Lazy;
        for n in range.start / PAGE..range.end / PAGE {
            match table.pages.get_mut(&n) {
                Some(Page::Mapped { tracked, .. }) => *tracked |= can,
                other => {
                    let is = other.map_or("missing", |page| page.name());
                    panic!("the contract of memory is broken: track_writes of page {n}, which is {is}, not mapped");
                }
            }
        }
        Ok(can)
    }
}

impl SpanBytes for Reserved {
    fn base(&self) -> NonNull<u8> {
        let base = std::ptr::without_provenance_mut(self.0.base);
        NonNull::new(base).expect("spans lie far above address 0")
    }

    fn with_bytes(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        match self.0.load(range.clone()) {
            Ok(bytes) => f(&bytes),
            Err(signal) => panic!("{signal:?} in bytes {range:?} of a simulated span"),
        }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        if let Err(signal) = self.0.store(at, bytes) {
            panic!("{signal:?} in a write of {} bytes at {at} of a simulated span", bytes.len());
        }
    }

    fn fill_zero(&self, range: Range<usize>) {
        for (at, len) in pieces(range) {
            if let Err(signal) = self.0.access(at, Access::FillZero(len)) {
                panic!("{signal:?} where byte {at} of a simulated span was to become zero");
            }
        }
    }
}

impl Span for Reserved {
    fn bytes(&self) -> Range<usize> {
        self.0.bytes.clone()
    }

    fn attach(&self, faults: Weak<dyn Faults>) {
        let mut world = self.0.world();
        let state = self.0.state(&mut world);
        refuse_unless(state.faults.is_none(), || "attach was called twice".to_owned());
        refuse_unless(state.table.pages.is_empty(), || "attach was called after something was installed".to_owned());
        state.faults = Some(faults);
    }
}
