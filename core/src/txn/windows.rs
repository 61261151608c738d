//! Windows: spans for a part of an array that has no addresses for all of it.

use std::ops::Range;
use std::sync::Arc;

use super::Engine;
use crate::descriptor::Descriptor;
use crate::error::Result;
use crate::geometry::BlockSize;
use crate::pager::{Access, Binding, Pager};
use crate::sync::Mutex;

/// The span of a whole array: none for one of no bytes, or that is not open; an error where no addresses are left for it.
pub(super) type WholeSpan = Result<Option<Arc<Pager>>>;

/// The windows of one handle. They live as long as it does, or until they are closed.
#[derive(Default)]
pub(super) struct Windows(Mutex<WindowList>);

#[derive(Default)]
struct WindowList {
    open: Vec<Arc<Pager>>,
    /// What accesses to expect, in those to come as well.
    access: Access,
    /// Those that are open may have been written to, which a window that overlaps them would not show.
    is_written_to: bool,
}

impl Windows {
    /// A span that has all of `bytes`: `whole`, or a window where there is no such span, which is open or made by `open`.
    /// `share` spills what was written to a window, so that others show it; no thread may be writing.
    pub(super) fn over(
        &self,
        whole: &WholeSpan,
        bytes: &Range<usize>,
        open: &dyn Fn() -> Result<Arc<Pager>>,
        share: &dyn Fn(&Pager) -> Result<()>,
    ) -> Result<Option<Arc<Pager>>> {
        match whole {
            Ok(span) => return Ok(span.clone()),
            Err(_) if bytes.is_empty() => return Ok(None),
            Err(_) => {}
        }
        let mut windows = self.0.lock();
        if let Some(window) = windows.open.iter().find(|window| window.has(bytes)) {
            return Ok(Some(window.clone()));
        }
        // The first window since something was handed out mutably is about to be written to itself.
        if windows.is_written_to && !windows.open.is_empty() {
            windows.open.iter().try_for_each(|window| share(window))?;
            windows.is_written_to = false;
        }
        let window = open()?;
        window.advise(windows.access);
        windows.open.push(window.clone());
        Ok(Some(window))
    }

    /// What accesses to expect from now on, in `whole` as well.
    pub(super) fn advise(&self, whole: &WholeSpan, access: Access) {
        if let Ok(Some(span)) = whole {
            span.advise(access);
        }
        let mut windows = self.0.lock();
        windows.access = access;
        windows.open.iter().for_each(|window| window.advise(access));
    }

    /// Something is handed out mutably.
    pub(super) fn are_written_to(&self) {
        self.0.lock().is_written_to = true;
    }

    /// The windows that are open.
    pub(super) fn open(&self) -> Vec<Arc<Pager>> {
        self.0.lock().open.clone()
    }

    /// Gives their addresses back. No view of theirs may live.
    pub(super) fn close(&self) {
        let windows = std::mem::take(&mut *self.0.lock()).open;
        // Nothing may be spilled for a spill map that may be about to go back to an earlier state.
        windows.iter().for_each(|window| window.unbind());
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine {
    /// A span over the blocks of `bytes` that shows `binding`.
    pub(super) fn window(&self, array: &Descriptor, binding: Binding, bytes: &Range<usize>) -> Result<Arc<Pager>> {
        let unit = BlockSize::MAX.bytes();
        let start = bytes.start / unit * unit;
        let end = bytes.end.checked_next_multiple_of(unit).unwrap_or(usize::MAX / unit * unit);
        let name = binding.name.clone();
        let blocks = array.block_size.blocks_in(&(start..end));
        let residency = self.residency(array, blocks, &binding)?;
        let pager = self.reserve_at(start..end, residency, array.block_size);
        let pager = pager.map_err(|e| e.context(format_args!("array {name:?}: a window of its bytes {bytes:?}")))?;
        let bound = pager.bind(binding, &|_, _, _| None);
        bound.map_err(|e| e.context(format_args!("array {name:?}")))?;
        Ok(pager)
    }
}
