//! The one place that makes references into a span. Each begins with [`here`]: in a forked child a span's addresses are
//! free, and whatever lies there now is no array.

use std::ops::Range;
use std::ptr::NonNull;

use bigarray_core::{Descriptor, Error, Prefetch, Reader, Result, Writer};
use ndarray::{ArrayView, ArrayViewMut, Dimension, Ix1};

use crate::boolean::Bool;
use crate::element::Element;
use crate::layout::Window;
use crate::process::OfProcess;

/// Bytes that are looked at at a time.
const PIECE: usize = 2 << 20;

/// An open array of core: the bytes of `address(bytes)`, which lie inside `0..descriptor().nbytes()`, are readable from
/// there on, and stay where they are and as they are while it is borrowed.
///
/// Private, and implemented for core's two handles only: the code below relies on that promise, which core keeps.
pub(crate) trait Source: Sync {
    fn name(&self) -> &str;
    fn descriptor(&self) -> &Descriptor;
    fn address(&self, bytes: Range<usize>) -> Result<NonNull<u8>>;
    fn prefetch(&self, bytes: Range<usize>) -> Result<()>;
    fn prefetch_ahead(&self, bytes: Range<usize>) -> Result<Prefetch>;
    fn is_written(&self, bytes: Range<usize>) -> Result<bool>;
    fn waits_in_system_calls(&self) -> bool;
    fn budget_bytes(&self) -> usize;
}

impl Source for Reader {
    fn name(&self) -> &str {
        Reader::name(self)
    }

    fn descriptor(&self) -> &Descriptor {
        Reader::descriptor(self)
    }

    fn address(&self, bytes: Range<usize>) -> Result<NonNull<u8>> {
        Reader::address(self, bytes)
    }

    fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        Reader::prefetch(self, bytes)
    }

    fn prefetch_ahead(&self, bytes: Range<usize>) -> Result<Prefetch> {
        Reader::prefetch_ahead(self, bytes)
    }

    fn is_written(&self, bytes: Range<usize>) -> Result<bool> {
        Reader::is_written(self, bytes)
    }

    fn waits_in_system_calls(&self) -> bool {
        Reader::waits_in_system_calls(self)
    }

    fn budget_bytes(&self) -> usize {
        Reader::budget_bytes(self)
    }
}

impl Source for Writer<'_> {
    fn name(&self) -> &str {
        Writer::name(self)
    }

    fn descriptor(&self) -> &Descriptor {
        Writer::descriptor(self)
    }

    fn address(&self, bytes: Range<usize>) -> Result<NonNull<u8>> {
        Writer::address(self, bytes)
    }

    fn prefetch(&self, bytes: Range<usize>) -> Result<()> {
        Writer::prefetch(self, bytes)
    }

    fn prefetch_ahead(&self, bytes: Range<usize>) -> Result<Prefetch> {
        Writer::prefetch_ahead(self, bytes)
    }

    fn is_written(&self, bytes: Range<usize>) -> Result<bool> {
        Writer::is_written(self, bytes)
    }

    fn waits_in_system_calls(&self) -> bool {
        Writer::waits_in_system_calls(self)
    }

    fn budget_bytes(&self) -> usize {
        Writer::budget_bytes(self)
    }
}

/// The array, in the process that opened it.
///
/// # Errors
/// [`InUse`](bigarray_core::ErrorKind::InUse) in one forked from it.
#[inline]
pub(crate) fn here<S: Source>(source: &OfProcess<S>) -> Result<&S> {
    source.check(format_args!("array {:?}", source.name()))?;
    Ok(source)
}

/// The same, to change it.
#[inline]
pub(crate) fn here_mut<S: Source>(source: &mut OfProcess<S>) -> Result<&mut S> {
    here(source)?;
    Ok(source)
}

/// There is no view of all of an array, and no way to say so but a panic.
#[track_caller]
pub(crate) fn no_view(error: &Error) -> ! {
    let instead = if error.is_too_large() { "; rows and rows_mut need addresses for a part of it only" } else { "" };
    panic!("{error}{instead}")
}

/// A view for reading, as long as `source` stays borrowed.
pub(crate) fn shared<'a, T: Element, D: Dimension>(
    source: &'a OfProcess<impl Source>,
    window: &Window<D>,
) -> Result<ArrayView<'a, T, D>> {
    let start = start::<T, D>(here(source)?, window)?;
    // SAFETY: `start` checked that the window lies inside the array and is aligned; `Descriptor::check_size`
    // that it fits an `isize`; every bit pattern is a `T` (Pod). Invariants A and C, upheld by core: while `source` is borrowed these
    // bytes neither change nor move. Writes need `&mut Writer`, which this borrow rules out, and by G no other span
    // shows a writer's bytes.
    Ok(unsafe { ArrayView::from_shape_ptr(window.shape(), start.as_ptr()) })
}

/// The elements `range`, counted in storage order.
pub(crate) fn elements<T: Element>(source: &OfProcess<impl Source>, range: Range<usize>) -> Result<&[T]> {
    let view = shared::<T, Ix1>(source, &Window::of_elements(range, size_of::<T>()))?;
    Ok(view.to_slice().expect("elements are one run"))
}

