//! Rows removed, and bytes moved, whatever the elements are.

use std::ops::Range;

use bigarray_core::{Error, ErrorKind, Result, Writer};

use crate::layout;
use crate::process::OfProcess;
use crate::view::{bytes, bytes_mut, here, here_mut};

/// Most bytes that are moved at a time.
const STEP: usize = 16 << 20;

/// Removes the first `n` rows: by blocks where the store can, else by moving the others.
pub(crate) fn drop_front(writer: &mut OfProcess<Writer<'_>>, n: usize) -> Result<()> {
    if here(writer)?.drops_front() {
        return writer.drop_front(n);
    }
    let rows = layout::rows(writer.name(), writer.descriptor(), ..n)?;
    remove_rows(writer, rows)
}

/// Removes the rows `rows`, which there are: those behind move to the front, but where the store can do without.
pub(crate) fn remove_rows(writer: &mut OfProcess<Writer<'_>>, rows: Range<usize>) -> Result<()> {
    let axis = growth_axis(here(writer)?)?;
    if rows.is_empty() {
        return Ok(());
    }
    if rows.start == 0 && writer.drops_front() {
        return writer.drop_front(rows.end);
    }
    let array = writer.descriptor();
    let (row_bytes, end, mut shape) = (array.row_bytes(), array.nbytes(), array.shape.clone());
    let (mut to, mut from) = (rows.start * row_bytes, rows.end * row_bytes);
    let (step, mut buffer) = (step_bytes(writer), Vec::new());
    while from < end {
        let now = from..end.min(from + step);
        move_bytes(writer, now.clone(), to, &mut buffer)?;
        (from, to) = (now.end, to + now.len());
    }
    shape[axis] -= rows.len();
    here_mut(writer)?.set_shape(&shape)
}

/// The axis along which rows can be put in and taken out.
pub(crate) fn growth_axis(writer: &Writer<'_>) -> Result<usize> {
    writer.descriptor().growth_axis().ok_or_else(|| {
        let why = format!("array {:?} has dimension 0: it has one row, and no other", writer.name());
        Error::new(ErrorKind::ShapeMismatch, why)
    })
}

/// How many bytes to move at a time, within the budget.
pub(crate) fn step_bytes(writer: &Writer<'_>) -> usize {
    STEP.min(writer.budget_bytes() / 8).max(1)
}

/// Moves the bytes `range` to where the first of them is number `to`. The ranges may overlap.
pub(crate) fn move_bytes(
    writer: &mut OfProcess<Writer<'_>>,
    range: Range<usize>,
    to: usize,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    writer.prefetch(range.clone())?;
    buffer.clear();
    buffer.extend_from_slice(bytes(writer, range.clone())?);
    let to = to..to + range.len();
    writer.prefetch(to.clone())?;
    bytes_mut(writer, to)?.copy_from_slice(buffer);
    Ok(())
}
