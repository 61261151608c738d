//! Which pages of a range were written, from the kernel's page table.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

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

/// Pages that far apart are confirmed by one call: to look at so many costs as much as another call.
const NEAR: usize = 32 * PAGE;

/// Zero memory that was written to. Kernels before 6.18 do not recognise the huge zero page: there a read of a hole
/// shows as written, which is allowed; its bytes are zero and make no page dirty.
const NOT_ZERO: Query = Query {
    inverted: PAGE_IS_PFNZERO,
    all_of: PAGE_IS_PFNZERO,
    any_of: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    told: 0,
    protect: false,
    most_pages: 0,
};

/// Pages of a private file mapping that are the process's own.
const NOT_FILE: Query = Query { inverted: PAGE_IS_FILE, all_of: PAGE_IS_FILE, ..NOT_ZERO };

/// The same where the mapping is armed. What the kernel took away of it and knows to be protected looks like a page in
/// swap that is not the file's; but not like one that was written.
const UNPROTECTED_AND_NOT_FILE: Query = Query { all_of: PAGE_IS_FILE | PAGE_IS_WRITTEN, ..NOT_FILE };

/// What is not there, or there as a huge page.
const ABSENT_OR_HUGE: Query =
    Query { inverted: PAGE_IS_PRESENT, all_of: 0, any_of: PAGE_IS_PRESENT | PAGE_IS_HUGE, ..NOT_ZERO };

/// A page of an armed mapping, there or not.
const ARMED: Query = Query { inverted: 0, all_of: PAGE_IS_WPALLOWED, any_of: 0, most_pages: 1, ..NOT_ZERO };

/// Unprotected pages of an armed mapping, and some that are not there.
const UNPROTECTED: Query = Query { inverted: 0, all_of: PAGE_IS_WRITTEN, any_of: 0, ..NOT_ZERO };

/// The same as the kernel finds it fastest: it has a loop for exactly this question.
const UNPROTECTED_FAST: Query = Query { told: PAGE_IS_WRITTEN, ..UNPROTECTED };

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
    unprotected: Query,
}

impl PageTable {
    pub(crate) fn open(reader: Reader) -> io::Result<PageTable> {
        let unprotected = if fast_loop_is_right() { UNPROTECTED_FAST } else { UNPROTECTED };
        Ok(PageTable { file: File::open("/proc/self/pagemap")?, reader, unprotected })
    }

    /// Gives `found` runs of written pages, ascending, as addresses; neighbours may touch.
    ///
    /// A page of zero memory was written if it is there and is not the zero page. A page of a private file mapping was
    /// written if it is there and is the process's own: the kernel gives it a copy on the first write. Both hold for
    /// pages in swap. In an armed mapping it is not protected either.
    pub(crate) fn written(
        &self,
        addresses: Range<usize>,
        origin: WrittenTo,
        mut found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        let is_written = |entry: u64| {
            entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && (origin == WrittenTo::Zero || entry & ENTRY_FILE == 0)
        };
        let mut found = |run| {
            found(run);
            Ok(())
        };
        match (self.reader, origin) {
            (Reader::Scan, WrittenTo::Zero) => self.scan(addresses, &NOT_ZERO, &mut found),
            (Reader::Scan, WrittenTo::Mapped) => self.scan(addresses, &NOT_FILE, &mut found),
            (Reader::Scan, WrittenTo::Armed) => self.written_to_armed(addresses, &mut found),
            (Reader::Entries, _) => self.entries(addresses, is_written, &mut found),
        }
    }

    /// First what is not protected, which is found fast. That may also be the file's: mapped since, in place of what
    /// was not there when the range was armed, or of a huge page that a write elsewhere in it broke up. To tell costs a
    /// look at each, so it is done for these alone.
    fn written_to_armed(
        &self,
        addresses: Range<usize>,
        found: &mut impl FnMut(Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut group: Option<Range<usize>> = None;
        let mut confirm = |group: Range<usize>| self.scan(group, &UNPROTECTED_AND_NOT_FILE, &mut *found);
        self.scan(addresses, &self.unprotected, &mut |run| match &mut group {
            Some(group) if run.start - group.end < NEAR => {
                group.end = run.end;
                Ok(())
            }
            _ => group.replace(run).map_or(Ok(()), &mut confirm),
        })?;
        group.map_or(Ok(()), confirm)
    }

    /// How many bytes are there as small pages, which a search has to look at one by one. Where entries are read, huge
    /// pages are not told apart: they count.
    pub(crate) fn resident(&self, addresses: Range<usize>) -> io::Result<usize> {
        let mut bytes = 0;
        let mut count = |run: Range<usize>| {
            bytes += run.len();
            Ok(())
        };
        match self.reader {
            Reader::Scan => {
                // The other way round, since what is reported costs more than what is not.
                self.scan(addresses.clone(), &ABSENT_OR_HUGE, &mut count)?;
                Ok(addresses.len().saturating_sub(bytes))
            }
            Reader::Entries => {
                self.entries(addresses, |entry| entry & ENTRY_PRESENT != 0, &mut count)?;
                Ok(bytes)
            }
        }
    }

    /// Whether a part of the range is armed.
    pub(crate) fn is_armed(&self, addresses: Range<usize>) -> io::Result<bool> {
        let mut armed = false;
        if self.reader == Reader::Scan && !addresses.is_empty() {
            let mut regions = [PageRegion::default()];
            armed = self.call(addresses, &ARMED, &mut regions)?.0 != 0;
        }
        Ok(armed)
    }

    /// Whether all of the range, which is armed, is protected.
    pub(crate) fn is_protected(&self, addresses: Range<usize>) -> io::Result<bool> {
        let mut protected = true;
        self.scan(addresses, &self.unprotected, &mut |_| {
            protected = false;
            Ok(())
        })?;
        Ok(protected)
    }

    /// Protects what is there of a range that is armed, and what may easily be protected besides.
    pub(crate) fn protect(&self, addresses: Range<usize>) -> io::Result<()> {
        self.scan(addresses, &Query { protect: true, ..self.unprotected }, &mut |_| Ok(()))
    }

    fn scan(
        &self,
        addresses: Range<usize>,
        query: &Query,
        found: &mut impl FnMut(Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut regions = [PageRegion::default(); REGIONS];
        // The kernel allocates as many.
        let regions = &mut regions[..(addresses.len() / PAGE).clamp(1, REGIONS)];
        let mut rest = addresses;
        while !rest.is_empty() {
            let (count, walked_to) = self.call(rest.clone(), query, regions)?;
            for region in &regions[..count] {
                found(region.start as usize..region.end as usize)?;
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
        found: &mut impl FnMut(Range<usize>) -> io::Result<()>,
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
                    found(run)?;
                }
            }
            if let Some(run) = run {
                found(run)?;
            }
        }
        Ok(())
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
