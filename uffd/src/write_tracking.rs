//! Async write tracking: pages of file mappings are marked as protected, so that a search for writes does not look at
//! all resident pages.
//!
//! A mapped page that was not written to is the file's and read-only: its first write faults, and the kernel gives the
//! process a copy. Without tracking, a search asks of each entry of the page table whether its page is the file's. With
//! tracking, the range is registered with a second, asynchronous userfaultfd: its pages are marked in the page table
//! ("protected"), and the fault that copies a page also removes the mark. No thread waits and no message is sent. Pages
//! without the mark are found fifteen times faster.
//!
//! What may happen to a tracked page, and why it is not missed and not reported without need:
//!
//! - *It is written to*, by a thread or by a system call (`read` into a view; also where faults of user code only are
//!   delivered, since this fault is not delivered): copied, without mark, from the moment the write can
//!   happen. When it goes to swap the entry keeps being unmarked.
//! - *The kernel reclaims it*, clean as it is: its entry becomes a marker, which says that the page is protected. Read
//!   again, it arrives with the mark. A marker looks like a page in swap: only a tracked search tells them apart.
//! - *It is read for the first time*: it arrives without mark. The next search sees that it is the file's, and marks
//!   it.
//! - *It is mapped as part of a huge page* (2 MiB of the page cache in one piece): that is marked as one. A write
//!   breaks it up, which unmaps it; what is read of it then arrives without mark, as above.
//! - *It is pinned for reading* (a long-term registration of the view, with io_uring say): the kernel makes a copy with
//!   the mark. Its bytes are the file's; a later write takes the mark off.
//! - *The process forks*: tracked ranges are kept out of the child as all others are.
//! - *It is taken away*: the registration is one of the mapping, and goes with it when another is moved in its place.
//!
//! The price: the kernel maps no neighbours of a page that is faulted in (fault-around), so pages that come later cost
//! a fault each, and a first scan takes seven times as long. It does not pay for huge pages, which are searched at once
//! as they are, and come one by one once they are broken up: they do not count in `TrackWrites::resident`.

use std::ops::Range;

use nix::errno::Errno;
use userfaultfd::{RegisterMode, Uffd};

use crate::pagemap::PageTable;
use crate::shortage::errno_of;

/// Tracks writes to mapped pages; those that were written to already are found as well. If it fails nothing was
/// protected, and an ordinary search goes on being right.
///
/// Protecting is done by PAGEMAP_SCAN, for the file's pages that are there. UFFDIO_WRITEPROTECT takes half as long (45
/// ns a page against 95, where a look at one takes 40), but breaks up huge pages of the page cache (512 faults for each
/// afterwards: the next scan took a hundred times as long), makes page tables for markers where nothing is mapped yet
/// (2 MiB a GiB), and protects what was written to, which then would be lost.
pub(crate) fn track_writes(uffd: &Uffd, table: &PageTable, addresses: Range<usize>) -> Result<(), Errno> {
    // One call for any number of mappings that lie side by side. Those that were one stay one, if all of it is tracked.
    let mode = RegisterMode::WRITE_PROTECT;
    uffd.register_with_mode(addresses.start as *mut _, addresses.len(), mode).map_err(errno_of)?;
    // What could not be protected is found to be the file's by the next search: slower, and right.
    let _ = table.protect(addresses);
    Ok(())
}
