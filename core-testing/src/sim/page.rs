//! The pages of a simulated span.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bigarray_core::memory::{Residency, WrittenTo};
use bigarray_core::store::DataFile;
use bigarray_core::{PAGE, Result};

/// Bytes a page has of its own, once it was written to.
pub(super) type Own = Box<[u8; PAGE]>;

/// The file that a page is mapped from.
#[derive(Clone)]
pub(super) struct Mapped(pub(super) Arc<dyn DataFile>);

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file")
    }
}

/// A page; one that is not listed is missing (lazy), or zero and untouched (eager).
#[derive(Debug)]
pub(super) enum Page {
    /// Zero memory; not `installed` where an eager span had it from the start. What is `protected` waits to be written to
    /// if it was `touched`, else for any access. A page `merged` with another has lost its protection, unnoticed by the
    /// pager.
    Zero { installed: bool, own: Option<Own>, touched: bool, protected: bool, merged: bool },
    /// A private mapping of a file: read from it at each access, until a write copies it.
    Mapped { file: Mapped, offset: u64, own: Option<Own>, resident: bool, tracked: bool },
    /// Copied in. A page `merged` with another has lost its protection, unnoticed by the pager.
    Copied { bytes: Own, protected: bool, merged: bool, written: bool },
    /// Any access ends the process.
    Poisoned,
}

impl Page {
    /// Zero memory without any access so far.
    pub(super) fn zero(installed: bool) -> Page {
        Page::Zero { installed, own: None, touched: false, protected: false, merged: false }
    }

    /// Whether writes to it are held back, so that it may be taken away under its readers.
    pub(super) fn stands_still(&self) -> bool {
        let (Page::Zero { protected: held, merged, .. } | Page::Copied { protected: held, merged, .. }) = self else {
            return false;
        };
        *held && !merged
    }

    /// Whether they would be, had the page not been merged with another.
    pub(super) fn is_merged(&self) -> bool {
        matches!(self, Page::Zero { merged: true, .. } | Page::Copied { merged: true, .. })
    }

    /// Bytes of its own; without any it shows zeros, or the file.
    pub(super) fn own(&self) -> Option<&Own> {
        match self {
            Page::Zero { own, .. } | Page::Mapped { own, .. } => own.as_ref(),
            Page::Copied { bytes, .. } => Some(bytes),
            Page::Poisoned => None,
        }
    }

    /// The bytes that a device stores to, of a page that it was given.
    pub(super) fn own_mut(&mut self) -> Option<&mut Own> {
        match self {
            Page::Zero { own, .. } | Page::Mapped { own, .. } => own.as_mut(),
            Page::Copied { bytes, .. } => Some(bytes),
            Page::Poisoned => None,
        }
    }

    /// Whether it is held back, merged or not.
    pub(super) fn is_held(&self) -> bool {
        matches!(self, Page::Zero { protected: true, .. } | Page::Copied { protected: true, .. })
    }

    /// Merges it with another of equal bytes, if it is one that has bytes of its own.
    pub(super) fn merge(&mut self) {
        match self {
            Page::Zero { own: Some(_), protected: held, merged, .. } | Page::Copied { protected: held, merged, .. } => {
                *merged = *held;
            }
            _ => {}
        }
    }

    /// Why an access has to wait, if it has to.
    fn holds_back(&self, write: bool) -> Option<Outcome> {
        match self {
            Page::Zero { protected: true, touched: false, .. } => Some(Outcome::Missing),
            page if write && page.stands_still() => Some(Outcome::Protected),
            _ => None,
        }
    }

    /// Whether something may be installed over it.
    pub(super) fn counts_as_missing(&self) -> bool {
        matches!(self, Page::Zero { installed: false, own: None, .. })
    }

    pub(super) fn is_written(&self, to: WrittenTo, reads_too: bool) -> bool {
        match (to, self) {
            (WrittenTo::Zero, Page::Zero { own, touched, .. }) => own.is_some() || reads_too && *touched,
            (WrittenTo::Mapped | WrittenTo::Tracked, Page::Mapped { own, .. }) => own.is_some(),
            (WrittenTo::Mapped, Page::Copied { written, .. }) => *written,
            (WrittenTo::Copied, Page::Copied { .. }) => !self.stands_still(),
            _ => false,
        }
    }

    fn origin_is(&self, to: WrittenTo, residency: Residency) -> bool {
        match self {
            Page::Zero { .. } => to == WrittenTo::Zero,
            Page::Mapped { tracked, .. } => to == if *tracked { WrittenTo::Tracked } else { WrittenTo::Mapped },
            Page::Copied { .. } => match residency {
                Residency::Eager => to == WrittenTo::Mapped,
                Residency::Lazy => to == WrittenTo::Copied,
            },
            Page::Poisoned => true,
        }
    }
}

/// What an access does with the bytes of one page.
pub(super) enum Access<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
    FillZero(usize),
}

impl Access<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Access::Read(to) => to.len(),
            Access::Write(from) => from.len(),
            Access::FillZero(len) => *len,
        }
    }

    fn is_read(&self) -> bool {
        matches!(self, Access::Read(_))
    }

    fn carry_out(&mut self, at: usize, own: &mut Own) {
        let bytes = &mut own[at..at + self.len()];
        match self {
            Access::Read(to) => to.copy_from_slice(bytes),
            Access::Write(from) => bytes.copy_from_slice(from),
            Access::FillZero(_) => bytes.fill(0),
        }
    }
}

