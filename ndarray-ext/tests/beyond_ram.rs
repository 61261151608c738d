//! The contract's tests, word for word.

#[rustfmt::skip]
#[allow(clippy::all, reason = "not ours to change")]
#[path = "contract/beyond_ram.rs"]
mod contract;
