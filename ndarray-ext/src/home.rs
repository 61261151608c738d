//! What every handle of a database keeps, and what it refuses: a forked child, and writing where only reading is
//! allowed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bigarray_core::{Engine, Error, ErrorKind, Result};
use bigarray_uffd::UffdMemory;

use crate::options::Pager;
use crate::process::OfProcess;

/// What every handle of a database keeps.
pub(crate) struct Home {
    pub(crate) engine: OfProcess<Arc<Engine>>,
    pub(crate) memory: OfProcess<Arc<UffdMemory>>,
    pub(crate) pager: Pager,
    pub(crate) dir: PathBuf,
    pub(crate) read_only: bool,
}

impl Home {
    /// Refuses in a process forked from the one that opened the database: it has neither the threads nor the memory.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.engine.check(format_args!("database {:?}", self.dir))
    }

    /// Refuses `what` where the database is open for reading only.
    pub(crate) fn check_writable(&self, what: fmt::Arguments<'_>) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        let why = format!("database {:?} is open for reading only: cannot {what}", self.dir);
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
