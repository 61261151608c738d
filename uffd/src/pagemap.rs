//! Which pages of a range were written, from the kernel's page table.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;
use nix::errno::Errno;

use crate::ioctl::{PAGE_IS_FILE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, PageRegion, pagemap_scan};

/// Runs of pages that one PAGEMAP_SCAN returns; the kernel collects 512 at a time.
const REGIONS: usize = 512;

/// Entries of `/proc/self/pagemap` read at a time: 64 KiB for 32 MiB of addresses.
const ENTRIES: usize = 8192;

const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE: u64 = 1 << 61;

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
}

impl PageTable {
    pub(crate) fn open(reader: Reader) -> io::Result<PageTable> {
        Ok(PageTable { file: File::open("/proc/self/pagemap")?, reader })
    }

    /// Gives `found` runs of written pages, ascending, as addresses; neighbours may touch.
    ///
    /// A page of zero memory was written if it is there and is not the zero page. A page of a private file mapping was
    /// written if it is there and is the process's own: the kernel gives it a copy on the first write. Both hold for
    /// pages in swap.
    pub(crate) fn written(
        &self,
        addresses: Range<usize>,
        origin: WrittenTo,
        found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        match self.reader {
            Reader::Scan => self.scan(addresses, origin, found),
            Reader::Entries => self.entries(addresses, origin, found),
        }
    }

    fn scan(&self, addresses: Range<usize>, origin: WrittenTo, mut found: impl FnMut(Range<usize>)) -> io::Result<()> {
        // Kernels before 6.18 do not recognise the huge zero page: there a read of a hole shows as written, which is
        // allowed; its bytes are zero and make no page dirty.
        let not = match origin {
            WrittenTo::Zero => PAGE_IS_PFNZERO,
            WrittenTo::Mapped => PAGE_IS_FILE,
        };
        let mut regions = [PageRegion::default(); REGIONS];
        let mut rest = addresses;
        while !rest.is_empty() {
            let walk =
                pagemap_scan(self.file.as_fd(), rest.clone(), PAGE_IS_PRESENT | PAGE_IS_SWAPPED, not, &mut regions);
            let (count, walked_to) = match walk {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            for region in &regions[..count] {
                found(region.start as usize..region.end as usize);
            }
            if walked_to <= rest.start {
                return Err(io::Error::other(format!("PAGEMAP_SCAN does not get past {walked_to:#x}")));
            }
            rest.start = walked_to;
        }
        Ok(())
    }

    /// Without CAP_SYS_ADMIN the entries hide which page it is, so zero pages that were only read count as written in
    /// zero memory, which is allowed. (They lack the bit "mapped exclusively", but so may written pages that the
    /// kernel merged with equal ones; a written page must never be missed.) In a file mapping there are no zero pages:
    /// "file" alone tells the file's pages from the process's.
    fn entries(
        &self,
        addresses: Range<usize>,
        origin: WrittenTo,
        mut found: impl FnMut(Range<usize>),
    ) -> io::Result<()> {
        let is_written = |entry: u64| {
            entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 && (origin == WrittenTo::Zero || entry & ENTRY_FILE == 0)
        };
        let mut buffer = vec![0; ENTRIES * 8];
        for start in addresses.clone().step_by(ENTRIES * PAGE) {
            let pages = (addresses.end - start).div_ceil(PAGE).min(ENTRIES);
            let bytes = &mut buffer[..pages * 8];
            self.file.read_exact_at(bytes, (start / PAGE * 8) as u64)?;
            let mut run: Option<Range<usize>> = None;
            for (n, entry) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let page = start + n * PAGE;
                if is_written(u64::from_ne_bytes(*entry)) {
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
