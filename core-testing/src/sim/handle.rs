//! A simulated span by its address: what every call on it does to its pages.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::memory::Residency;
use bigarray_core::store::DataFile;
use bigarray_core::sync::MutexGuard;
use bigarray_core::{Error, ErrorKind, PAGE, Result};

use super::SimOp;
use super::contract::{breaks, refuse_unless};
use super::page::Page;
use super::world::{Shared, SpanState, World};

/// The memory of a span of a [`SimMemory`](super::SimMemory), as a program uses it through its pointer.
pub struct SimSpan {
    pub(super) shared: Arc<Shared>,
    pub(super) base: usize,
    /// The bytes of the array that it was reserved for.
    pub(super) bytes: Range<usize>,
}

impl SimSpan {
    /// Locks the state of the memory, in which this span must be alive.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let world = self.shared.world();
        let lives = world.spans.contains_key(&self.base);
        refuse_unless(lives, || format!("the span at {:#x} is used after it was given back", self.base));
        world
    }

    pub(super) fn state<'w>(&self, world: &'w mut World) -> &'w mut SpanState {
        world.spans.get_mut(&self.base).expect("seen to live when the lock was taken")
    }

    /// Logs a call, after checking its range.
    pub(super) fn enter(&self, op: SimOp, range: &Range<usize>) -> MutexGuard<'_, World> {
        let right = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
        refuse_unless(right && range.start <= range.end, || format!("{op:?} of {range:?}: not whole pages"));
        let has = self.bytes.start <= range.start && range.end <= self.bytes.end;
        refuse_unless(has, || format!("{op:?} of {range:?}: the span has {:?}", self.bytes));
        let mut world = self.world();
        world.log(self.base, op, range.clone());
        world
    }

    /// Puts a page over each missing page of `range`.
    /// `replaces`: what may be there already.
    pub(super) fn install(
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

    /// Applies `each` to every page of `range`, all of which must be there. To none in an eager span, which is an error,
    /// and where the test ordered a failure.
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

    /// Makes every page of `range` missing, and returns what was there.
    pub(super) fn take_away(&self, world: &mut World, range: &Range<usize>) -> BTreeMap<usize, Page> {
        let table = &mut self.state(world).table;
        let mut behind = table.pages.split_off(&(range.start / PAGE));
        table.pages.append(&mut behind.split_off(&(range.end / PAGE)));
        table.pinned.retain(|n| !(range.start / PAGE..range.end / PAGE).contains(n));
        behind
    }

    /// The same for the first half of `range`: a call that failed midway.
    pub(super) fn take_half_away(&self, world: &mut World, range: &Range<usize>) {
        let half = (range.start / PAGE).midpoint(range.end / PAGE) * PAGE;
        drop(self.take_away(world, &(range.start..half)));
    }

    pub(super) fn check_file(&self, file: &Arc<dyn DataFile>, offset: u64, len: usize) {
        let is_own = std::ptr::addr_eq(Arc::as_ptr(file), Arc::as_ptr(&self.shared.file));
        let may_be = is_own || self.shared.options.maps_other_files && file.read_at(offset, &mut vec![0; len]).is_ok();
        refuse_unless(may_be, || "map of a file that this memory was not made with".to_owned());
        refuse_unless(offset.is_multiple_of(PAGE as u64), || format!("map from byte {offset}: not a page's start"));
    }

    pub(super) fn wake_up(&self, mut world: MutexGuard<'_, World>, range: &Range<usize>) {
        world.wake(self.base, range);
        drop(world);
        self.shared.moved.notify_all();
    }
}
