//! Resize: metadata and the blocks at both ends only.
//!
//! Stored bytes past the end of an array are its fill value, always: zero, if it has none. So growing shows that. Shrinking
//! upholds it: blocks past the end drop, and the tail of the last block is overwritten. At the front blocks drop as well, and
//! what of the first one is not the array's any more stays as it is, since it is never shown again: an array that loses its
//! last byte has no block left, and is counted from 0 again.

use std::ops::Range;
use std::sync::Arc;

use super::open_array::OpenArray;
use super::transaction::Place;
use super::writer::Writer;
use crate::descriptor::Descriptor;
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::BlockNo;
use crate::pager::Pager;
use crate::signals;
use crate::store::Bytes;

impl Writer<'_> {
    /// Gives the array another length along its growth axis. What remains keeps its values; what is new is the fill
    /// value, or zero, also where the array was longer before.
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if another axis or the dimension differs, and
    /// [`TooLarge`](ErrorKind::TooLarge); the array stays as it was. What [`flush`](Writer::flush) says; where that met an
    /// array without a span while it shrank, it cannot be committed any more.
    pub fn set_shape(&mut self, shape: &[usize]) -> Result<()> {
        let now = self.descriptor().clone();
        let grows = now.growth_axis();
        let fits = shape.len() == now.shape.len()
            && shape.iter().zip(&now.shape).enumerate().all(|(axis, (new, old))| new == old || Some(axis) == grows);
        if !fits {
            let (name, has) = (self.name(), &now.shape);
            let why = format!("array {name:?} has shape {has:?} and cannot become {shape:?}: {}", now.growth());
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        let mut new = self.with_shape(shape)?;
        if new.nbytes() == 0 {
            new.skip = 0;
        }
        self.array_mut().quiescent_point()?;
        let (old_end, new_end) = (now.end(), new.end());
        if new_end > old_end {
            self.array().refuse_if_hopeless()?;
            self.grow(&new)?;
        } else if new_end < old_end {
            self.shrink(old_end, new_end)?;
        }
        if new.skip != now.skip {
            self.array_mut().close_span();
        }
        self.set_descriptor(new);
        match self.array_mut().ensure_span() {
            // What it lost is gone. It had no span before either, and goes on without.
            Err(_) if new_end < old_end => Ok(()),
            Err(error) => {
                self.set_descriptor(now); // it had no span, so nothing else was done
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Whether [`drop_front`](Writer::drop_front) can be had here.
    pub fn drops_front(&self) -> bool {
        self.transaction.engine.store.drops_front()
    }

    /// Removes the first `rows` rows: the blocks that have no others drop. What is in memory of them is given back.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) where the store cannot [do that](crate::store::Store::drops_front), and
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if there are fewer rows, or the array is of dimension 0; the array stays
    /// as it was. What [`flush`](Writer::flush) says.
    pub fn drop_front(&mut self, rows: usize) -> Result<()> {
        let now = self.descriptor().clone();
        let (name, has) = (self.name(), &now.shape);
        let Some(axis) = now.growth_axis().filter(|axis| rows <= has[*axis]) else {
            let why = format!(
                "array {name:?} of shape {has:?} cannot lose its first {rows} rows: it has {}, and {}",
                now.rows(),
                now.growth()
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        };
        if !self.drops_front() {
            let why = format!("array {name:?}: this store counts rows from the first, which cannot be dropped");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let mut new = now.clone();
        new.shape[axis] -= rows;
        if new.nbytes() == 0 {
            return self.set_shape(&new.shape);
        }
        new.skip += rows * now.row_bytes();
        self.array_mut().quiescent_point()?;
        let first = new.first_block();
        if let Ok(Some(pager)) = &self.array().pager {
            pager.cut_front(new.skip).map_err(|e| self.named(e))?;
        }
        self.array_mut().forget_before(first, new.block_size);
        self.set_descriptor(new);
        // There may be addresses for all that is left. If not it goes on without, as before.
        let _ = self.array_mut().ensure_span();
        Ok(())
    }

    /// Adds `rows` rows of the fill value, or of zeros, behind the last (none to an array of dimension 0) and exposes them to
    /// writes. Returns their bytes. The array is as it was where that fails. One quiescent point for both.
    ///
    /// # Errors
    /// As [`set_shape`](Writer::set_shape), and as [`expose_mut`](Writer::expose_mut).
    pub fn append_rows(&mut self, rows: usize) -> Result<Range<usize>> {
        let before = self.descriptor().clone();
        let mut shape = before.shape.clone();
        if let Some(axis) = before.growth_axis() {
            // Where the sum overflows it stays more than an array may have.
            shape[axis] = shape[axis].saturating_add(rows);
        }
        self.set_shape(&shape)?;
        // Once for all locks below.
        let _held = signals::hold_between_waits();
        if let Err(error) = self.array().refuse_if_hopeless() {
            self.take_back_growth(before);
            return Err(error);
        }
        let tail = before.nbytes()..self.descriptor().nbytes();
        self.expose(&tail);
        Ok(tail)
    }

    /// Takes back that the array grew: it is as `before` described it. Nothing may have been written behind that end.
    /// Asks for nothing that could fail, addresses least of all.
    ///
    /// # Panics
    /// If the array did not grow from `before`.
    pub fn take_back_growth(&mut self, before: Descriptor) {
        assert!(self.descriptor().grew_from(&before), "{:?} did not grow from {before:?}", self.descriptor());
        self.array_mut().exposed.truncate(before.end());
        if let Ok(Some(pager)) = &self.array().pager {
            pager.end_at(before.block_size.blocks_for(before.end()));
        }
        self.set_descriptor(before);
    }

    /// Gives the array another shape of the same number of elements; the bytes stay.
    ///
    /// # Errors
    /// [`ShapeMismatch`](ErrorKind::ShapeMismatch) if the number differs.
    pub fn reshape(&mut self, shape: &[usize]) -> Result<()> {
        let now = self.descriptor();
        let new = self.with_shape(shape)?;
        let (old_len, new_len): (usize, usize) = (now.shape.iter().product(), shape.iter().product());
        if old_len != new_len {
            let (name, has) = (self.name(), &now.shape);
            let why = format!(
                "array {name:?} of shape {has:?} has {old_len} elements and cannot become {shape:?}, which has {new_len}"
            );
            return Err(Error::new(ErrorKind::ShapeMismatch, why));
        }
        self.set_descriptor(new);
        Ok(())
    }

    fn with_shape(&self, shape: &[usize]) -> Result<Descriptor> {
        let now = self.descriptor();
        let new = Descriptor { shape: shape.to_vec(), ..now.clone() };
        new.check_size(self.name())?;
        Ok(new)
    }

    fn set_descriptor(&mut self, new: Descriptor) {
        let name = self.name().to_owned();
        self.array_mut().metadata.after = Some((name.clone(), new.clone()));
        self.transaction.arrays.lock().places[self.at] = Place::CheckedOut(Box::new((name, new)));
    }

    fn grow(&mut self, new: &Descriptor) -> Result<()> {
        let new_end = new.end();
        let Ok(Some(pager)) = &self.array().pager else { return Ok(()) };
        if new_end <= pager.bytes.end {
            return pager.grow_to(new_end).map_err(|e| self.named(e));
        }
        let larger = self.move_to_larger_span(pager, new);
        let array = self.array_mut();
        match larger {
            Ok(larger) => array.replace_span(Ok(Some(larger))),
            // The array goes on without a span, as one beyond the address space.
            Err(error) if error.is_too_large() => {
                array.spill()?;
                array.replace_span(Err(error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The array outgrew its span, and no view lives: what was written moves to a larger one.
    fn move_to_larger_span(&self, pager: &Pager, new: &Descriptor) -> Result<Arc<Pager>> {
        let larger = self.transaction.engine.reserve(self.name(), new, pager.residency)?;
        let binding = self.array().binding(self.name(), new);
        larger.bind(binding, &|_, _, _| None).map_err(|e| self.named(e))?;
        // Pinned: else pages of it that are spilled meanwhile lie below what is copied, or above.
        let copied = pager.pinned(|| pager.copy_written_to(&larger, &self.array().spill_map, &self.array().exposed));
        copied.map(|()| larger).map_err(|e| self.named(e))
    }

    fn named(&self, error: Error) -> Error {
        error.context(format_args!("array {:?}", self.name()))
    }

    fn shrink(&mut self, old_end: usize, new_end: usize) -> Result<()> {
        let block_size = self.descriptor().block_size;
        let blocks = block_size.blocks_for(new_end);
        let kept_end = block_size.start_of(BlockNo(blocks)).min(old_end);
        if new_end < kept_end {
            self.clear_tail(new_end..kept_end)?;
            // Whether or not there is anything to clear: what another transaction writes there would show once the array grows.
            let last = blocks as usize - 1;
            self.array_mut().metadata.depends.insert(last..last + 1);
        }
        let OpenArray { exposed, metadata, .. } = self.array_mut();
        metadata.dropped_from = Some(metadata.dropped_from.map_or(blocks, |from| from.min(blocks)));
        // Not at `kept_end`: behind it lies what an earlier shrink to the middle of the same block wrote.
        exposed.truncate(block_size.start_of(BlockNo(blocks)));
        if let Ok(Some(pager)) = &self.array().pager {
            pager.cut(blocks).map_err(|e| self.named(e))?;
        }
        self.array().spill_map.truncate(blocks);
        Ok(())
    }

    /// Gives the end of the last block that stays the fill value, or zeros, unless it has that already: a block that was
    /// never written stays so.
    fn clear_tail(&mut self, tail: Range<usize>) -> Result<()> {
        let block = self.descriptor().block_size.block_at(tail.start).0;
        let Some(pager) = self.array().span_over(&tail)? else { return Ok(()) };
        if pager.is_untouched(block).map_err(|e| self.named(e))? {
            return Ok(());
        }
        let mut cleared = vec![0; tail.len()];
        if let Some(fill) = &self.descriptor().fill {
            fill.write(tail.start, &mut cleared);
        }
        // A failure to load is a value here, not a fault.
        let mut is_clear = false;
        let loaded = pager.prefetch(&tail, false).and_then(|()| {
            pager.with(tail.clone(), &mut |there| {
                is_clear = there == cleared;
                Ok(())
            })
        });
        loaded.map_err(|e| self.named(e))?;
        if is_clear {
            return Ok(());
        }
        pager.prefetch(&tail, true).map_err(|e| self.named(e))?;
        self.array_mut().expose(tail.clone());
        match self.descriptor().fill {
            None => pager.fill_zero(tail),
            Some(_) => pager.write(tail.start, &cleared),
        }
        // A window is about to be closed.
        if self.array().pager.is_err()
            && let Err(error) = self.array_mut().spill()
        {
            // The array is as long as it was, and what it has there is lost.
            pager.fail_commit(&error);
            return Err(error);
        }
        Ok(())
    }
}
