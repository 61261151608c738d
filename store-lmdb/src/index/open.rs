//! Opening LMDB's environment.

use std::path::Path;

use bigarray_core::{Error, ErrorKind, Result};
use lmdb::{Environment, EnvironmentFlags};
use nix::errno::Errno;

use super::file::file_id;
use super::{MAX_DBS, PAGE_BYTES, lmdb_error};
use crate::locks::files::{Directory, FILE_MODE};

/// Address space for the index by default: more than any index needs, at no cost.
const DEFAULT_BYTES: usize = 1 << 40;
/// Opening fails where an address-space limit leaves less than this.
const LEAST_BYTES: usize = 16 << 20;
/// Places of the reader table. Each process takes one for each committed state that it sees.
const MAX_READERS: u32 = 4096;

/// Opens LMDB on the file `name` of `dir` with `map_bytes` of address space. The default is 1 TiB, halved until a limit
/// allows it.
///
/// LMDB takes a path and follows links. So the path leads through the descriptor of the directory, and the opened file is
/// compared with the one in the directory.
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
    // LMDB would create a missing file.
    let before = id()?.ok_or_else(replaced)?;
    let env = open_by_path(&dir.reach(name), &path, flags, map_bytes)?;
    let opened = file_id(&env).map_err(|e| Error::io(format_args!("looking at {}", path.display()), e.into()))?;
    if before == opened && id()? == Some(opened) { Ok(env) } else { Err(replaced()) }
}

fn open_by_path(reach: &Path, path: &Path, flags: EnvironmentFlags, map_bytes: Option<usize>) -> Result<Environment> {
    let mut bytes = map_bytes.unwrap_or(DEFAULT_BYTES).next_multiple_of(PAGE_BYTES);
    loop {
        let opened = Environment::new()
            .set_flags(flags)
            .set_max_readers(MAX_READERS)
            .set_max_dbs(MAX_DBS)
            .set_map_size(bytes)
            .open_with_permissions(reach, FILE_MODE);
        match opened {
            // A signal. LMDB released everything.
            Err(lmdb::Error::Other(errno)) if errno == Errno::EINTR as i32 => {}
            Err(lmdb::Error::Other(errno)) if errno == Errno::ENOENT as i32 => {
                let text = format!("opening the index {}: /proc must be mounted to reach it", path.display());
                return Err(Error::io(text, Errno::ENOENT.into()));
            }
            Err(lmdb::Error::Other(errno)) if [Errno::ENOMEM as i32, Errno::EAGAIN as i32].contains(&errno) => {
                if map_bytes.is_some() || bytes / 2 < LEAST_BYTES {
                    let lacks = match errno == Errno::EAGAIN as i32 {
                        true => "that may be locked, and mlockall locks all memory: raise RLIMIT_MEMLOCK (ulimit -l)",
                        false => "of address space: raise the limit (ulimit -v)",
                    };
                    let text = format!("the index {} does not find {bytes} bytes {lacks}", path.display());
                    return Err(Error::new(ErrorKind::TooLarge, text));
                }
                bytes /= 2;
            }
            opened => return opened.map_err(|e| lmdb_error(path.parent().unwrap_or(path), "opening", e)),
        }
    }
}
