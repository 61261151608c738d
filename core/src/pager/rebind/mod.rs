//! Rebinding: a span outlives its transaction, and shows another state.

pub(crate) mod bind;
pub(crate) mod remap;
