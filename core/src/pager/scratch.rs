//! The buffer in which a loading thread puts a block together.

use std::cell::RefCell;

thread_local! {
    /// Where blocks are put together before they are copied: one a loading thread, kept.
    static BLOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with a buffer of `len` bytes that holds anything.
pub(crate) fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    BLOCK.with_borrow_mut(|buffer| {
        buffer.resize(len, 0);
        f(buffer)
    })
}
