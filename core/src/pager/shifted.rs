//! A span that shows a part of an array: its pager counts bytes from the start of the array all the same.

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crate::error::Result;
use crate::memory::{Faults, Job, Span, TakenOut, WrittenTo};
use crate::store::{Bytes, DataFile};

/// `span` is at bytes `origin..` of the array.
pub(super) struct Shifted {
    span: Box<dyn Span>,
    origin: usize,
    /// Whom the span tells of faults; here, since a span keeps none alive.
    faults: std::sync::OnceLock<Arc<ShiftedFaults>>,
}

impl Shifted {
    pub(super) fn new(span: Box<dyn Span>, origin: usize) -> Shifted {
        Shifted { span, origin, faults: std::sync::OnceLock::new() }
    }

    fn at(&self, range: Range<usize>) -> Range<usize> {
        range.start - self.origin..range.end - self.origin
    }
}

struct ShiftedFaults {
    faults: Weak<dyn Faults>,
    origin: usize,
}

impl Faults for ShiftedFaults {
    fn missing(&self, offset: usize) -> Vec<Job> {
        self.faults.upgrade().map_or(Vec::new(), |faults| faults.missing(self.origin + offset))
    }

    fn protected(&self, offset: usize) {
        if let Some(faults) = self.faults.upgrade() {
            faults.protected(self.origin + offset);
        }
    }

    fn fail(&self, why: &str) {
        if let Some(faults) = self.faults.upgrade() {
            faults.fail(why);
        }
    }
}

impl Span for Shifted {
    fn base(&self) -> NonNull<u8> {
        self.span.base()
    }

    fn size_bytes(&self) -> usize {
        self.span.size_bytes()
    }

    fn attach(&self, faults: Weak<dyn Faults>) {
        let faults = self.faults.get_or_init(|| Arc::new(ShiftedFaults { faults, origin: self.origin }));
        let faults: Weak<ShiftedFaults> = Arc::downgrade(faults);
        self.span.attach(faults);
    }

    fn zero(&self, range: Range<usize>) -> Result<()> {
        self.span.zero(self.at(range))
    }

    fn map(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, read_ahead: bool) -> Result<()> {
        self.span.map(self.at(range), file, offset, read_ahead)
    }

    fn remap(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64) -> Result<()> {
        self.span.remap(self.at(range), file, offset)
    }

    fn advise(&self, range: Range<usize>, random: bool) {
        self.span.advise(self.at(range), random);
    }

    fn copy(&self, at: usize, bytes: &[u8]) -> Result<()> {
        self.span.copy(at - self.origin, bytes)
    }

    fn unprotect(&self, range: Range<usize>) -> Result<()> {
        self.span.unprotect(self.at(range))
    }

    fn poison(&self, range: Range<usize>, why: &str) {
        self.span.poison(self.at(range), why);
    }

    fn withdraw(&self, range: Range<usize>) -> Result<()> {
        self.span.withdraw(self.at(range))
    }

    fn reset(&self, range: Range<usize>) -> Result<()> {
        self.span.reset(self.at(range))
    }

    fn write_protect(&self, range: Range<usize>) -> Result<()> {
        self.span.write_protect(self.at(range))
    }

    fn unprotect_zero(&self, range: Range<usize>) -> Result<()> {
        self.span.unprotect_zero(self.at(range))
    }

    fn evict(&self, range: Range<usize>) -> Result<()> {
        self.span.evict(self.at(range))
    }

    fn take_out(&self, range: Range<usize>) -> Result<Option<Box<dyn TakenOut + '_>>> {
        let taken = self.span.take_out(self.at(range))?;
        Ok(taken.map(|taken| -> Box<dyn TakenOut + '_> { Box::new(ShiftedOut { taken, origin: self.origin }) }))
    }

    fn wake(&self, range: Range<usize>) {
        self.span.wake(self.at(range));
    }

    fn resident(&self, range: Range<usize>) -> Result<usize> {
        self.span.resident(self.at(range))
    }

    fn track_writes(&self, range: Range<usize>) -> Result<bool> {
        self.span.track_writes(self.at(range))
    }

    fn written(&self, range: Range<usize>, origin: WrittenTo, found: &mut Vec<Range<usize>>) -> Result<()> {
        let mut here = Vec::new();
        let outcome = self.span.written(self.at(range), origin, &mut here);
        append(found, here, self.origin);
        outcome
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        self.span.stored_to(self.at(range))
    }

    fn with_bytes(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.span.with_bytes(self.at(range), f)
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        self.span.write(at - self.origin, bytes);
    }

    fn fill_zero(&self, range: Range<usize>) {
        self.span.fill_zero(self.at(range));
    }

    fn read_in(&self, range: Range<usize>, file: &Arc<dyn DataFile>, offset: u64, exactly: bool) -> Result<()> {
        self.span.read_in(self.at(range), file, offset, exactly)
    }
}

/// Appends runs that are counted from `origin`.
fn append(found: &mut Vec<Range<usize>>, here: Vec<Range<usize>>, origin: usize) {
    let first = found.len();
    for run in here {
        let run = origin + run.start..origin + run.end;
        match found[first..].last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => found.push(run),
        }
    }
}

/// What was taken out of a span that is shifted.
struct ShiftedOut<'s> {
    taken: Box<dyn TakenOut + 's>,
    origin: usize,
}

impl Bytes for ShiftedOut<'_> {
    fn with(&self, range: Range<usize>, f: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.taken.with(range.start - self.origin..range.end - self.origin, f)
    }
}

impl TakenOut for ShiftedOut<'_> {
    fn written(&self, found: &mut Vec<Range<usize>>) -> Result<()> {
        let mut here = Vec::new();
        let outcome = self.taken.written(&mut here);
        append(found, here, self.origin);
        outcome
    }

    fn stored_to(&self, range: Range<usize>) -> Result<bool> {
        self.taken.stored_to(range.start - self.origin..range.end - self.origin)
    }

    fn let_go(self: Box<Self>) -> Result<()> {
        self.taken.let_go()
    }

    fn put_back(self: Box<Self>) -> Result<()> {
        self.taken.put_back()
    }
}
