//! Getting a part of a file into the page cache, in large pieces.
//!
//! Why reading and not one of the advices made for it: `MADV_WILLNEED` and `POSIX_FADV_WILLNEED` fill the cache with
//! single pages, whatever the file system can do. A first scan of what came in so takes three to four times as long as
//! one of what was read, in this process and in every other, until the cache lets go of it. Reading 2 MiB at a time
//! brings folios as large as they come, and keeps the disk busier than page faults do: a scan that waits for the disk
//! took 0.4 of the time of one through a plain mapping. What the copy costs is paid by the reading thread.

use std::fs::File;
use std::ops::Range;

use bigarray_core::Result;
use bigarray_core::store::DataFile;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::ioctl::cached_pages;

/// Bytes read by one call.
const STEP: usize = 2 << 20;

/// Bytes that the kernel takes advice for at once: it cuts a longer request to the size that is best for the disk, a
/// megabyte or more, and forgets the rest.
const ADVISED: usize = 512 << 10;

/// Reads `bytes` of `file` into the page cache, and stops early once `stop` says so. If all of it is there already that
/// costs next to nothing, where the kernel can tell (6.5).
///
/// All or nothing: to leave out what is there would miss the marks by which the kernel sees a file read in order, and
/// has the disk begin with what comes next. Each read would then wait for a disk that idled before.
///
/// # Errors
/// The first that reading gives. What lies behind it is not read.
pub(crate) fn read(file: &dyn DataFile, bytes: Range<u64>, stop: impl Fn() -> bool) -> Result<()> {
    if file.as_file().is_some_and(|file| is_cached(file, bytes.clone())) {
        return Ok(());
    }
    let mut buffer = vec![0; STEP.min((bytes.end - bytes.start) as usize)];
    let mut at = bytes.start;
    while at < bytes.end && !stop() {
        // Up to a multiple of the step: what begins there can be one large folio.
        let end = (at / STEP as u64 + 1).saturating_mul(STEP as u64).min(bytes.end);
        file.read_at(at, &mut buffer[..(end - at) as usize])?;
        at = end;
    }
    Ok(())
}

/// The same. `exactly`: not a byte more is read, where the kernel would else read ahead.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_in(file: &dyn DataFile, bytes: Range<u64>, exactly: bool, stop: impl Fn() -> bool) -> Result<()> {
    if exactly {
        begin(file, bytes.clone());
    }
    read(file, bytes, stop)
}

/// Begins to read `bytes`, and nothing behind them: a read that found them missing would have the kernel read ahead,
/// megabytes for a row of kilobytes.
fn begin(file: &dyn DataFile, bytes: Range<u64>) {
    let Some(file) = file.as_file() else { return };
    for at in bytes.clone().step_by(ADVISED) {
        let len = (bytes.end - at).min(ADVISED as u64);
        let _ = posix_fadvise(file, at as i64, len as i64, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
}

/// Whether all of `bytes` is in the page cache, as far as the kernel tells.
fn is_cached(file: &File, bytes: Range<u64>) -> bool {
    let pages = (bytes.end - bytes.start).div_ceil(bigarray_core::PAGE as u64);
    cached_pages(file, bytes).is_ok_and(|cached| cached >= pages)
}
