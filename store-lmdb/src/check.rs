//! The consistency check.
