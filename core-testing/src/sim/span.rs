//! A simulated span: what the pager does to it, and what a program would do with its memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, MutexGuard, Weak};

use bigarray_core::memory::{Faults, Residency, Span, TakenOut, WrittenTo};
use bigarray_core::store::DataFile;
use bigarray_core::{Error, ErrorKind, PAGE, Result};

use super::SimOp;
use super::page::{Access, Page};
use super::user::pieces;
use super::world::{Shared, SpanState, World};

/// The memory of a span of a [`SimMemory`](super::SimMemory), to be used as a program uses it through its pointer.
pub struct SimSpan {
    pub(super) shared: Arc<Shared>,
    pub(super) base: usize,
    pub(super) len: usize,
}

/// The owner of a span; it ends with it.
pub(super) struct Reserved(Arc<SimSpan>);

/// Ends the test where a rule of the contract is broken.
#[track_caller]
pub(super) fn refuse_unless(kept: bool, rule: impl FnOnce() -> String) {
    if !kept {
        panic!("the contract of memory is broken: {}", rule());
    }
}

/// Ends the test: `op` is not for a page that is what it `is`.
pub(super) fn breaks(op: SimOp, n: usize, is: &str) -> ! {
    panic!("the contract of memory is broken: {op:?} of page {n}, which is {is}")
}

impl Reserved {
    pub(super) fn new(shared: &Arc<Shared>, world: &mut World, len: usize, residency: Residency) -> Reserved {
        let (base, mut state) = world.place(len, residency);
        let span = Arc::new(SimSpan { shared: shared.clone(), base, len });
        state.handle = Arc::downgrade(&span);
        world.spans.insert(base, state);
        world.log(base, SimOp::Reserve, 0..len);
        Reserved(span)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut world = self.0.shared.world();
        world.log(self.0.base, SimOp::Drop, 0..self.0.len);
        world.spans.remove(&self.0.base);
        let waits = world.waiters.iter().any(|waiter| waiter.fault.base == self.0.base);
        drop(world);
        if !std::thread::panicking() {
            refuse_unless(!waits, || "a span was given back while a thread waits in it".to_owned());
        }
    }
}

impl SimSpan {
    /// The world, in which this span lives.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let world = self.shared.world();
        let lives = world.spans.contains_key(&self.base);
        refuse_unless(lives, || format!("the span at {:#x} is used after it was given back", self.base));
        world
    }

    pub(super) fn state<'w>(&self, world: &'w mut World) -> &'w mut SpanState {
        world.spans.get_mut(&self.base).expect("seen to live when the lock was taken")
    }

    /// Notes a call, having seen that its range is right.
    pub(super) fn enter(&self, op: SimOp, range: &Range<usize>) -> MutexGuard<'_, World> {
        let right = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
        refuse_unless(right && range.start <= range.end, || format!("{op:?} of {range:?}: not whole pages"));
        refuse_unless(range.end <= self.len, || format!("{op:?} of {range:?}: the span has {} bytes", self.len));
        let mut world = self.world();
        world.log(self.base, op, range.clone());
        world
    }

    /// Puts a page over each missing page of `range`.
    /// `replaces`: what may be there already.
    fn install(
        &self,
        op: SimOp,
        range: Range<usize>,
        replaces: impl Fn(&Page) -> bool,
        page: impl Fn(usize) -> Page,
    ) -> Result<()> {
        let mut world = self.enter(op, &range);
        let pages = range.start / PAGE..range.end / PAGE;
        let table = &mut self.state(&mut world).table;
        for (n, there) in table.pages.range(pages.clone()) {
            refuse_unless(replaces(there), || {
                format!("{op:?} of {range:?}: page {n} is not missing, but {}", there.name())
            });
        }
        world.fails(op)?;
        if matches!(op, SimOp::Map | SimOp::Remap) {
            let most = self.shared.options.most_mappings;
            if world.mappings() >= most {
                return Err(Error::new(ErrorKind::Io, format!("simulated: no more than {most} mappings")));
            }
        }
        let table = &mut self.state(&mut world).table;
        table.pages.extend(pages.map(|n| (n, page(n * PAGE - range.start))));
        Ok(())
    }

    /// Does something to each page of `range`, all of which are there, in a lazy span; or to none, in an eager one and
    /// where it was ordered to fail.
    pub(super) fn hold(
        &self,
        op: SimOp,
        range: &Range<usize>,
        mut each: impl FnMut(usize, &mut Page),
    ) -> Result<MutexGuard<'_, World>> {
        let mut world = self.enter(op, range);
        if self.state(&mut world).table.residency == Residency::Eager {
            return Err(Error::new(ErrorKind::Unsupported, format!("simulated: {op:?} in an eager span")));
        }
        world.fails(op)?;
        let table = &mut self.state(&mut world).table;
        for n in range.start / PAGE..range.end / PAGE {
            match table.pages.get_mut(&n) {
                Some(page) => each(n, page),
                None => breaks(op, n, "missing"),
            }
        }
        Ok(world)
    }

    /// Makes every page of `range` what it was at first, and gives what it was.
    pub(super) fn take_away(&self, world: &mut World, range: &Range<usize>) -> BTreeMap<usize, Page> {
        let table = &mut self.state(world).table;
        let mut behind = table.pages.split_off(&(range.start / PAGE));
        table.pages.append(&mut behind.split_off(&(range.end / PAGE)));
        table.pinned.retain(|n| !(range.start / PAGE..range.end / PAGE).contains(n));
        behind
    }

    /// The same for the first half of it, where the system stopped.
    fn take_half_away(&self, world: &mut World, range: &Range<usize>) {
        let half = (range.start / PAGE).midpoint(range.end / PAGE) * PAGE;
        drop(self.take_away(world, &(range.start..half)));
    }

    fn check_file(&self, file: &Arc<dyn DataFile>, offset: u64) {
        let known = std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(&self.shared.file));
        refuse_unless(known, || "map of a file that this memory was not made with".to_owned());
        refuse_unless(offset.is_multiple_of(PAGE as u64), || format!("map from byte {offset}: not a page's start"));
    }

    fn wake_up(&self, mut world: MutexGuard<'_, World>, range: &Range<usize>) {
        world.wake(self.base, range);
        drop(world);
        self.shared.moved.notify_all();
    }
}

