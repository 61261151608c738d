//! Programs of a user, made from random bytes, run on core's simulated memory and in-memory store and compared with a
//! plain `Vec`: reads give what was written, and a commit lands, conflicts or fails exactly when it should.

mod model;
mod run;
mod scenario;

pub use run::run;
pub use scenario::{Call, Change, MemoryBudget, Op, Paging, Place, Scenario, Setup, Size};
