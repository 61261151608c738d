//! What the end-to-end tests share: databases that are checked at the end of a test, second processes, and which faults
//! this process receives.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod arrays;
pub(crate) mod ballast;
pub(crate) mod child;
pub(crate) mod cold;
pub(crate) mod disk;
pub(crate) mod fuse;
pub(crate) mod memory;
pub(crate) mod merging;
pub(crate) mod process;
pub(crate) mod random;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bigarray::{ArrayOptions, Database, OpenOptions};
use bigarray_store_lmdb::LmdbStore;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// Bytes of the smallest block.
pub(crate) const BLOCK: usize = 64 << 10;

/// Blocks as small as can be, so that little data makes many of them.
pub(crate) fn small_blocks() -> ArrayOptions {
    ArrayOptions::new().block_size(BLOCK)
}

/// A database of its own. Where the environment variable `BIGARRAY_TEST_URL` says nothing, it is in a directory, and
/// checked, every stored byte included, when the test is over. Else it is at a prefix below that URL.
pub(crate) struct TestDb {
    db: Option<Database>,
    path: PathBuf,
    url: Option<String>,
    // Last: removed when nothing is open any more.
    _dir: tempfile::TempDir,
}

impl TestDb {
    pub(crate) fn new() -> TestDb {
        TestDb::with(Database::options())
    }

    pub(crate) fn with(options: OpenOptions) -> TestDb {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bigarray");
        let url = std::env::var("BIGARRAY_TEST_URL").ok().map(|base| unused_url(&base));
        let mut db = TestDb { db: None, path, url, _dir: dir };
        db.reopen_with(&options);
        db
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        assert!(self.url.is_none(), "this test is about a directory");
        &self.path
    }

    /// Another opening of it.
    pub(crate) fn another(&self, options: &OpenOptions) -> Database {
        match &self.url {
            Some(url) => open_url(options, url),
            None => options.clone().open(&self.path).unwrap(),
        }
    }

    /// Whether it is on object storage.
    pub(crate) fn is_at_url(&self) -> bool {
        self.url.is_some()
    }

    /// Its name in messages.
    pub(crate) fn name(&self) -> &str {
        self.url.as_deref().unwrap_or("a.bigarray")
    }

    /// Closes the database, until [`reopen`](TestDb::reopen).
    pub(crate) fn close(&mut self) {
        self.db = None;
    }

    /// Closes the database and opens it again, with spans that have seen nothing yet.
    pub(crate) fn reopen(&mut self) {
        self.reopen_with(&Database::options());
    }

    /// The same, opened so.
    pub(crate) fn reopen_with(&mut self, options: &OpenOptions) {
        self.close();
        self.db = Some(self.another(options));
    }
}

impl Deref for TestDb {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.db.as_ref().unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // It may be open in a way in which the check cannot join it.
            self.close();
            if self.url.is_none() {
                check(&self.path);
            }
        }
    }
}

/// A URL below `base` that no other test has: of a name in memory, or of a folder.
pub(crate) fn unused_url(base: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    if base.starts_with("memory:") { format!("{base}-{name}") } else { format!("{base}/{name}") }
}

#[cfg(feature = "icechunk")]
fn open_url(options: &OpenOptions, url: &str) -> Database {
    options.clone().open_url(url).unwrap()
}

#[cfg(not(feature = "icechunk"))]
fn open_url(_: &OpenOptions, url: &str) -> Database {
    panic!("{url}: build with the feature icechunk")
}

/// Every record, reference and stored byte of the database is as it should be.
pub(crate) fn check(path: &Path) {
    let store = LmdbStore::open(&bigarray_store_lmdb::Options::new(path)).unwrap();
    store.check(true).unwrap();
}

/// Which faults arrive in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Faults {
    /// All of them, the kernel's own included.
    All,
    /// Those of user code: a system call handed a page that is not there fails.
    UserOnly,
    /// None: arrays are mapped whole when they are opened.
    None,
}

/// What the environment or missing privileges force on this process.
pub(crate) fn faults() -> Faults {
    match std::env::var("BIGARRAY_USERFAULTFD").as_deref() {
        Ok("none") => Faults::None,
        Ok("user") => Faults::UserOnly,
        _ if nix::unistd::geteuid().is_root() => Faults::All,
        _ => Faults::UserOnly,
    }
}

/// Whether databases that are opened without saying so copy their blocks rather than map them: those of an array that is
/// mapped whole when it is opened never are.
pub(crate) fn copies() -> bool {
    std::env::var("BIGARRAY_PAGER").is_ok_and(|pager| pager == "copy") && faults() != Faults::None
}

/// Whether the test may go on; says why it does not.
pub(crate) fn runs_if(condition: bool, otherwise: &str) -> bool {
    if !condition {
        println!("skipped: {otherwise}");
    }
    condition
}

/// Says that a test cannot run here, and fails it where everything must be there.
pub(crate) fn skip(why: &str) {
    println!("SKIPPED: {why}");
    assert!(std::env::var_os("BIGARRAY_TEST_NO_SKIP").is_none(), "skipped: {why}");
}

/// Whether the test may mount file systems and become other users.
pub(crate) fn is_root() -> bool {
    runs_if(nix::unistd::geteuid().is_root(), "needs root")
}
