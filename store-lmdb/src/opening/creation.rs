//! Creating a database. A creation that was cut short is told apart from damage, and from a directory that is no database. The
//! files come in this order, each only when the one before is whole and on disk:
//!
//! 1. the directory, empty;
//! 2. the index under a temporary name, until its tables and format are committed;
//! 3. the index under its name: from here on the database exists;
//! 4. the data file under a temporary name, until its header is there, with the id that the index has;
//! 5. the data file under its name.
//!
//! So a creation is completed if `data` is missing and nothing was ever committed to `index`. An empty `index`, or a `data`
//! without an `index`, is damage; any other directory that is not empty is no database. `index-lock` comes at the first
//! opening. A lock on the directory (`flock`, which needs no file in it) lets one process at a time create.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bigarray_core::{Error, ErrorKind, Result, Version};
use bigarray_process::Unshared;
use lmdb::EnvironmentFlags;
use nix::fcntl::OFlag;

use crate::alloc::{CHUNK, HEADER};
use crate::index::{Env, Index, ReadTxn, lmdb_error};
use crate::locks::byte_locks::Lock;
use crate::locks::files::{DATA, Directory, INDEX, LOCK_TABLE, UNSYNCED, failed};
use crate::locks::waiting::{wait, waiting};
use crate::options::Options;
use crate::record::{DatabaseId, encode_header};

/// Name of the index until it is whole.
const UNFINISHED: &str = "index.bigarray-creating";
/// Name of the data file until it is whole.
const UNFINISHED_DATA: &str = "data.bigarray-creating";
/// Map size while the index is created: its first transaction fits by far.
const MAP_BYTES: usize = 16 << 20;
/// Number of the transaction that makes the tables.
const FIRST_TXN: usize = 1;

/// Creates the database if the directory is empty, or completes a creation; does nothing where one exists.
///
/// # Errors
/// [`ErrorKind::Invalid`] for a directory that is no database and not empty, [`ErrorKind::Corrupt`] where `index` or `data` is missing,
/// [`ErrorKind::NotFound`] where `options` forbid to create.
pub(crate) fn complete(dir: &Directory, options: &Options) -> Result<()> {
    if is_whole(dir)? {
        return Ok(());
    }
    let path = dir.path.display();
    let again = Unshared::open(|| dir.open_again()).map_err(|e| failed(&dir.path, "opening the directory", e))?;
    let again = Arc::new(again);
    wait(&again, Lock::Directory, &waiting(&dir.path, "the right to create the database", options.wait_timeout))?;
    let _locked = Locked(&again);
    // Another process may have created it meanwhile.
    if is_whole(dir)? {
        return Ok(());
    }
    if dir.size_of(INDEX)?.is_none() {
        refuse_foreign(dir)?;
        if !options.create || options.read_only {
            let text = format!(
                "{path} holds no database yet, and none is created in it unless it is opened to write, with create(true)"
            );
            return Err(Error::new(ErrorKind::NotFound, text));
        }
        make_index(dir)?;
    }
    let (id, last_txn) = look_at_index(dir)?;
    if last_txn > FIRST_TXN {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("{path}: the file {DATA} is missing; {INDEX} refers to it"),
        ));
    }
    if options.read_only {
        let text = format!("the creation of {path} was cut short: open it to write once, which completes it");
        return Err(Error::new(ErrorKind::NotFound, text));
    }
    make_data(dir, id)?;
    dir.sync()
}

/// Syncs the directory if nothing was committed yet, so that the names of the files are on disk before any commit is: the
/// process that created them may have been killed before it synced. `newest` is the newest state of the index.
pub(crate) fn sync_new(dir: &Directory, newest: Version) -> Result<()> {
    if newest.0 > FIRST_TXN as u64 { Ok(()) } else { dir.sync() }
}

