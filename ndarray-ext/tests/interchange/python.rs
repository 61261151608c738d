//! The process of Python, and the place that it shares with this one.

use std::path::Path;
use std::process::Command;

use bigarray::Database;

use crate::support::child::Child;
use crate::support::{skip, unused_url};

/// A process that runs steps of `steps.py` on one database, and keeps it open between them.
pub(crate) struct Python {
    child: Child,
    url: String,
    // Last: removed when nothing is open any more.
    _dir: tempfile::TempDir,
}

impl Python {
    /// `None` where there is none with the packages, which is told.
    pub(crate) fn start() -> Option<Python> {
        let Ok(program) = std::env::var("BIGARRAY_TEST_PYTHON") else {
            skip("BIGARRAY_TEST_PYTHON names no Python with icechunk");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let in_directory = || format!("file://{}", dir.path().join("database").display());
        let url = std::env::var("BIGARRAY_TEST_URL").map_or_else(|_| in_directory(), |base| unused_url(&base));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interchange/steps.py");
        let mut command = Command::new(program);
        command.arg(script).arg(&url);
        Some(Python { child: Child::start(command), url, _dir: dir })
    }

    /// The database. Each opening shares nothing with the others but what is stored.
    pub(crate) fn database(&self) -> Database {
        Database::open_url(&self.url).unwrap()
    }

    /// The database's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Runs a step, which must not fail, and returns its answer.
    #[track_caller]
    pub(crate) fn runs(&mut self, step: &str) -> String {
        self.child.ask(step)
    }
}
