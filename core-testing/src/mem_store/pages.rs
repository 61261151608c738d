//! Pages of the data file. A page is overwritten with garbage and free as soon as no living snapshot refers to it, so
//! that a late reader notices.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bigarray_core::{PAGE, Version};

use super::super::MemFile;
use super::spill::SpillAreaId;

/// What a free page is filled with.
const SCRIBBLE: u8 = 0xdb;

#[derive(Default)]
pub(super) struct Pages {
    in_file: u64,
    free: BTreeSet<u64>,
    /// Spilled pages, and the areas they belong to.
    spilled: BTreeMap<u64, SpillAreaId>,
    /// Pages that no state from that version on refers to.
    freed: Vec<(Version, Vec<u64>)>,
    /// How many snapshots of a version live.
    living: BTreeMap<Version, usize>,
}

impl Pages {
    /// Stores `bytes` (whole pages) in a run of free pages, the first that is long enough, and gives its start; `None`
    /// if the file would outgrow `capacity` pages (0: no limit).
    pub(super) fn store(&mut self, file: &MemFile, bytes: &[u8], capacity: usize) -> Option<u64> {
        let start = self.take((bytes.len() / PAGE) as u64, capacity as u64)?;
        file.write_at(start * PAGE as u64, bytes);
        Some(start)
    }

    fn take(&mut self, n: u64, capacity: u64) -> Option<u64> {
        let mut run = 0..0;
        for &page in &self.free {
            run = if page == run.end { run.start..page + 1 } else { page..page + 1 };
            if run.end - run.start == n {
                break;
            }
        }
        if run.end - run.start != n {
            run = self.in_file..self.in_file + n;
            if capacity != 0 && run.end > capacity {
                return None;
            }
            self.in_file = run.end;
        }
        for page in run.clone() {
            self.free.remove(&page);
        }
        Some(run.start)
    }

    /// `pages` were written by `area`.
    pub(super) fn hold(&mut self, area: SpillAreaId, pages: Range<u64>) {
        self.spilled.extend(pages.map(|page| (page, area)));
    }

    /// Frees those of `pages` that `area` still holds: no slot refers to them any more.
    pub(super) fn let_go_some(&mut self, file: &MemFile, area: SpillAreaId, pages: impl Iterator<Item = u64>) {
        let held: Vec<u64> = pages.filter(|page| self.spilled.get(page) == Some(&area)).collect();
        for page in &held {
            self.spilled.remove(page);
        }
        self.give_back(file, &held);
    }

    /// Ends `area`: `used` of its pages belong to a state now, the others are free.
    pub(super) fn let_go(&mut self, file: &MemFile, area: SpillAreaId, used: &BTreeSet<u64>) {
        for page in used {
            let holder = self.spilled.remove(page);
            assert_eq!(holder, Some(area), "page {page} of the memory store's file is committed, but was let go");
        }
        let rest: Vec<u64> =
            self.spilled.iter().filter(|(_, holder)| **holder == area).map(|(page, _)| *page).collect();
        self.let_go_some(file, area, rest.into_iter());
    }

    /// Spilled pages.
    pub(super) fn held(&self) -> usize {
        self.spilled.len()
    }

    /// Gives back pages that never became visible.
    pub(super) fn give_back(&mut self, file: &MemFile, pages: &[u64]) {
        for &page in pages {
            file.write_at(page * PAGE as u64, &[SCRIBBLE; PAGE]);
            assert!(self.free.insert(page), "page {page} of the memory store's file was freed twice");
        }
    }

    /// `pages` are part of no state from `version` on.
    pub(super) fn retire(&mut self, file: &MemFile, version: Version, pages: Vec<u64>) {
        self.freed.push((version, pages));
        self.reclaim(file);
    }

    pub(super) fn snapshot_begins(&mut self, version: Version) {
        *self.living.entry(version).or_default() += 1;
    }

    pub(super) fn snapshot_ends(&mut self, file: &MemFile, version: Version) {
        if let Some(count) = self.living.get_mut(&version) {
            *count -= 1;
            if *count == 0 {
                self.living.remove(&version);
            }
        }
        self.reclaim(file);
    }

    fn reclaim(&mut self, file: &MemFile) {
        let oldest = self.living.keys().next().copied();
        let (ripe, rest) = std::mem::take(&mut self.freed)
            .into_iter()
            .partition(|(freed_by, _)| oldest.is_none_or(|oldest| oldest >= *freed_by));
        self.freed = rest;
        for (_, pages) in ripe {
            self.give_back(file, &pages);
        }
    }

    /// Pages waiting for a snapshot to end.
    pub(super) fn waiting(&self) -> usize {
        self.freed.iter().map(|(_, pages)| pages.len()).sum()
    }

    /// Panics unless each page of the file is either in use, once, or spilled, or waiting, or free.
    pub(super) fn check(&self, in_use: impl Iterator<Item = u64>) {
        let mut seen = self.free.clone();
        let waiting = self.freed.iter().flat_map(|(_, pages)| pages.iter().copied());
        for page in in_use.chain(waiting).chain(self.spilled.keys().copied()) {
            assert!(seen.insert(page), "page {page} of the memory store's file has two owners");
        }
        assert_eq!(seen, (0..self.in_file).collect(), "pages of the memory store's file were lost");
    }
}
