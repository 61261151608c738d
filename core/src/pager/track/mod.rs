//! Tracking: which pages were written.

pub(crate) mod async_tracking;
pub(crate) mod search;
