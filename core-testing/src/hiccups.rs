//! A store that is unavailable now and then.

use bigarray_core::sync::Mutex;
use bigarray_core::{Error, ErrorKind, Result};

use super::Rng;
use super::adapter::{Adapter, StoreOp, Watch};
use crate::role::{Role, role};

/// One call in this many finds the store unavailable.
const RARE: usize = 4;

/// A store that is unavailable to jobs now and then: to faults, that is, and to nothing that returns an error.
pub type Hiccuping<S> = Adapter<S, Hiccups>;

/// Decides by a seed when the store is unavailable.
pub struct Hiccups(Mutex<Rng>);

impl<S> Hiccuping<S> {
    /// Wraps `store`.
    pub fn new(store: S, seed: u64) -> Hiccuping<S> {
        Adapter::wrap(store, Hiccups(Mutex::new(Rng::new(seed))))
    }
}

impl Watch for Hiccups {
    fn before(&self, op: StoreOp, _: usize) -> Result<()> {
        let is_unavailable =
            role() == Role::Resolver && matches!(op, StoreOp::Blocks | StoreOp::Read) && self.0.lock().one_in(RARE);
        match is_unavailable {
            true => Err(Error::new(ErrorKind::Unavailable, format!("simulated hiccup of {op:?}"))),
            false => Ok(()),
        }
    }
}