/// The same as `bool`, after a look at each byte of the window, a piece at a time; or the first byte that is neither 0 nor 1,
/// and where it is in the array.
pub(crate) fn bools<'a, D: Dimension>(
    source: &'a OfProcess<impl Source>,
    window: &Window<D>,
) -> Result<std::result::Result<ArrayView<'a, bool, D>, (usize, Bool)>> {
    // Addresses for all of it first: the pieces lie in them.
    let start = start::<Bool, D>(here(source)?, window)?.cast::<bool>();
    for at in window.bytes.clone().step_by(PIECE) {
        let piece = at..window.bytes.end.min(at + PIECE);
        here(source)?.prefetch(piece.clone())?;
        let bytes: &[Bool] = bytemuck::cast_slice(bytes(source, piece)?);
        if let Some(wrong) = bytes.iter().position(|byte| !byte.is_bool()) {
            return Ok(Err((at + wrong, bytes[wrong])));
        }
    }
    // SAFETY: as in `shared`, but that not every bit pattern is a `bool`: each byte of the window was just seen to be 0 or
    // 1, and by invariant A it stays as it was seen while `source` is borrowed.
    Ok(Ok(unsafe { ArrayView::from_shape_ptr(window.shape(), start.as_ptr()) }))
}

/// A view for writing, as long as `writer` stays borrowed. Tells core that these bytes may be written to.
pub(crate) fn exclusive<'a, T: Element, D: Dimension>(
    writer: &'a mut OfProcess<Writer<'_>>,
    window: &Window<D>,
) -> Result<ArrayViewMut<'a, T, D>> {
    let writer = here_mut(writer)?;
    writer.expose_mut(window.bytes.clone())?;
    exposed(writer, window)
}

/// The elements `range`, counted in storage order, to change. Tells core as [`exclusive`] does.
pub(crate) fn elements_mut<'a, T: Element>(
    writer: &'a mut OfProcess<Writer<'_>>,
    range: Range<usize>,
) -> Result<&'a mut [T]> {
    let view = exclusive::<T, Ix1>(writer, &Window::of_elements(range, size_of::<T>()))?;
    Ok(view.into_slice().expect("elements are one run"))
}

/// As [`exclusive`], for callers that return no error: a failed spill fails the commit.
pub(crate) fn exclusive_anyhow<'a, T: Element, D: Dimension>(
    writer: &'a mut OfProcess<Writer<'_>>,
    window: &Window<D>,
) -> Result<ArrayViewMut<'a, T, D>> {
    let writer = here_mut(writer)?;
    writer.expose_mut_deferring_error(window.bytes.clone());
    exposed(writer, window)
}

/// A view for writing of a range that is exposed already.
pub(crate) fn exposed<'a, T: Element, D: Dimension>(
    writer: &'a mut Writer<'_>,
    window: &Window<D>,
) -> Result<ArrayViewMut<'a, T, D>> {
    let start = start::<T, D>(writer, window)?;
    // SAFETY: as in `shared`; and `&mut Writer` is the only handle of the array's only span in this transaction
    // (invariant G, upheld by core, which opens an array once at a time), so nothing else reads or writes these bytes.
    Ok(unsafe { ArrayViewMut::from_shape_ptr(window.shape(), start.as_ptr()) })
}

/// The bytes `range` of the array.
pub(crate) fn bytes(source: &OfProcess<impl Source>, range: Range<usize>) -> Result<&[u8]> {
    let source = here(source)?;
    assert!(range.start <= range.end && range.end <= source.descriptor().nbytes(), "bytes of the array");
    if range.is_empty() {
        return Ok(&[]);
    }
    let start = source.address(range.clone())?;
    // SAFETY: inside the array, as asserted; invariants A, C and G as in `shared`.
    Ok(unsafe { std::slice::from_raw_parts(start.as_ptr(), range.len()) })
}

/// The same to write to. Tells core that these bytes may be written to.
pub(crate) fn bytes_mut<'a>(writer: &'a mut OfProcess<Writer<'_>>, range: Range<usize>) -> Result<&'a mut [u8]> {
    let view = exclusive::<u8, Ix1>(writer, &Window::of_elements(range, 1))?;
    Ok(view.into_slice().expect("one run of bytes"))
}

/// Address of the window's first element. An empty window needs no span; its address is only aligned.
fn start<T: Element, D: Dimension>(source: &impl Source, window: &Window<D>) -> Result<NonNull<T>> {
    let range = &window.bytes;
    assert_eq!(window.len() * size_of::<T>(), range.len(), "elements of the window");
    assert!(range.end <= source.descriptor().nbytes(), "the window lies inside the array");
    if range.is_empty() {
        return Ok(NonNull::dangling());
    }
    let start = source.address(range.clone())?.cast::<T>();
    assert!(start.is_aligned(), "a span begins at a page, rows at a whole number of elements");
    Ok(start)
}