/// The lock on the directory, released when dropped.
struct Locked<'f>(&'f File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Err(e) = Lock::Directory.release(self.0) {
            tracing::warn!("giving back the lock on the directory of a database: {e}");
        }
    }
}

/// Whether both files are there.
fn is_whole(dir: &Directory) -> Result<bool> {
    Ok(match (dir.size_of(INDEX)?, dir.size_of(DATA)?) {
        (Some(0), _) => {
            let text = format!("{} is empty: it was truncated", dir.path.join(INDEX).display());
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
        (Some(_), Some(_)) => true,
        _ => false,
    })
}

fn refuse_foreign(dir: &Directory) -> Result<()> {
    let names = dir.names()?;
    let has = |name: &str| names.iter().any(|n| n == OsStr::new(name));
    let ours = [INDEX, DATA, LOCK_TABLE, UNSYNCED, UNFINISHED, UNFINISHED_DATA];
    let path = dir.path.display();
    if let Some(name) = names.iter().find(|n| !ours.iter().any(|our| n == &OsStr::new(our))) {
        let text = format!("{path} is not a database and not empty: it has {name:?}; give a path that is free");
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    if has(DATA) || has(LOCK_TABLE) || has(UNSYNCED) {
        return Err(Error::new(ErrorKind::Corrupt, format!("{path}: the file {INDEX} is missing")));
    }
    Ok(())
}

/// Steps 2 and 3.
fn make_index(dir: &Directory) -> Result<()> {
    let unfinished = dir.path.join(UNFINISHED);
    dir.remove(UNFINISHED).map_err(|e| failed(&unfinished, "removing it", e))?;
    // The file is made here, since LMDB would follow a link.
    let file = dir.open(UNFINISHED, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL);
    let file = file.map_err(|e| failed(&unfinished, "creating it", e))?;
    let id = DatabaseId::random().map_err(|e| failed(&dir.path, "making an id for a new database", e))?;
    let env = open_alone(dir, UNFINISHED, EnvironmentFlags::empty())?;
    drop(Index::new(env, &dir.path, Some(id), false, None)?);
    file.sync_all().and_then(|()| dir.rename(UNFINISHED, INDEX)).map_err(|e| failed(&unfinished, "finishing it", e))?;
    dir.file.sync_all().map_err(|e| failed(&dir.path, "syncing the directory", e))
}

/// Steps 4 and 5, for the database `id`.
fn make_data(dir: &Directory, id: DatabaseId) -> Result<()> {
    let unfinished = dir.path.join(UNFINISHED_DATA);
    dir.remove(UNFINISHED_DATA).map_err(|e| failed(&unfinished, "removing it", e))?;
    dir.open(UNFINISHED_DATA, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)
        .and_then(|data| {
            data.write_all_at(&encode_header(id), HEADER.offset())?;
            // The rest of the first chunk is free, and a hole in the file.
            data.set_len(CHUNK)?;
            data.sync_all()
        })
        .and_then(|()| dir.rename(UNFINISHED_DATA, DATA))
        .map_err(|e| failed(&dir.path.join(DATA), "creating it", e))
}

/// The id of the database and the number of the last transaction. No process can have the index open, since `data` is
/// missing.
fn look_at_index(dir: &Directory) -> Result<(DatabaseId, usize)> {
    let env = open_alone(dir, INDEX, EnvironmentFlags::READ_ONLY)?;
    let last = env.lmdb().info().map_err(|e| lmdb_error(&dir.path, "asking for the last transaction", e))?.last_txnid();
    let index = Arc::new(Index::new(env, &dir.path, None, false, None)?);
    let id = ReadTxn::begin(&index)?.tables().id()?;
    Ok((id, last))
}

/// Opens an environment that no other process opens meanwhile.
fn open_alone(dir: &Directory, name: &str, also: EnvironmentFlags) -> Result<Env> {
    Env::open(dir, name, Env::FLAGS | EnvironmentFlags::NO_LOCK | also, Some(MAP_BYTES), None)
}
