//! What this kernel does with pages that are taken out of a span, and whether its page table shows protection: found
//! out by trying.

use std::ops::Range;

use bigarray_core::PAGE;
use bigarray_core::memory::WrittenTo;
use nix::errno::Errno;
use userfaultfd::Uffd;

use crate::aside::{Aside, move_out};
use crate::ioctl::copy_protected;
use crate::mapping::{Access, HUGE, HarmlessAdvice, Reservation};
use crate::pagemap::{PageTable, Reader};
use crate::shortage::{Failure, errno_of_io, failed, failed_io};
use crate::write_protect;

/// How often a page is tried that the kernel may have locked for a moment.
const TRIES: usize = 20;

/// Pages of a block.
const BLOCK: usize = 16 * PAGE;

/// Pages are moved as they are: one that is protected, one that is the zero page, holes. Of a block that shares a huge
/// page with others, where there are any, too, and without harm to these.
pub(crate) fn moves_pages(uffd: &Uffd) -> Result<(), Failure> {
    let table = PageTable::open(Reader::Scan).map_err(failed_io)?;
    let aside = Aside::default().take(uffd).map_err(failed)?;
    let to = aside.addresses(&(0..HUGE)).start;
    for advice in [HarmlessAdvice::SmallPages, HarmlessAdvice::HugePages] {
        let range = Reservation::new(0..HUGE, Access::ReadWrite).map_err(failed)?;
        range.advise(&(0..HUGE), advice);
        range.write(PAGE, &[7]);
        range.write(BLOCK, &[8]);
        range.with_bytes(&(3 * PAGE..4 * PAGE), |bytes| std::hint::black_box(bytes[0]));
        let block = range.addresses(&(0..BLOCK));
        write_protect::register_and_protect(uffd, &block).map_err(failed)?;
        moves(uffd, &table, &block, to)?;
        let found = aside.with_bytes(&(0..BLOCK), |bytes| {
            let written: Vec<_> = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(n, _)| n).collect();
            (bytes[PAGE], written)
        });
        let mut left = false;
        table.written(block, WrittenTo::Copied, |_| left = true).map_err(failed_io)?;
        let other = range.with_bytes(&(BLOCK..BLOCK + 1), |bytes| bytes[0]);
        if found != (7, vec![PAGE]) || left || other != 8 {
            return Err(Failure::Refused(format!("moved {found:?}, left some: {left}, a neighbour holds {other}")));
        }
        aside.discard(&(0..HUGE)).map_err(failed)?;
    }
    Ok(())
}

fn moves(uffd: &Uffd, table: &PageTable, block: &Range<usize>, to: usize) -> Result<(), Failure> {
    let (mut refused, mut done) = (Errno::EBUSY, 0);
    for _ in 0..TRIES {
        match move_out(uffd, table, block.clone(), to, &mut done) {
            // The system is at a page, or the program locks all of its memory just then.
            Err(errno @ (Errno::EBUSY | Errno::EAGAIN | Errno::EEXIST | Errno::EINVAL)) => refused = errno,
            other => return other.map_err(failed),
        }
        std::thread::yield_now();
    }
    Err(Failure::Refused(refused.desc().to_owned()))
}

/// Whether the page table, read by `reader`, shows that a page is protected no more (in /proc/self/pagemap since Linux
/// 5.13).
pub(crate) fn tells_protection(uffd: &Uffd, reader: Reader) -> Result<bool, Errno> {
    let table = PageTable::open(reader).map_err(errno_of_io)?;
    let range = Reservation::new(0..HUGE, Access::Nothing)?;
    let page = range.addresses(&(0..PAGE));
    write_protect::register(uffd, &range.addresses(&(0..HUGE)))?;
    range.open_up(&(0..HUGE))?;
    copy_protected(uffd, page.start, &[7; PAGE]).1?;
    let is_reported = || {
        let mut found = false;
        table.written(page.clone(), WrittenTo::Copied, |_| found = true).map(|()| found).map_err(errno_of_io)
    };
    let before = is_reported()?;
    write_protect::let_through(uffd, &page)?;
    Ok(!before && is_reported()?)
}
