//! Which pages of a range were written, from the kernel's page table.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;
use nix::errno::Errno;
use nix::sys::utsname::uname;

use crate::ioctl::{
    PAGE_IS_FILE, PAGE_IS_HUGE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PAGE_IS_WPALLOWED, PAGE_IS_WRITTEN,
    PageRegion, Query, pagemap_scan,
};

/// Runs of pages that one PAGEMAP_SCAN returns; the kernel collects 512 at a time.
const REGIONS: usize = 512;

/// Entries of `/proc/self/pagemap` read at a time: 64 KiB for 32 MiB of addresses.
const ENTRIES: usize = 8192;

const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE: u64 = 1 << 61;
const ENTRY_EXCLUSIVE: u64 = 1 << 56;
/// Protected by a userfaultfd (Linux 5.13).
const ENTRY_PROTECTED: u64 = 1 << 57;

/// `use_zero_page` in it is 0 where a first read of a huge page gets memory of its own.
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage";

/// Largest distance of pages that one call confirms together: looking at the pages between costs as much as another
/// call.
const NEAR: usize = 32 * PAGE;

/// Zero memory that was written to. Kernels before 6.18 do not recognise the huge zero page: there a read of a hole
/// shows as written, which is allowed; its bytes are zero and make no page dirty.
const NOT_ZERO: Query = Query {
    inverted: PAGE_IS_PFNZERO,
    all_of: PAGE_IS_PFNZERO,
    any_of: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    categories: 0,
    protect: false,
    max_pages: 0,
};

/// What is there, or in swap.
const THERE: Query = Query { inverted: 0, all_of: 0, ..NOT_ZERO };

/// Pages of a private file mapping that are the process's own.
const NOT_FILE: Query = Query { inverted: PAGE_IS_FILE, all_of: PAGE_IS_FILE, ..NOT_ZERO };

/// Pages of a tracked mapping without protection, present or in swap. Reports whether each is the file's.
///
/// [`NOT_FILE`] would be wrong here: a protected page that the kernel reclaimed looks like a page in swap that is the
/// process's own.
const UNPROTECTED: Query = Query { inverted: 0, all_of: PAGE_IS_WRITTEN, categories: PAGE_IS_FILE, ..NOT_ZERO };

/// What is there of copied memory, or in swap, and not protected.
const UNPROTECTED_COPY: Query = Query { categories: 0, ..UNPROTECTED };

/// A superset of [`UNPROTECTED`], found faster: also pages that were never there.
const PERHAPS_UNPROTECTED: Query = Query { any_of: 0, categories: 0, ..UNPROTECTED };

/// The same query, put so that the kernel answers it by a loop of its own.
const PERHAPS_UNPROTECTED_FAST: Query = Query { categories: PAGE_IS_WRITTEN, ..PERHAPS_UNPROTECTED };

/// Protects pages of the file, each in one atomic step. A page that was written before or is written meanwhile stays
/// unprotected.
const PROTECT: Query = Query {
    all_of: PAGE_IS_WRITTEN | PAGE_IS_FILE | PAGE_IS_PRESENT,
    any_of: 0,
    categories: 0,
    protect: true,
    ..UNPROTECTED
};

/// What is not there, or there as a huge page.
const ABSENT_OR_HUGE: Query =
    Query { inverted: PAGE_IS_PRESENT, all_of: 0, any_of: PAGE_IS_PRESENT | PAGE_IS_HUGE, ..NOT_ZERO };

/// A page of a tracked mapping, there or not.
const TRACKED: Query = Query { inverted: 0, all_of: PAGE_IS_WPALLOWED, any_of: 0, max_pages: 1, ..NOT_ZERO };

/// How the page table is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// The ioctl PAGEMAP_SCAN: skips what is not there at the speed of the page table's upper levels.
    Scan,
    /// Eight bytes a page of `/proc/self/pagemap`.
    Entries,
}

/// The page table of this process.
pub(crate) struct PageTable {
    file: File,
    reader: Reader,
    perhaps_unprotected: &'static Query,
    /// What a read brings in is the zero page.
    reads_zero_page: bool,
    /// Whether it [tells](crate::self_test::tells_protection) what is protected; else nothing counts as unprotected.
    tells_protection: bool,
}

impl PageTable {
    pub(crate) fn open(reader: Reader) -> io::Result<PageTable> {
        let perhaps_unprotected = if fast_loop_is_right() { &PERHAPS_UNPROTECTED_FAST } else { &PERHAPS_UNPROTECTED };
        let file = File::open("/proc/self/pagemap")?;
        let reads_zero_page = reads_zero_page();
        Ok(PageTable { file, reader, perhaps_unprotected, reads_zero_page, tells_protection: true })
    }

    /// The same; `tells_protection`: whether this kernel shows protection in it.
    pub(crate) fn telling_protection(self, tells_protection: bool) -> PageTable {
        PageTable { tells_protection, ..self }
    }

