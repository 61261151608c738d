//! What core asks of the two crates below its users: memory whose missing pages it is told of, and a store of committed
//! states.

pub mod memory;
pub mod store;
