//! The contract's tests, word for word.

#[rustfmt::skip]
#[allow(clippy::all, reason = "not ours to change")]
#[path = "contract/wendelin.rs"]
mod contract;
