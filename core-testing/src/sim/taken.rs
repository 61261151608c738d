//! Taking pages out of a simulated span, and what keeps a page in: merging, and devices that store to it.

use std::collections::BTreeMap;
use std::ops::Range;

use bigarray_core::memory::{TakenOut, WrittenTo};
use bigarray_core::store::Bytes;
use bigarray_core::{Error, ErrorKind, PAGE, Result};

use super::SimOp;
use super::contract::breaks;
use super::handle::SimSpan;
use super::page::Page;
use super::user::Signal;

/// Pages taken out of a span. They are lost if this is dropped.
pub(super) struct SimTaken<'s> {
    span: &'s SimSpan,
    pages: BTreeMap<usize, Page>,
}

impl SimSpan {
    pub(super) fn take_pages_out(&self, range: Range<usize>) -> Result<Option<SimTaken<'_>>> {
        if !self.shared.options.moves {
            return Ok(None);
        }
        let mut merged = false;
        let mut world = self.hold(SimOp::TakeOut, &range, |n, page| {
            merged |= page.is_merged();
            if !page.is_held() {
                breaks(SimOp::TakeOut, n, page.name());
            }
        })?;
        // A merged page that was written to since is a page of its own.
        let is_shared = merged && world.rng.one_in(2);
        let is_pinned =
            self.state(&mut world).table.pinned.range(range.start / PAGE..range.end / PAGE).next().is_some();
        if is_shared || is_pinned {
            return Err(Error::new(ErrorKind::InUse, "simulated: a page must stay where it is"));
        }
        let pages = self.take_away(&mut world, &range);
        Ok(Some(SimTaken { span: self, pages }))
    }

    /// The kernel merges page `n` with another of equal bytes, if it has any, and takes its protection away.
    pub fn merge(&self, n: usize) {
        self.state(&mut self.world()).table.merge(n);
    }

    /// Gives page `n` to a device, whose stores cause no fault, until it is [unpinned](SimSpan::unpin).
    ///
    /// # Errors
    /// As [`store`](SimSpan::store): the page is made ready to be written to first.
    pub fn pin(&self, n: usize) -> Result<(), Signal> {
        loop {
            let there = self.load(n * PAGE..n * PAGE + 1)?;
            self.store(n * PAGE, &there)?;
            let mut world = self.world();
            let table = &mut self.state(&mut world).table;
            // It may have been taken away again.
            if table.pages.get(&n).is_some_and(|page| !page.stands_still() && page.own().is_some()) {
                table.pinned.insert(n);
                return Ok(());
            }
        }
    }

    /// Stores bytes as the device that has page `n`. If the page was taken away meanwhile they are lost.
    pub fn store_pinned(&self, n: usize, at: usize, bytes: &[u8]) {
        let mut world = self.world();
        let table = &mut self.state(&mut world).table;
        if table.pinned.contains(&n)
            && let Some(own) = table.pages.get_mut(&n).and_then(Page::own_mut)
        {
            own[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// The device is done with page `n`.
    pub fn unpin(&self, n: usize) {
        self.state(&mut self.world()).table.pinned.remove(&n);
    }
}

impl Bytes for SimTaken<'_> {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut bytes = vec![0; range.len()];
        for (n, to) in (range.start / PAGE..).zip(bytes.chunks_mut(PAGE)) {
            match self.pages.get(&n) {
                Some(page) => page.own().into_iter().for_each(|own| to.copy_from_slice(&own[..])),
                None => panic!("the contract of memory is broken: page {n} was not taken out"),
            }
        }
        f(&bytes)
    }
}

impl TakenOut for SimTaken<'_> {
    fn written(&self, found: &mut Vec<Range<usize>>) -> Result<()> {
        let reads_too = self.span.shared.options.reports_read_zero_pages;
        for (n, _) in self.pages.iter().filter(|(_, page)| page.is_written(WrittenTo::Zero, reads_too)) {
            found.push(n * PAGE..(n + 1) * PAGE);
        }
        Ok(())
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        let mut pages = self.pages.range(range.start / PAGE..range.end / PAGE);
        Ok(pages.any(|(_, page)| page.is_written(WrittenTo::Zero, false)))
    }

    fn let_go(self: Box<Self>) -> Result<()> {
        Ok(())
    }

    fn put_back(mut self: Box<Self>) -> Result<()> {
        let (Some((first, _)), Some((last, _))) = (self.pages.first_key_value(), self.pages.last_key_value()) else {
            return Ok(());
        };
        let mut world = self.span.enter(SimOp::PutBack, &(first * PAGE..(last + 1) * PAGE));
        world.fails(SimOp::PutBack)?;
        self.pages.values_mut().for_each(Page::merge); // not protected any more, that is
        self.span.state(&mut world).table.pages.append(&mut self.pages);
        Ok(())
    }
}
