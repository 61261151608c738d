//! What a user would pick instead: a file of numbers, mapped by memmap2 or written by hand.

use std::fs::File;
use std::path::Path;

use memmap2::{Mmap, MmapMut, MmapOptions};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::Outcome;

/// A file mapped for reading.
pub fn map(path: &Path) -> Outcome<Mmap> {
    // SAFETY: the own file of a comparison, which is not written to while it is mapped so.
    Ok(unsafe { Mmap::map(&File::open(path)?) }?)
}

/// A file mapped for changes that stay in memory.
pub fn map_copy(path: &Path) -> Outcome<MmapMut> {
    // SAFETY: as above.
    Ok(unsafe { MmapOptions::new().map_copy(&File::open(path)?) }?)
}

/// A file mapped for changes that reach it.
pub fn map_mut(file: &File) -> Outcome<MmapMut> {
    // SAFETY: the own file of a comparison, mapped once at a time.
    Ok(unsafe { MmapMut::map_mut(file) }?)
}

/// Bytes as numbers. A mapping starts at a page, so it is aligned.
pub fn numbers(bytes: &[u8]) -> &[f64] {
    bytemuck::cast_slice(bytes)
}

/// The same, to be changed.
pub fn numbers_mut(bytes: &mut [u8]) -> &mut [f64] {
    bytemuck::cast_slice_mut(bytes)
}

/// Takes the file out of the page cache. What a process has mapped stays.
pub fn drop_cache(path: &Path) -> Outcome<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(())
}
