//! The contract's tests, word for word.

#[rustfmt::skip]
#[path = "contract/wendelin.rs"]
mod contract;
