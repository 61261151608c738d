//! States of the past.

use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::{Commit, Compacted, History};

use crate::database::Database;
use crate::snapshot::Snapshot;

/// States of the past, which databases on object storage keep.
///
/// A directory keeps the newest state, and those that a [`Snapshot`] holds: there all of these are
/// [`Unsupported`](crate::ErrorKind::Unsupported).
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
/// let error = db.log(10).unwrap_err();
/// assert!(error.is_unsupported());
/// assert!(error.to_string().contains("a database on object storage keeps its history"));
/// # Ok::<(), bigarray::Error>(())
/// ```
impl Database {
    /// The state that a commit made, for reading: found by the id of the commit, as [`log`](Database::log) has it, or by
    /// a [tag](Database::tag).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// match db.at("2026-11") {
    ///     Ok(then) => println!("{} arrays then", then.arrays()?.len()),
    ///     Err(error) if error.is_unsupported() => println!("a directory keeps no history"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is none, or none any more. As [`begin`](Database::begin).
    pub fn at(&self, commit: &str) -> Result<Snapshot> {
        Ok(Snapshot::new(self.home.clone(), self.history()?.at(commit)?))
    }

    /// The latest commits, `limit` at most, the newest first.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// match db.log(10) {
    ///     Ok(commits) => commits.iter().for_each(|commit| println!("{} {}", commit.id, commit.message)),
    ///     Err(error) if error.is_unsupported() => println!("a directory keeps no history"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin`](Database::begin).
    pub fn log(&self, limit: usize) -> Result<Vec<Commit>> {
        self.history()?.log(limit)
    }

    /// Every tag, and the id of its commit, in order of tags.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// match db.tags() {
    ///     Ok(tags) => tags.iter().for_each(|(tag, commit)| println!("{tag} is {commit}")),
    ///     Err(error) if error.is_unsupported() => println!("a directory keeps no history"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin`](Database::begin).
    pub fn tags(&self) -> Result<Vec<(String, String)>> {
        self.history()?.tags()
    }

    /// Gives the newest commit a tag: its state is kept under that name.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// match db.tag("2026-11") {
    ///     Ok(()) => println!("its state is kept"),
    ///     Err(error) if error.is_unsupported() => println!("a directory keeps no history"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) if another commit has that tag, or had it,
    /// [`Invalid`](crate::ErrorKind::Invalid) for a name that is empty or has a slash, and where the database is open for
    /// reading only. As [`begin`](Database::begin).
    pub fn tag(&self, name: &str) -> Result<()> {
        let history = self.history()?;
        self.home.check_writable(format_args!("tag {name:?}"))?;
        history.tag(name)
    }

    /// Forgets the states older than `keep`, but for the newest and those with tags, and deletes what is as old and
    /// belongs to no state, chunks of aborted commits among it.
    ///
    /// **`keep` must be longer than any transaction or snapshot lives, in all processes**: a state that is forgotten cannot
    /// be read any more. Others read and commit meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = bigarray::Database::open(dir.path().join("a.bigarray"))?;
    /// match db.compact(std::time::Duration::from_secs(7 * 86_400)) {
    ///     Ok(given_back) => println!("{} bytes", given_back.bytes),
    ///     Err(error) if error.is_unsupported() => println!("a directory keeps no history"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok::<(), bigarray::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`begin`](Database::begin); [`Invalid`](crate::ErrorKind::Invalid) where the database is open for reading only.
    /// What was done before is done.
    pub fn compact(&self, keep: Duration) -> Result<Compacted> {
        let history = self.history()?;
        self.home.check_writable(format_args!("be compacted"))?;
        history.compact(keep)
    }

    fn history(&self) -> Result<&dyn History> {
        self.home.check_process()?;
        let history = self.home.engine.history();
        history.map_err(|e| e.context(format_args!("database {:?}", self.home.dir)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bigarray_testing::{MemStore, MemStoreOptions, Remembering};
    use ndarray::Ix1;

    use super::*;

    fn database(read_only: bool) -> Database {
        // Nothing of it can be mapped.
        let store = MemStore::with(MemStoreOptions { produced_every: 1, ..MemStoreOptions::default() });
        let store = Arc::new(Remembering::new(store));
        Database::options().read_only(read_only).on(Path::new("remembered"), |_| Ok(store)).unwrap()
    }

    #[test]
    fn a_state_of_the_past_shows_its_own_values() {
        let db = database(false);
        db.transact(|txn| txn.create::<u64, _>("a", 1).map(drop)).unwrap();
        for value in 1..=3 {
            db.transact(|txn| {
                txn.array::<u64, Ix1>("a")?.view_mut()[0] = value;
                Ok(())
            })
            .unwrap();
            if value == 2 {
                db.tag("two").unwrap();
            }
        }
        let log = db.log(10).unwrap();
        assert_eq!(log.len(), 4);
        for (commit, value) in log.iter().zip([3, 2, 1, 0]) {
            assert_eq!(db.at(&commit.id).unwrap().array::<u64, Ix1>("a").unwrap().view()[0], value);
        }
        assert_eq!(db.at("two").unwrap().array::<u64, Ix1>("a").unwrap().view()[0], 2);
        assert_eq!(db.tags().unwrap(), [("two".to_owned(), log[1].id.clone())]);
        assert!(db.tag("two").unwrap_err().is_already_exists());
        assert!(db.at("three").unwrap_err().is_not_found());
    }

    #[test]
    fn a_database_that_is_read_only_takes_no_tag() {
        let db = database(true);
        assert!(db.tag("first").unwrap_err().is_invalid());
        assert!(db.log(1).unwrap().is_empty());
    }
}
