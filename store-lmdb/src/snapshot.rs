//! One committed state, as core sees it.

use std::sync::{Arc, Mutex};

use crate::index::ReadTxn;
use crate::shared::Shared;

/// One read transaction, shared by all who look at the state.
pub(crate) struct LmdbSnapshot {
    /// Look-ups take turns. Before `shared`: ends before the environment can close.
    txn: Mutex<ReadTxn>,
    shared: Arc<Shared>,
}
