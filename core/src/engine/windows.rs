//! Windows: spans for a part of an array that has no addresses for all of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::geometry::BlockSize;
use crate::memory::Residency;
use crate::pager::{Access, Binding, Pager};

/// The windows of one handle. They live as long as it does, or until they are closed.
#[derive(Default)]
pub(super) struct Windows(Mutex<Vec<Arc<Pager>>>);

impl Windows {
    /// A window that has all of `bytes`: one that is open, or a new one.
    pub(super) fn over(
        &self,
        engine: &Engine,
        array: &Descriptor,
        binding: Binding,
        access: Access,
        bytes: &Range<usize>,
    ) -> Result<Arc<Pager>> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.iter().find(|window| window.has(bytes)) {
            return Ok(window.clone());
        }
        let window = engine.window(array, binding, bytes)?;
        window.advise(access);
        windows.push(window.clone());
        Ok(window)
    }

    /// The windows that are open.
    pub(super) fn open(&self) -> Vec<Arc<Pager>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives their addresses back. No view of theirs may live.
    pub(super) fn close(&self) {
        let windows = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Nobody is to write ahead for a table that may be about to go back to an earlier state.
        windows.iter().for_each(|window| window.pin());
    }
}

impl Engine {
    /// A span over the blocks of `bytes` that shows `binding`.
    fn window(&self, array: &Descriptor, binding: Binding, bytes: &Range<usize>) -> Result<Arc<Pager>> {
        let unit = BlockSize::MAX.bytes();
        let start = bytes.start / unit * unit;
        let end = bytes.end.checked_next_multiple_of(unit).unwrap_or(usize::MAX / unit * unit);
        let name = binding.name.clone();
        let residency = if self.memory.delivers_faults() && (self.policy.copy || self.memory.delivers_kernel_faults()) {
            Residency::Lazy
        } else {
            Residency::Eager
        };
        let pager = self.reserve_at(start..end, residency, array.block_size);
        let pager = pager.map_err(|e| e.context(format_args!("array {name:?}: a window of its bytes {bytes:?}")))?;
        pager.bind(binding, array.changed, &|_, _, _| None)?;
        Ok(pager)
    }
}
