//! The LMDB environment: its tables, and how they are read and written as bytes. Keys and values are typed in
//! `record`; transactions are in `txn`.

mod environment;
mod error;
mod file;
mod identity;
mod live;
mod map;
mod open;
mod readers;
mod reserve;
mod room;
mod state;
mod tables;
mod txn;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use bigarray_core::{Error, ErrorKind, Result, Version};
use lmdb::Database;

use crate::locks::files::FileId;
use crate::locks::lock_table::TableMap;
use crate::record::{DatabaseId, Meta};

pub(crate) use environment::{Env, Gates};
pub use error::is_index_full;
pub(crate) use error::lmdb_error;
use error::write_error;
pub use identity::lmdb_version;
pub(crate) use tables::Tables;
pub(crate) use txn::{ReadTxn, WriteTxn};

/// Handles of the tables: opened once, good for every transaction.
#[derive(Clone, Copy)]
pub(crate) struct Dbs {
    pub(crate) meta: Database,
    pub(crate) arrays: Database,
    pub(crate) attrs: Database,
    pub(crate) blocks: Database,
    pub(crate) sums: Database,
    pub(crate) chunks: Database,
    pub(crate) fits: Database,
    pub(crate) freed: Database,
    pub(crate) claims: Database,
}

impl Dbs {
    fn open_with(mut open: impl FnMut(&str) -> lmdb::Result<Database>) -> lmdb::Result<Dbs> {
        Ok(Dbs {
            meta: open("meta")?,
            arrays: open("arrays")?,
            attrs: open("attrs")?,
            blocks: open("blocks")?,
            sums: open("sums")?,
            chunks: open("chunks")?,
            fits: open("fits")?,
            freed: open("freed")?,
            claims: open("claims")?,
        })
    }
}

/// How many named tables an environment may have.
pub(crate) const MAX_DBS: u32 = 16;

/// The open index.
pub(crate) struct Index {
    pub(crate) env: Env,
    dbs: Dbs,
    /// The database, for messages.
    pub(crate) dir: PathBuf,
    live: live::Live,
    /// LMDB's mapping of its lock table, if a store to it may find no room.
    table: Option<TableMap>,
    /// End of the part of the file for which this process allocated blocks, in bytes.
    reserved: AtomicU64,
    /// Whether the map doubles when it is full: the caller chose its size.
    grows: bool,
}

impl Index {
    /// Takes over an environment, opened with NOTLS on the index of `dir`. If it has no tables yet, they are made for the
    /// database `new`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for another format, [`ErrorKind::Corrupt`] for anything but an index of bigarray.
    pub(crate) fn new(
        env: Env,
        dir: &Path,
        new: Option<DatabaseId>,
        grows: bool,
        table: Option<TableMap>,
    ) -> Result<Index> {
        let dbs = {
            let new = new.map(|id| Ok((id, env.writing()?))).transpose()?;
            Self::tables_of(&env.lock_table()?, new).map_err(|e| match e {
                lmdb::Error::NotFound => Error::new(
                    ErrorKind::Corrupt,
                    format!("the index of {} has not the tables of a bigarray database", dir.display()),
                ),
                e => write_error(env.lmdb(), 0, dir, "opening the tables", e),
            })?
        };
        let index = Index {
            env,
            dbs,
            dir: dir.to_owned(),
            live: live::Live::default(),
            table,
            reserved: AtomicU64::new(0),
            grows,
        };
        index.check_format()?;
        Ok(index)
    }

    fn check_format(&self) -> Result<()> {
        let txn = self.env.lock_table()?.begin_read().map_err(|e| lmdb_error(&self.dir, "reading the format", e))?;
        match Tables::new(&txn, self).meta(Meta::FORMAT)? {
            Meta::FORMAT_VERSION => Ok(()),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the database {} has format version {other}; this version of bigarray reads version {}",
                    self.dir.display(),
                    Meta::FORMAT_VERSION
                ),
            )),
        }
    }

    /// Number of the newest committed state.
    pub(crate) fn newest(&self) -> Result<Version> {
        let _unmoved = self.usable()?;
        let info = self.env.lmdb().info().map_err(|e| lmdb_error(&self.dir, "asking for the newest state", e))?;
        Ok(Version(info.last_txnid() as u64))
    }

    /// The length of its file.
    pub(crate) fn file_bytes(&self) -> Result<u64> {
        let _unmoved = self.usable()?;
        file::bytes(self.env.lmdb()).map_err(|e| {
            Error::io(format_args!("{}: asking for the length of the index", self.dir.display()), e.into())
        })
    }

    /// The id of its file.
    pub(crate) fn file(&self) -> io::Result<FileId> {
        Ok(file::file_id(self.env.lmdb())?)
    }
}

/// Bytes of a page of the index.
const PAGE_BYTES: usize = 4096;
