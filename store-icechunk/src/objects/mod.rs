//! Object storage: what is put, got and listed, each within a deadline.
