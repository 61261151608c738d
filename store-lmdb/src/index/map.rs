//! The size of the index's memory map. LMDB may change it only while no transaction of this process lives.

use std::num::NonZero;

use bigarray_core::sync::MutexGuard;
use bigarray_core::{Error, ErrorKind, Result};
use nix::sys::mman::{self, MapFlags, ProtFlags};

use super::live::{CountedWrite, Counts};
use super::{Index, PAGE_BYTES, lmdb_error};

/// Bytes of address space, and the bytes of it that the newest state takes.
#[derive(Clone, Copy)]
struct Size {
    map: usize,
    used: usize,
}

impl Index {
    /// Counts a write transaction that is about to begin, and enlarges the map for it if that is possible.
    pub(super) fn count_write(&self) -> Result<CountedWrite<'_>> {
        let mut counts = self.usable()?;
        self.grow_early(&mut counts)?;
        Ok(self.live.count_write(&mut counts))
    }

    /// Adopts the map size that another process set.
    pub(super) fn adopt_growth(&self, counts: MutexGuard<'_, Counts>) -> Result<()> {
        if counts.readers > 0 {
            return Err(lmdb_error(&self.dir, "beginning a transaction", lmdb::Error::MapResized));
        }
        let mut counts = self.live.wait_for_writers(counts);
        if counts.readers > 0 {
            return Ok(());
        }
        let size = self.size()?;
        // Not the size that the other process set: an address-space limit of this one may forbid it.
        for bytes in [size.used.saturating_mul(2), size.used.saturating_add(size.used / 4), size.used] {
            if self.enlarge(&mut counts, size, bytes)? {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the index of {}, which another process enlarged, does not find {} bytes of address space: raise the \
                 limit (ulimit -v, and ulimit -l where all memory is locked)",
                self.dir.display(),
                size.used
            ),
        ))
    }

    /// The length that the file of the index should have, in bytes.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let _unmoved = self.usable()?;
        Ok(self.size()?.used as u64)
    }

    /// To be called while the counts are locked, so that the map is not moved.
    fn size(&self) -> Result<Size> {
        let info = self.env.lmdb().info().map_err(|e| lmdb_error(&self.dir, "asking for the size", e))?;
        Ok(Size { map: info.map_size(), used: (info.last_pgno() + 1) * PAGE_BYTES })
    }

    /// Enlarges the map, which no transaction uses, to `bytes`, and at least to the bytes in use. Returns `false`, and does
    /// nothing, if there are no addresses for it.
    fn enlarge(&self, counts: &mut Counts, size: Size, bytes: usize) -> Result<bool> {
        // LMDB never makes the map smaller than the bytes in use.
        let bytes = bytes.max(size.used);
        if !has_addresses(bytes.saturating_sub(size.map)) {
            return Ok(false);
        }
        self.remap(counts, bytes).map(|()| true)
    }

    /// Doubles the map if the caller chose its size, more than half of it is used, and no transaction lives.
    pub(super) fn grow_early(&self, counts: &mut Counts) -> Result<()> {
        if !self.grows || counts.readers + counts.writers > 0 {
            return Ok(());
        }
        let size = self.size()?;
        if size.used > size.map / 2 {
            self.enlarge(counts, size, size.map * 2)?;
        }
        Ok(())
    }

    /// Doubles the map after a transaction failed with `full`, so that it can be tried again.
    ///
    /// # Errors
    /// `full`, with what keeps the map from growing.
    pub(crate) fn grow_full(&self, full: Error) -> Result<()> {
        if !self.grows {
            return Err(full);
        }
        let counts = self.usable()?;
        let mut counts = self.live.wait_for_writers(counts);
        if counts.readers > 0 {
            let why = format!(
                "the index cannot grow while snapshots of this process live ({} do): drop them, or open the database with \
                 a larger map_size",
                counts.readers
            );
            return Err(full.context(why));
        }
        let size = self.size()?;
        if !self.enlarge(&mut counts, size, size.map.saturating_mul(2))? {
            let why = format!(
                "the index cannot grow beyond {} bytes of address space (ulimit -v, and ulimit -l where all memory is locked)",
                size.map
            );
            return Err(full.context(why));
        }
        Ok(())
    }

    /// Whether LMDB refuses everything, or may do so, because it failed to write its meta page. It says that after it has
    /// taken a place in the reader table: without a free place, or room to store it, the answer is not known.
    pub(crate) fn is_broken(&self) -> bool {
        let Ok(table) = self.env.lock_table_without_limit() else { return true };
        let counts = self.live.lock();
        if counts.lost.get().is_some() {
            return false;
        }
        self.check_room().is_err() || !matches!(table.begin_read(), Ok(_) | Err(lmdb::Error::MapResized))
    }

    fn remap(&self, counts: &mut Counts, bytes: usize) -> Result<()> {
        self.env.lmdb().set_map_size(bytes).map_err(|e| {
            counts.lost.set(lmdb_error(&self.dir, format_args!("enlarging the map to {bytes} bytes"), e)).clone()
        })
    }

    /// Whether LMDB has no map any more. Most of its functions read the map without a check.
    pub(crate) fn is_lost(&self) -> bool {
        self.live.lock().lost.get().is_some()
    }
}

/// Whether `more` bytes of addresses can be had. LMDB unmaps its old map before it maps the new one, and has none at all if
/// that fails. So this is checked first.
fn has_addresses(more: usize) -> bool {
    let Some(more) = NonZero::new(more) else { return true };
    // SAFETY: a new mapping, at an address that the kernel chooses; nothing refers to it before it is unmapped.
    unsafe {
        mman::mmap_anonymous(None, more, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE)
            .and_then(|probe| mman::munmap(probe, more.get()))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use bigarray_core::store::Store as _;
    use bigarray_testing::{Edit, array_of};

    use crate::{LmdbStore, Options};

    /// More than a process can have.
    const TOO_MANY_BYTES: usize = 1 << 60;

    #[test]
    fn an_index_that_lost_its_map_gives_errors_and_can_be_closed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path().join("a.bigarray"));
        let store = LmdbStore::open(&options).unwrap();
        let base = store.snapshot().unwrap();
        Edit::commit(&*store, &*base, &[Edit::create("a", array_of(1)).page(&*base, 0, 0, 1)]).unwrap();
        drop(base);
        let index = &store.shared.index;
        index.remap(&mut index.live.lock(), TOO_MANY_BYTES).unwrap_err();

        assert!(!index.is_broken());
        assert!(store.snapshot().err().is_some_and(|e| e.is_io() && e.to_string().contains("open the database again")));
        assert!(store.check(true).is_err() && store.verify(&mut |_| {}).is_err() && store.commit_lock().is_ok());
        drop(store);
        let store = LmdbStore::open(&options).unwrap();
        assert!(store.snapshot().unwrap().array("a").unwrap().is_some());
        store.check(true).unwrap();
    }
}
