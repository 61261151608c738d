//! The size of the index's memory map. LMDB may change it only while no transaction of this process lives, so those
//! are counted here.

use std::num::NonZero;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::{Environment, EnvironmentFlags};
use nix::errno::Errno;
use nix::sys::mman::{self, MapFlags, ProtFlags};
use nix::sys::stat::fstat;

use super::reserve::Unended;
use super::{Index, MAX_DBS, lmdb_error};
use crate::calls::uninterrupted;
use crate::opening::files::{Directory, FILE_MODE, FileId};

/// Address space for the index unless the caller says otherwise: more than any index of ours will need, at no cost.
const DEFAULT_BYTES: usize = 1 << 40;
/// Where an address-space limit leaves less than this, opening fails.
const LEAST_BYTES: usize = 16 << 20;
/// Slots of the reader table: one a committed state and process that someone looks at.
const MAX_READERS: u32 = 4096;

/// Opens LMDB on the file `name` of `dir` with `map_bytes` of address space, by default 1 TiB, and less by halves where a
/// limit forbids that.
///
/// LMDB takes a path and follows links. So the path leads through the descriptor of the directory, and what was opened is
/// compared with what the directory has.
pub(super) fn open_environment(
    dir: &Directory,
    name: &str,
    flags: EnvironmentFlags,
    map_bytes: Option<usize>,
) -> Result<Environment> {
    let path = dir.path.join(name);
    let id = || dir.id_of(name).map_err(|e| Error::io(format_args!("looking at {}", path.display()), e));
    let replaced = || {
        let text = format!("{} was removed or replaced while it was opened: open it again", path.display());
        Error::new(ErrorKind::InUse, text)
    };
    // LMDB would make a file that is not there.
    let before = id()?.ok_or_else(replaced)?;
    let env = open_by_path(&dir.reach(name), &path, flags, map_bytes)?;
    let opened = file_id(&env).map_err(|e| Error::io(format_args!("looking at {}", path.display()), e.into()))?;
    if before == opened && id()? == Some(opened) { Ok(env) } else { Err(replaced()) }
}

fn open_by_path(reach: &Path, path: &Path, flags: EnvironmentFlags, map_bytes: Option<usize>) -> Result<Environment> {
    let mut bytes = map_bytes.unwrap_or(DEFAULT_BYTES).next_multiple_of(super::PAGE_BYTES);
    loop {
        let opened = Environment::new()
            .set_flags(flags)
            .set_max_readers(MAX_READERS)
            .set_max_dbs(MAX_DBS)
            .set_map_size(bytes)
            .open_with_permissions(reach, FILE_MODE);
        match opened {
            // A signal; LMDB gave back what it had.
            Err(lmdb::Error::Other(errno)) if errno == Errno::EINTR as i32 => {}
            Err(lmdb::Error::Other(errno)) if errno == Errno::ENOENT as i32 => {
                let text = format!("opening the index {}: /proc must be mounted to reach it", path.display());
                return Err(Error::io(text, Errno::ENOENT.into()));
            }
            Err(lmdb::Error::Other(errno)) if errno == Errno::ENOMEM as i32 => {
                if map_bytes.is_some() || bytes / 2 < LEAST_BYTES {
                    return Err(Error::new(
                        ErrorKind::TooLarge,
                        format!(
                            "the index {} does not find {bytes} bytes of address space: raise the limit (ulimit -v)",
                            path.display()
                        ),
                    ));
                }
                bytes /= 2;
            }
            opened => return opened.map_err(|e| lmdb_error(path.parent().unwrap_or(path), "opening", e)),
        }
    }
}

/// Which file LMDB has open.
pub(super) fn file_id(env: &Environment) -> nix::Result<FileId> {
    let file = file_of(env)?;
    Ok(FileId::from(&uninterrupted(|| fstat(file))?))
}

/// LMDB's own descriptor of the index.
pub(super) fn file_of(env: &Environment) -> nix::Result<BorrowedFd<'_>> {
    let mut fd = -1;
    // SAFETY: the environment is open, and `fd` lives as long as the call.
    match unsafe { lmdb_sys::mdb_env_get_fd(env.env(), &mut fd) } {
        lmdb_sys::MDB_SUCCESS => {}
        _ => return Err(Errno::EBADF),
    }
    // SAFETY: the environment keeps the descriptor open, and lives as long as the borrow.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Transactions of this process, counted.
#[derive(Default)]
pub(super) struct Live {
    counts: Mutex<Counts>,
    write_ended: Condvar,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) readers: usize,
    writers: usize,
    /// Counted among the readers.
    pub(super) unended: Vec<Unended>,
    /// Remapping failed half-way: LMDB has no map any more and must not be called.
    lost: bool,
}

/// Bytes of addresses, and those of them that the newest state takes.
#[derive(Clone, Copy)]
struct Size {
    map: usize,
    used: usize,
}

/// One write transaction, counted while this lives.
pub(super) struct CountedWrite<'i>(&'i Live);

