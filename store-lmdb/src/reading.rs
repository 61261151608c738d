//! Reading the pages of a block from the places where they are stored.

use bigarray_core::store::DataFile;
use bigarray_core::{PAGE, Result};

use crate::codec::Unpacker;
use crate::data::Data;
use crate::record::{Location, StoredSegment, Unit, units_of};

/// Fills `buf` with the pages from `first_page` on of a block of `pages`, stored in `segments`; holes are zeros.
///
/// # Errors
/// [`ErrorKind::Corrupt`](bigarray_core::ErrorKind::Corrupt) if compressed bytes do not fit their checksum. Uncompressed
/// pages are not compared with their checksums.
pub(crate) fn read_pages(
    data: &Data,
    unpacker: &mut Unpacker,
    segments: &[StoredSegment],
    pages: u32,
    first_page: u32,
    buf: &mut [u8],
) -> Result<()> {
    let end_page = first_page + (buf.len() / PAGE) as u32;
    // The pages of a segment that are asked for.
    let inside = |s: &StoredSegment| s.first.max(first_page)..s.end().min(end_page);
    let wanted: Vec<StoredSegment> = segments.iter().filter(|s| !inside(s).is_empty()).copied().collect();
    let bytes_of = |pages: std::ops::Range<u32>, first: u32| {
        (pages.start - first) as usize * PAGE..(pages.end - first) as usize * PAGE
    };
    let read = |unit: &Unit| {
        let offset = unit.offset();
        move |payload: &mut [u8]| data.read_at(offset, payload)
    };

    // Compressed pages. A whole block is decompressed into `buf`, and the other pages are laid over it.
    let units = units_of(&wanted);
    let is_all = first_page == 0 && end_page == pages;
    if is_all && let Some(unit) = units.first() {
        unpacker.unpack(&unit.packed, buf, read(unit))?;
    }
    for unit in &units[usize::from(is_all && !units.is_empty())..] {
        let block = unpacker.unpack_block(&unit.packed, pages as usize * PAGE, read(unit))?;
        for segment in wanted.iter().filter(|s| s.location == Location::Unit(*unit)) {
            buf[bytes_of(inside(segment), first_page)].copy_from_slice(&block[bytes_of(inside(segment), 0)]);
        }
    }
    let mut at = first_page;
    for segment in &wanted {
        let pages = inside(segment);
        buf[bytes_of(at..pages.start, first_page)].fill(0);
        if let Some(run) = segment.run() {
            let offset = run.offset() + u64::from(pages.start - segment.first) * PAGE as u64;
            data.read_at(offset, &mut buf[bytes_of(pages.clone(), first_page)])?;
        }
        at = pages.end;
    }
    buf[bytes_of(at..end_page, first_page)].fill(0);
    Ok(())
}

/// What is wrong with a [`wrong_page`].
pub(crate) const MISFIT: &str = "its bytes do not fit their checksum";

/// The first uncompressed page of `buf`, which was read from `first_page` of a block on, whose bytes do not fit their
/// checksum. Holes have no checksum, and compressed blocks were verified as they were read.
pub(crate) fn wrong_page(
    segments: &[StoredSegment],
    first_page: u32,
    buf: &[u8],
    mut checksum_of: impl FnMut(u32) -> Result<u32>,
) -> Result<Option<u32>> {
    for (page, bytes) in (first_page..).zip(buf.chunks_exact(PAGE)) {
        let is_plain = segments.iter().any(|s| s.run().is_some() && (s.first..s.end()).contains(&page));
        if is_plain && crc32c::crc32c(bytes) != checksum_of(page)? {
            return Ok(Some(page));
        }
    }
    Ok(None)
}