    /// Gives `found` runs of written pages, ascending, as addresses; neighbours may touch.
    ///
    /// A page of zero memory was written if it is there and is not the zero page. A page of a private file mapping was
    /// written if it is there and is the process's own: the kernel gives it a copy on the first write. Both hold for
    /// pages in swap. In a tracked mapping it is not protected either.
    pub(crate) fn written(
        &self,
        addresses: Range<usize>,
        origin: WrittenTo,
        mut found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        let is_written = |entry: u64| {
            entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0
                && match origin {
                    WrittenTo::Zero => true,
                    WrittenTo::Mapped | WrittenTo::Tracked => entry & ENTRY_FILE == 0,
                    WrittenTo::Copied => entry & ENTRY_PROTECTED == 0,
                }
        };
        match (self.reader, origin) {
            (_, WrittenTo::Copied) if !self.tells_protection => Ok(()),
            (Reader::Scan, WrittenTo::Zero) => self.scan(addresses, &NOT_ZERO, |run, _| found(run)),
            (Reader::Scan, WrittenTo::Mapped) => self.scan(addresses, &NOT_FILE, |run, _| found(run)),
            (Reader::Scan, WrittenTo::Tracked) => self.written_to_tracked(addresses, found),
            (Reader::Scan, WrittenTo::Copied) => self.scan(addresses, &UNPROTECTED_COPY, |run, _| found(run)),
            (Reader::Entries, _) => self.entries(addresses, is_written, found),
        }
    }

    /// Gives `found` runs of pages that are there, or in swap.
    pub(crate) fn present(&self, addresses: Range<usize>, mut found: impl FnMut(Range<usize>)) -> io::Result<()> {
        match self.reader {
            Reader::Scan => self.scan(addresses, &THERE, |run, _| found(run)),
            Reader::Entries => self.entries(addresses, |entry| entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0, found),
        }
    }

    /// Whether the page at `address` surely is the zero page, and protected.
    pub(crate) fn is_zero_page(&self, address: usize) -> bool {
        let page = address..address + PAGE;
        let mut other = self.reader == Reader::Entries;
        let looked = self
            .written(page.clone(), WrittenTo::Zero, |_| other = true)
            .and_then(|()| self.written(page, WrittenTo::Copied, |_| other = true));
        looked.is_ok() && !other
    }

    /// Pages written to in a tracked mapping.
    ///
    /// A page without protection need not be written. It may be the file's: faulted in since tracking began, or left of a
    /// huge page that a write broke up. It may never have been there. Only these pages are looked at one by one, because a
    /// look costs time. Pages of the file are then protected, so that the next search skips them.
    fn written_to_tracked(&self, addresses: Range<usize>, mut found: impl FnMut(Range<usize>)) -> io::Result<()> {
        for group in self.perhaps_unprotected(addresses)? {
            let mut of_file: Option<Range<usize>> = None;
            self.scan(group, &UNPROTECTED, |run, categories| {
                if categories & PAGE_IS_FILE == 0 {
                    found(run);
                } else {
                    of_file.get_or_insert(run.clone()).end = run.end;
                }
            })?;
            if let Some(range) = of_file {
                // If this fails, the next search looks at these pages again.
                let _ = self.scan(range, &PROTECT, |_, _| ());
            }
        }
        Ok(())
    }

    /// Protects what is there of the file in a range that is tracked.
    pub(crate) fn protect(&self, addresses: Range<usize>) -> io::Result<()> {
        for group in self.perhaps_unprotected(addresses)? {
            self.scan(group, &PROTECT, |_, _| ())?;
        }
        Ok(())
    }

    /// Runs in which pages are that may be unprotected; found fast.
    fn perhaps_unprotected(&self, addresses: Range<usize>) -> io::Result<Vec<Range<usize>>> {
        let mut groups: Vec<Range<usize>> = Vec::new();
        self.scan(addresses, self.perhaps_unprotected, |run, _| match groups.last_mut() {
            Some(last) if run.start - last.end < NEAR => last.end = run.end,
            _ => groups.push(run),
        })?;
        Ok(groups)
    }

    /// How many bytes are there as small pages, which a search has to look at one by one. Where entries are read, huge
    /// pages are not told apart: they count.
    pub(crate) fn resident(&self, addresses: Range<usize>) -> io::Result<usize> {
        let mut bytes = 0;
        match self.reader {
            Reader::Scan => {
                // Counts the others and subtracts, since a reported page costs more than one that is not.
                self.scan(addresses.clone(), &ABSENT_OR_HUGE, |run, _| bytes += run.len())?;
                Ok(addresses.len().saturating_sub(bytes))
            }
            Reader::Entries => {
                self.entries(addresses, |entry| entry & ENTRY_PRESENT != 0, |run| bytes += run.len())?;
                Ok(bytes)
            }
        }
    }

    /// Whether a part of the range is tracked.
    pub(crate) fn is_tracked(&self, addresses: Range<usize>) -> io::Result<bool> {
        let mut tracked = false;
        if self.reader == Reader::Scan && !addresses.is_empty() {
            let mut regions = [PageRegion::default()];
            tracked = self.call(addresses, &TRACKED, &mut regions)?.0 != 0;
        }
        Ok(tracked)
    }

