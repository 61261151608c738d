//! Taking pages out of a span: they are moved to a private range of addresses (UFFDIO_MOVE, Linux 6.8), where they are
//! read and then freed.
//!
//! Protection alone holds stores back that go through the page table, as long as the page's entry is marked. A device
//! that was given a page stores by its physical address, and a page that the system merged with an equal one has lost
//! its mark. A move does not lose either: it takes the page out of the table in one step, and refuses a page that is
//! pinned or that another entry refers to (EBUSY). What was stored before is in the page, also what was stored while it
//! was unprotected; what comes later finds nothing there, and waits as for any missing page.
//!
//! What may be found on the way:
//!
//! - *A hole* in zero memory moves as nothing. *A page in swap* moves as its entry.
//! - *A huge page* moves whole where it is all of the range, and is split up first where it is not.
//! - *The zero page* moves as such from Linux 6.9 on; before, it stays (EBUSY), protected, and is discarded in the end.
//!   No device can have pinned it to store to it.
//! - *A refusal half way*: all that is there aside is moved back, or copied where even that is refused.
//! - *More is moved than is reported*, on Linux 6.18: where a page has to be tried again inside the call, as one does
//!   that is just being migrated (compaction), `move_pages` keeps that error (EAGAIN). So it does not count the pages
//!   that it moves next, and then finds them in its way (EEXIST). Therefore nothing aside is discarded before it is at
//!   home, and what is aside is asked of the page table.
//! - *Locked memory*: a page moves only from unlocked memory to unlocked memory, so both are unlocked. To lock a range
//!   aside is to fill it with zeros, where nothing can be moved to: a range is emptied before it is used.
//!
//! Pages arrive without protection, either way: after putting them back, the pager lets writes through or counts them
//! as written to.

use std::ops::Range;

use bigarray_core::PAGE;
use bigarray_core::sync::Mutex;
use nix::errno::Errno;
use userfaultfd::{RegisterMode, Uffd};

use crate::ioctl::move_pages;
use crate::mapping::{Access, HUGE, Reservation};
use crate::pagemap::PageTable;
use crate::shortage::errno_of;

/// How often a page is tried that the kernel has locked for a moment.
pub(crate) const PATIENCE: usize = 1000;

/// Ranges to move pages to, each for one block; as many as were needed at once.
#[derive(Default)]
pub(crate) struct Aside {
    free: Mutex<Vec<Reservation>>,
}

impl Aside {
    /// An empty range of [`HUGE`] bytes. A read of a missing page of it gives zeros and does not wait.
    pub(crate) fn take(&self, uffd: &Uffd) -> Result<Reservation, Errno> {
        let free = self.free.lock().pop();
        // `mlockall` locks it as any memory, and fills it.
        let empty = |range: &Reservation| range.unlock(&(0..HUGE)).and_then(|()| range.discard(&(0..HUGE))).is_ok();
        if let Some(range) = free.filter(empty) {
            return Ok(range);
        }
        let range = Reservation::new(0..HUGE, Access::Nothing)?;
        let at = range.addresses(&(0..HUGE)).start;
        uffd.register_with_mode(at as *mut _, HUGE, RegisterMode::WRITE_PROTECT).map_err(errno_of)?;
        range.open_up(&(0..HUGE))?;
        Ok(range)
    }

    /// Gives its memory back. A range that cannot be emptied is not used again.
    pub(crate) fn put(&self, range: Reservation) {
        if range.discard(&(0..HUGE)).is_ok() {
            self.free.lock().push(range);
        }
    }
}

/// Moves all that is there of `from` to what begins at `to`, but for zero pages that cannot be moved. `done` bytes of
/// it were moved before, and are left alone: where a page was moved to the next one is refused. It says how far this
/// came, also after an error.
pub(crate) fn move_out(
    uffd: &Uffd,
    table: &PageTable,
    from: Range<usize>,
    to: usize,
    done: &mut usize,
) -> Result<(), Errno> {
    let (mut most, mut tries) = (from.len(), 0);
    while *done < from.len() {
        let (at, len) = (from.start + *done, most.min(from.len() - *done));
        let (moved, outcome) = move_pages(uffd, to + *done, at, len);
        *done += moved;
        match outcome {
            Ok(()) => most = from.len(),
            Err(Errno::EAGAIN | Errno::EINTR) if moved > 0 => {}
            Err(Errno::EAGAIN | Errno::EINTR) if tries < PATIENCE => {
                tries += 1;
                std::thread::yield_now();
            }
            // In two mappings, each of which is moved by itself.
            Err(Errno::EINVAL) if len > PAGE => most = (len / 2).next_multiple_of(PAGE),
            // Small pages move without the one that cannot; which that is shows when it is tried alone.
            Err(Errno::EBUSY) if len > PAGE => most = PAGE,
            Err(Errno::EBUSY) if table.is_zero_page(at) => *done += PAGE,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
