//! The turn: the right to commit next, among all threads of all processes.

use std::any::Any;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bigarray_core::Result;
use bigarray_core::store::Turn;
use bigarray_process::Unshared;

use crate::opening::exclusive::{Exclusive, Held};
use crate::opening::locks::TURN;
use crate::opening::waiting::Waiting;

/// Where turns are taken.
pub(crate) struct Turns {
    exclusive: Arc<Exclusive>,
    dir: PathBuf,
}

impl Turns {
    /// Turns at the database in `dir`, by locks on its file `data`, opened for this alone.
    pub(crate) fn new(data: Unshared<File>, dir: &Path) -> Turns {
        Turns { exclusive: Exclusive::new(data, TURN), dir: dir.to_owned() }
    }

    /// Waits for the turn, as long as `limit` says.
    ///
    /// # Errors
    /// [`ErrorKind::InUse`](bigarray_core::ErrorKind::InUse) if this thread has it already, past the limit, and in a
    /// forked child, where its parent's turn would pass for its own.
    pub(crate) fn take(&self, limit: Option<Duration>) -> Result<TurnGuard> {
        self.exclusive.take(&Waiting::new(&self.dir, "the turn to commit", limit)).map(TurnGuard)
    }
}

/// The turn, until dropped.
pub(crate) struct TurnGuard(Held);

impl TurnGuard {
    /// Whether it is the turn of that database.
    pub(crate) fn is_of(&self, turns: &Turns) -> bool {
        self.0.is_of(&turns.exclusive)
    }
}

impl Turn for TurnGuard {
    fn as_any(&self) -> &dyn Any {
        self
    }
}