/// A page of the file, as it comes.
fn mapped(offset: u64) -> Page {
    Page::Mapped { offset, own: None, resident: false, tracked: false }
}

impl Span for Reserved {
    fn base(&self) -> NonNull<u8> {
        let base = std::ptr::without_provenance_mut(self.0.base);
        NonNull::new(base).expect("spans lie far above address 0")
    }

    fn size_bytes(&self) -> usize {
        self.0.len
    }

    fn attach(&self, faults: Weak<dyn Faults>) {
        let mut world = self.0.world();
        let state = self.0.state(&mut world);
        refuse_unless(state.faults.is_none(), || "attach was called twice".to_owned());
        refuse_unless(state.table.pages.is_empty(), || "attach was called after something was installed".to_owned());
        state.faults = Some(faults);
    }

    fn zero(&self, range: Range<usize>) -> Result<()> {
        self.0.install(SimOp::Zero, range, Page::counts_as_missing, |_| Page::zero(true))
    }

    fn map(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, _read_ahead: bool) -> Result<()> {
        self.0.check_file(file, offset);
        self.0.install(SimOp::Map, range, Page::counts_as_missing, |at| mapped(offset + at as u64))
    }

    fn remap(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64) -> Result<()> {
        self.0.check_file(file, offset);
        let eager = self.0.state(&mut self.0.world()).table.residency == Residency::Eager;
        self.0.install(
            SimOp::Remap,
            range,
            |there| match there {
                Page::Zero { protected: false, .. } | Page::Mapped { .. } => true,
                Page::Copied { .. } => eager,
                _ => false,
            },
            |at| mapped(offset + at as u64),
        )
    }

    fn advise(&self, range: Range<usize>, _random: bool) {
        drop(self.0.enter(SimOp::Advise, &range));
    }

    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()> {
        let protected = self.0.state(&mut self.0.world()).table.residency == Residency::Lazy;
        self.0.install(SimOp::Copy, at..at + bytes.len(), Page::counts_as_missing, |at| {
            let bytes = bytes[at..at + PAGE].try_into().expect("whole pages");
            Page::Copied { bytes: Box::new(bytes), protected, merged: false, written: false }
        })
    }

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
        // Nothing is listed for it: it may be gigabytes, of a span that nobody looks at.
        let table = &mut self.0.state(&mut world).table;
        let missing = table.pages.range(pages.clone()).all(|(_, page)| page.counts_as_missing());
        refuse_unless(missing, || format!("withdraw of {range:?}, where something is"));
        table.withdrawn.push(pages);
        Ok(())
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

    fn wake(&self, range: Range<usize>) {
        let world = self.0.enter(SimOp::Wake, &range);
        self.0.wake_up(world, &range);
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

    fn read_in(&self, range: Range<usize>, _file: &Arc<dyn DataFile>, from: u64, _exactly: bool) -> Result<()> {
        let mut world = self.0.enter(SimOp::ReadIn, &range);
        world.fails(SimOp::ReadIn)?;
        let table = &mut self.0.state(&mut world).table;
        for (n, page) in table.pages.range_mut(range.start / PAGE..range.end / PAGE) {
            match page {
                Page::Mapped { offset, own, resident, .. } => {
                    let wanted = from + (n * PAGE - range.start) as u64;
                    refuse_unless(*offset == wanted, || format!("read_in of byte {wanted}, where {offset} is mapped"));
                    if own.is_none() {
                        self.0.shared.file.read_at(*offset, &mut [0; PAGE])?;
                    }
                    *resident = true;
                }
                other => panic!("read_in over a page that is not mapped, but {}", other.name()),
            }
        }
        Ok(())
    }
}