impl Drop for CountedWrite<'_> {
    fn drop(&mut self) {
        self.0.lock().writers -= 1;
        self.0.write_ended.notify_all();
    }
}

impl Live {
    /// While the guard lives nothing begins, and nothing is remapped.
    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Counts a write transaction that is about to begin, and makes room for it if that can be.
    pub(super) fn count_write(&self) -> Result<CountedWrite<'_>> {
        let mut counts = self.usable()?;
        self.grow_early(&mut counts)?;
        counts.writers += 1;
        Ok(CountedWrite(&self.live))
    }

    /// Locks the counts, unless the map is lost.
    pub(super) fn usable(&self) -> Result<MutexGuard<'_, Counts>> {
        let counts = self.live.lock();
        if counts.lost {
            let text = format!("the index of {} lost its memory map: open the database again", self.dir.display());
            return Err(Error::new(ErrorKind::Io, text));
        }
        Ok(counts)
    }

    /// Adopts the size that another process gave the map.
    pub(super) fn adopt_growth(&self, counts: MutexGuard<'_, Counts>) -> Result<()> {
        if counts.readers > 0 {
            return Err(lmdb_error(&self.dir, "beginning a transaction", lmdb::Error::MapResized));
        }
        let mut counts =
            self.live.write_ended.wait_while(counts, |c| c.writers > 0).unwrap_or_else(PoisonError::into_inner);
        if counts.readers > 0 {
            return Ok(());
        }
        let size = self.size()?;
        // Not what the other process may have asked for, which an address-space limit of this one can forbid.
        for bytes in [size.used.saturating_mul(2), size.used.saturating_add(size.used / 4), size.used] {
            if self.enlarge(&mut counts, size, bytes)? {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the index of {}, which another process enlarged, does not find {} bytes of address space: raise the \
                 limit (ulimit -v)",
                self.dir.display(),
                size.used
            ),
        ))
    }

    /// Bytes that its file should have.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let _unmoved = self.usable()?;
        Ok(self.size()?.used as u64)
    }

    /// To be asked for while there is a map that is not moved.
    fn size(&self) -> Result<Size> {
        let info = self.env.lmdb().info().map_err(|e| lmdb_error(&self.dir, "asking for the size", e))?;
        Ok(Size { map: info.map_size(), used: (info.last_pgno() + 1) * super::PAGE_BYTES })
    }

    /// Gives the map, which nobody sees, `bytes` or as many as are used. `false`, and nothing is done, if it does not find
    /// the addresses.
    fn enlarge(&self, counts: &mut Counts, size: Size, bytes: usize) -> Result<bool> {
        // LMDB takes what is used, whatever it is asked for.
        let bytes = bytes.max(size.used);
        if !has_addresses(bytes.saturating_sub(size.map)) {
            return Ok(false);
        }
        self.remap(counts, bytes).map(|()| true)
    }

    /// Doubles a map of a size the caller chose that is more than half full, if nothing lives that would see it move.
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

    /// After a transaction ended with `full`: doubles the map, so that it can be tried again.
    ///
    /// # Errors
    /// `full`, with what keeps the map from growing.
    pub(crate) fn grow_full(&self, full: Error) -> Result<()> {
        if !self.grows {
            return Err(full);
        }
        let counts = self.usable()?;
        let mut counts =
            self.live.write_ended.wait_while(counts, |c| c.writers > 0).unwrap_or_else(PoisonError::into_inner);
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
            let why = format!("the index cannot grow beyond {} bytes of address space (ulimit -v)", size.map);
            return Err(full.context(why));
        }
        Ok(())
    }

    /// Whether LMDB refuses everything since it failed to write its meta page, or may do so. It says that when it has taken
    /// a place in the reader table: where it finds none, or no room to store it, that is not known.
    pub(crate) fn is_broken(&self) -> bool {
        let Ok(slots) = self.env.slots_at_last() else { return true };
        let counts = self.live.lock();
        if counts.lost {
            return false;
        }
        self.check_room().is_err() || !matches!(slots.begin_read(), Ok(_) | Err(lmdb::Error::MapResized))
    }

    /// Whether LMDB has no map any more, which most of its functions read without asking.
    pub(crate) fn is_lost(&self) -> bool {
        self.live.lock().lost
    }

    fn remap(&self, counts: &mut Counts, bytes: usize) -> Result<()> {
        self.env.lmdb().set_map_size(bytes).map_err(|e| {
            counts.lost = true;
            lmdb_error(&self.dir, format_args!("enlarging the map to {bytes} bytes"), e)
        })
    }
}

/// Whether `more` bytes of addresses can be had. LMDB gives up its old map before it asks for the new one, and has none
/// at all if that fails; so this asks first.
fn has_addresses(more: usize) -> bool {
    let Some(more) = NonZero::new(more) else { return true };
    // SAFETY: a mapping of its own, at an address that the kernel chooses, which nobody uses before it goes again.
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