    /// Whether all of the range, which is tracked and there, is protected.
    pub(crate) fn is_protected(&self, addresses: Range<usize>) -> io::Result<bool> {
        let mut protected = true;
        self.scan(addresses, self.perhaps_unprotected, |_, _| protected = false)?;
        Ok(protected)
    }

    /// Whether there surely was a store to `addresses`, of zero memory; `huge` are the huge pages that they lie in.
    ///
    /// An entry says whether its page is mapped once. The zero page, small or huge, is never marked so; nor is a merged page,
    /// and a page in swap is not present: of these nothing is certain. A store brings in a page of any size up to a huge
    /// one, so a run that reaches beyond `addresses` may come from a store next to it, and does not count.
    pub(crate) fn stored_to(&self, addresses: Range<usize>, huge: Range<usize>) -> io::Result<bool> {
        let around = addresses.start.saturating_sub(PAGE).max(huge.start)..(addresses.end + PAGE).min(huge.end);
        let mut is_certain = false;
        self.brought_by_stores(around, |run| {
            is_certain |= addresses.start <= run.start && run.end <= addresses.end;
        })?;
        Ok(is_certain)
    }

    /// Gives `found` runs of pages that no read can have brought: each by a store to it, or to another of its huge
    /// page.
    pub(crate) fn brought_by_stores(&self, addresses: Range<usize>, found: impl FnMut(Range<usize>)) -> io::Result<()> {
        let is_own = |entry| entry & (ENTRY_PRESENT | ENTRY_EXCLUSIVE | ENTRY_FILE) == ENTRY_PRESENT | ENTRY_EXCLUSIVE;
        if self.reads_zero_page { self.entries(addresses, is_own, found) } else { Ok(()) }
    }

    /// Gives `found` runs of pages and their categories.
    fn scan(&self, addresses: Range<usize>, query: &Query, mut found: impl FnMut(Range<usize>, u64)) -> io::Result<()> {
        let mut regions = [PageRegion::default(); REGIONS];
        // The kernel allocates as many.
        let regions = &mut regions[..(addresses.len() / PAGE).clamp(1, REGIONS)];
        let mut rest = addresses;
        while !rest.is_empty() {
            let (count, walked_to) = self.call(rest.clone(), query, regions)?;
            for region in &regions[..count] {
                found(region.start as usize..region.end as usize, region.categories);
            }
            if walked_to <= rest.start {
                return Err(io::Error::other(format!("PAGEMAP_SCAN does not get past {walked_to:#x}")));
            }
            rest.start = walked_to;
        }
        Ok(())
    }

    fn call(&self, addresses: Range<usize>, query: &Query, regions: &mut [PageRegion]) -> io::Result<(usize, usize)> {
        loop {
            match pagemap_scan(self.file.as_fd(), addresses.clone(), query, regions) {
                Err(Errno::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Runs of pages whose entry is `wanted`.
    ///
    /// Without CAP_SYS_ADMIN entries hide which page it is, so zero pages that were only read count as written in
    /// zero memory, which is allowed. (They lack the bit "mapped exclusively", but so may written pages that the
    /// kernel merged with equal ones; a written page must never be missed.) In a file mapping there are no zero pages:
    /// "file" alone tells the file's pages from the process's.
    fn entries(
        &self,
        addresses: Range<usize>,
        wanted: impl Fn(u64) -> bool,
        mut found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        let mut buffer = vec![0; ENTRIES * 8];
        for start in addresses.clone().step_by(ENTRIES * PAGE) {
            let pages = (addresses.end - start).div_ceil(PAGE).min(ENTRIES);
            let bytes = &mut buffer[..pages * 8];
            self.file.read_exact_at(bytes, (start / PAGE * 8) as u64)?;
            let mut run: Option<Range<usize>> = None;
            for (n, entry) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let page = start + n * PAGE;
                if wanted(u64::from_ne_bytes(*entry)) {
                    run.get_or_insert(page..page).end = page + PAGE;
                } else if let Some(run) = run.take() {
                    found(run);
                }
            }
            if let Some(run) = run {
                found(run);
            }
        }
        Ok(())
    }
}

/// Whether what a read brings in is the zero page, as far as the system says.
fn reads_zero_page() -> bool {
    let huge = Path::new(HUGE_PAGES);
    match fs::read_to_string(huge.join("use_zero_page")) {
        Ok(text) => text.trim() == "1",
        // A kernel without huge pages.
        Err(_) => !huge.exists() && huge.parent().is_some_and(Path::exists),
    }
}

/// Before Linux 6.9 that loop read entries of pages in swap as if the pages were there: half of those that were
/// written looked protected. Only with swap could that be tried, so this alone goes by the version.
fn fast_loop_is_right() -> bool {
    let version = uname().ok().and_then(|name| version_of(name.release().to_str()?));
    version.is_some_and(|version| version >= (6, 9))
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_linux_have_two_numbers_at_least() {
        assert_eq!(version_of("6.18.44-generic"), Some((6, 18)));
        assert_eq!(version_of("6.8.0-45-lowlatency"), Some((6, 8)));
        assert_eq!(version_of("7.0-rc1"), Some((7, 0)));
        assert_eq!(version_of("6"), None);
        assert_eq!(version_of("unknown"), None);
    }
}
