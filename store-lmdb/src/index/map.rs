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
    let mut fd = -1;
    // SAFETY: the environment is open, and `fd` lives as long as the call.
    match unsafe { lmdb_sys::mdb_env_get_fd(env.env(), &mut fd) } {
        lmdb_sys::MDB_SUCCESS => {}
        _ => return Err(Errno::EBADF),
    }
    // SAFETY: the environment keeps the descriptor open, and lives as long as the borrow.
    let file = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(FileId::from(&uninterrupted(|| fstat(file))?))
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
    /// Remapping failed half-way: LMDB has no map any more and must not be called.
    lost: bool,
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
        self.grow_ahead(&mut counts)?;
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
        self.remap(&mut counts, 0)
    }

    /// Doubles a map of a size the caller chose that is more than half full, if nothing lives that would see it move.
    pub(super) fn grow_ahead(&self, counts: &mut Counts) -> Result<()> {
        if !self.grows || counts.readers + counts.writers > 0 {
            return Ok(());
        }
        let info = self.env.lmdb().info().map_err(|e| lmdb_error(&self.dir, "asking for the size", e))?;
        if (info.last_pgno() + 1) * super::PAGE_BYTES > info.map_size() / 2 && has_addresses(info.map_size()) {
            self.remap(counts, info.map_size() * 2)?;
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
        let info = self.env.lmdb().info().map_err(|e| lmdb_error(&self.dir, "asking for the size", e))?;
        if !has_addresses(info.map_size()) {
            let why = format!("the index cannot grow beyond {} bytes of address space (ulimit -v)", info.map_size());
            return Err(full.context(why));
        }
        self.remap(&mut counts, info.map_size() * 2)
    }

    /// Whether LMDB refuses everything since it failed to write its meta page.
    pub(crate) fn is_broken(&self) -> bool {
        // Where not even that can be asked, it is not known to be whole.
        let Ok(slots) = self.env.slots() else { return true };
        let _unmoved = self.live.lock();
        matches!(slots.begin_read(), Err(lmdb::Error::Panic))
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