/// How an access to one page went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Missing,
    Protected,
    Bus,
}

/// The pages of a span.
#[derive(Debug)]
pub(super) struct PageTable {
    pub(super) residency: Residency,
    pub(super) pages: BTreeMap<usize, Page>,
    /// Pages that a device may store to.
    pub(super) pinned: BTreeSet<usize>,
    /// Runs of pages that are inaccessible where nothing is installed.
    pub(super) withdrawn: Vec<Range<usize>>,
}

impl PageTable {
    /// Pages that are copied, or were written to.
    pub(super) fn own_pages(&self) -> usize {
        let is_own = |page: &&Page| {
            matches!(page, Page::Copied { .. } | Page::Zero { own: Some(_), .. } | Page::Mapped { own: Some(_), .. })
        };
        self.pages.values().filter(is_own).count()
    }

    /// Reads or writes inside page `n`, from its byte `at` on.
    pub(super) fn access(&mut self, n: usize, at: usize, access: &mut Access<'_>) -> Outcome {
        if self.residency == Residency::Eager {
            self.pages.entry(n).or_insert(Page::zero(false));
        }
        let Some(page) = self.pages.get_mut(&n) else { return self.outcome_of_missing(n) };
        let reads = access.is_read();
        if let Some(waits) = page.holds_back(!reads) {
            return waits;
        }
        match page {
            Page::Poisoned => return Outcome::Bus,
            Page::Copied { bytes, written, .. } => {
                *written |= !reads;
                access.carry_out(at, bytes);
            }
            Page::Zero { own, touched, .. } => {
                access_private(at, access, own, |_| Ok(())).unwrap_or(());
                *touched = true;
            }
            Page::Mapped { file, own, offset, resident, .. } => {
                if access_private(at, access, own, |bytes| file.0.read_at(*offset, bytes)).is_err() {
                    return Outcome::Bus;
                }
                *resident = true;
            }
        }
        Outcome::Done
    }

    /// Merges page `n` with another, but for a page that a device uses.
    pub(super) fn merge(&mut self, n: usize) {
        if let Some(page) = self.pages.get_mut(&n).filter(|_| !self.pinned.contains(&n)) {
            page.merge();
        }
    }

    fn outcome_of_missing(&self, n: usize) -> Outcome {
        if self.withdrawn.iter().any(|run| run.contains(&n)) { Outcome::Bus } else { Outcome::Missing }
    }

    /// Ends the withdrawal of `pages`.
    pub(super) fn restore(&mut self, pages: &Range<usize>) {
        let rest = |run: Range<usize>| [run.start..run.end.min(pages.start), run.start.max(pages.end)..run.end];
        self.withdrawn = self.withdrawn.drain(..).flat_map(rest).filter(|run| !run.is_empty()).collect();
    }

    /// How an access to page `n` would go.
    pub(super) fn probe(&self, n: usize, write: bool) -> Outcome {
        match self.pages.get(&n) {
            None if self.residency == Residency::Lazy => self.outcome_of_missing(n),
            Some(Page::Poisoned) => Outcome::Bus,
            Some(page) => page.holds_back(write).unwrap_or(Outcome::Done),
            None => Outcome::Done,
        }
    }

    pub(super) fn written(&self, range: Range<usize>, to: WrittenTo, reads_too: bool, found: &mut Vec<Range<usize>>) {
        for (n, page) in self.pages.range(range) {
            assert!(page.origin_is(to, self.residency), "written({to:?}) over page {n}, which is {}", page.name());
            if !page.is_written(to, reads_too) {
                continue;
            }
            let bytes = n * PAGE..(n + 1) * PAGE;
            match found.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ => found.push(bytes),
            }
        }
    }

    /// How many mappings the kernel would need: neighbours that follow each other in the file share one.
    pub(super) fn mappings(&self) -> usize {
        let mut end = None;
        let mut count = 0;
        for (n, page) in &self.pages {
            let Page::Mapped { file, offset, .. } = page else { continue };
            let file = Arc::as_ptr(&file.0).addr();
            count += usize::from(end != Some((*n, file, *offset)));
            end = Some((n + 1, file, offset + PAGE as u64));
        }
        count
    }
}

impl Page {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Page::Zero { protected: true, touched: false, .. } => "protected and never touched",
            Page::Zero { protected: true, merged: true, .. } => "protected, and merged with another",
            Page::Zero { protected: true, .. } => "protected",
            Page::Zero { own: None, .. } => "zero",
            Page::Zero { own: Some(_), .. } => "zero and written",
            Page::Mapped { own: None, tracked: false, .. } => "mapped",
            Page::Mapped { own: None, tracked: true, .. } => "mapped and tracked",
            Page::Mapped { own: Some(_), .. } => "mapped and written",
            Page::Copied { protected: true, merged: true, .. } => "copied, and merged with another",
            Page::Copied { protected: true, .. } => "copied and protected",
            Page::Copied { protected: false, .. } => "copied and unprotected",
            Page::Poisoned => "poisoned",
        }
    }
}

/// Reads the bytes of a page. A write gives the page bytes of its own first.
fn access_private(
    at: usize,
    access: &mut Access<'_>,
    own: &mut Option<Own>,
    load: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<()> {
    if let Some(own) = own {
        access.carry_out(at, own);
        return Ok(());
    }
    let mut bytes = Box::new([0; PAGE]);
    load(&mut bytes[..])?;
    access.carry_out(at, &mut bytes);
    if !access.is_read() {
        *own = Some(bytes);
    }
    Ok(())
}
