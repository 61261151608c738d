//! What cases are measured on: databases and files of the same numbers, in a directory that goes when all is done.

use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bigarray::ndarray::Ix1;
use bigarray::{Database, Durability};
use tempfile::TempDir;

use crate::Outcome;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// Bytes of a default block.
pub(crate) const BLOCK: usize = 2 << 20;
/// Numbers (f64) of a page.
pub(crate) const PAGE_LEN: usize = PAGE / 8;
const MIB: usize = 1 << 20;

/// A directory to measure in, and how much to measure.
pub(crate) struct Place {
    dir: TempDir,
    pub(crate) quick: bool,
    next: Cell<usize>,
}

impl Place {
    pub(crate) fn new(parent: &Path, quick: bool) -> Outcome<Place> {
        let dir = tempfile::Builder::new().prefix("compare-").tempdir_in(parent)?;
        Ok(Place { dir, quick, next: Cell::new(0) })
    }

    /// `full`, or `quick` where that was asked for.
    pub(crate) fn pick(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// Numbers of the array that most cases work on: 512 MiB of them.
    pub(crate) fn len(&self) -> usize {
        self.pick(512, 128) * MIB / 8
    }

    /// Rounds of a case that takes a fraction of a second.
    pub(crate) fn rounds(&self) -> usize {
        self.pick(11, 3)
    }

    /// A path that nothing is at.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.dir.path().join(format!("{}-{name}", self.next.get()))
    }

    /// A database with the array "a" of `len` numbers, written by one commit, durable and closed again.
    pub(crate) fn database(&self, len: usize) -> Outcome<Stored> {
        let stored = Stored(self.path("db.bigarray"));
        stored.fill(len, Durability::Full)?;
        Ok(stored)
    }

    /// A file of the same numbers, on disk.
    pub(crate) fn file(&self, len: usize) -> Outcome<PathBuf> {
        let path = self.path("file");
        let mut file = File::create(&path)?;
        let mut buffer = Vec::with_capacity(BLOCK / 8);
        for start in (0..len).step_by(BLOCK / 8) {
            buffer.clear();
            buffer.extend((start..len.min(start + BLOCK / 8)).map(number));
            file.write_all(bytemuck::cast_slice(&buffer))?;
        }
        file.sync_all()?;
        Ok(path)
    }
}

/// The number at place `n` of every array and file.
pub(crate) fn number(n: usize) -> f64 {
    (n % 1009) as f64 + 1.0
}

/// A database on disk; removed when dropped, since some cases need the room.
pub(crate) struct Stored(PathBuf);

impl Stored {
    /// Creates the array "a" in one commit.
    pub(crate) fn fill(&self, len: usize, durability: Durability) -> Outcome<()> {
        let db = Database::options().durability(durability).open(&self.0)?;
        let txn = db.begin()?;
        let mut array = txn.create::<f64, _>("a", len)?;
        array.view_mut().iter_mut().enumerate().for_each(|(n, x)| *x = number(n));
        drop(array);
        Ok(txn.commit()?)
    }

    pub(crate) fn at(path: PathBuf) -> Stored {
        Stored(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The file that the numbers are in.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn open(&self) -> Outcome<Database> {
        Ok(Database::open(&self.0)?)
    }

    /// Without waiting for the disk.
    pub(crate) fn open_unsynced(&self) -> Outcome<Database> {
        Ok(Database::options().durability(Durability::NoPowerLossSafety).open(&self.0)?)
    }

    /// Bytes it takes on disk.
    pub(crate) fn disk_bytes(&self) -> Outcome<u64> {
        use std::os::unix::fs::MetadataExt;
        let mut blocks = 0;
        for entry in std::fs::read_dir(&self.0)? {
            blocks += entry?.metadata()?.blocks();
        }
        Ok(blocks * 512)
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Adds 1 to the number at `n` of the array "a", and commits.
pub(crate) fn change_one(db: &Database, n: usize) -> Outcome<()> {
    let txn = db.begin()?;
    let mut array = txn.array::<f64, Ix1>("a")?;
    array.rows_mut(n..n + 1)?[0] += 1.0;
    drop(array);
    Ok(txn.commit()?)
}
