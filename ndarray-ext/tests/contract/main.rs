//! What the contract promises, test by test, word for word.

#[rustfmt::skip]
#[allow(clippy::all, reason = "not ours to change")]
mod beyond_ram;
#[rustfmt::skip]
#[allow(clippy::all, reason = "not ours to change")]
mod wendelin;
